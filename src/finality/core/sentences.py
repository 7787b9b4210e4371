"""An event as a sentence, with its time as a person tells it."""

from __future__ import annotations

import re
from typing import assert_never

from finality.core.saga import events as e
from finality.core.secret import MASK

JSON_CHARACTERS_MAX = 80  # One line of a terminal; `finality transaction show` has the whole value.
SEALED = re.compile(r'\{"\$(?:secret|personal)":[^{}]*\}')  # How the codec writes what is sealed.
REASON_CHARACTERS_MAX = 200  # The first lines of a traceback say more than its last.

UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def ago(seconds: float) -> str:
    """Return how long ago it was: ``3 minutes ago``; ``just now`` under a second, or in the future."""
    return "just now" if seconds < 1 else f"{_duration(seconds)} ago"


def when(at: float, now: float) -> str:
    """Return when *at* is, seen from *now*: ``in 3 minutes``, ``now``, or that it is past."""
    if at >= now + 1:
        return f"in {_duration(at - now)}"
    return "now" if at > now - 1 else f"overdue since {ago(now - at)}"


def shortened(text: str, characters_max: int = REASON_CHARACTERS_MAX) -> str:
    """Return *text* on one line, cut at *characters_max* characters."""
    line = " ".join(text.split())
    return line if len(line) <= characters_max else line[: characters_max - 1] + "…"


def sentence_of(event: e.SagaEvent, by: str, at: float) -> str:
    """Return what *event* says; *by* is the node or person that recorded it, *at* when."""
    match event:
        case (
            e.Started() | e.SignalReceived() | e.UndoStarted() | e.Retried() | e.Parked()
            | e.TakenOver() | e.Migrated() | e.Completed() | e.Compensated()
        ):  # fmt: skip
            return _of_saga(event, by, at)
        case e.WaitStarted() | e.WaitEnded() | e.FanOutStarted() | e.ChildStarted() | e.BecameStuck():
            return _of_wait(event, at)
        case e.CompensationDone(step, attempt):
            return f"{step} was compensated{_attempt(attempt)} ({by})"
        case e.CompensationFailed(step, attempt, because, retry_at):
            return (
                f"the compensation of {step} failed{_attempt(attempt)}: {shortened(because)}"
                f"{_again(retry_at, at)} ({by})"
            )
        case _:
            return _of_step(event, by, at)


def _of_saga(
    event: e.Started | e.SignalReceived | e.UndoStarted | e.Retried | e.Parked | e.TakenOver
    | e.Migrated | e.Completed | e.Compensated,
    by: str,
    at: float,
) -> str:  # fmt: skip
    match event:
        case e.Started(saga, version, given, deadline, parent, parent_step):
            child = f", for step {parent_step} of {parent}" if parent is not None else ""
            limit = f", to be done within {_duration(deadline - at)}" if deadline is not None else ""
            return f"{by} accepted {saga} (version {version}) with {as_shown(given)}{child}{limit}"
        case e.SignalReceived(name, value, sender):
            return f"{sender} sent the signal {name!r} with {as_shown(value)}"
        case e.UndoStarted(because, reason, step, who):
            return f"the undo began: {_why(reason, step, who)}: {shortened(because)}"
        case e.Retried(who, because):
            return f"{who} let it go on: {shortened(because)}"
        case e.Parked(because):
            return f"{by} parked it: {shortened(because)}"
        case e.TakenOver(node, previous):
            return f"{node} took it over from {previous}"
        case e.Migrated(version, previous):
            return f"it went on under version {version} instead of {previous} ({by})"
        case e.Completed():
            return "all steps are settled: it completed"
        case e.Compensated():
            return "all that was done is undone: it is compensated"
        case _:
            assert_never(event)


def _of_wait(
    event: e.WaitStarted | e.WaitEnded | e.FanOutStarted | e.ChildStarted | e.BecameStuck, at: float
) -> str:
    match event:
        case e.WaitStarted(step, until):
            limit = "however long it takes" if until is None else f"for up to {_duration(until - at)}"
            return f"{step} began to wait, {limit}"
        case e.WaitEnded(step, value):
            default = "" if value is None else f"; {as_shown(value)} stands in for its signal"
            return f"the wait of {step} ended{default}"
        case e.FanOutStarted(step, items):
            return f"{step} began to run once for each of {items} item{'' if items == 1 else 's'}"
        case e.ChildStarted(step, child):
            return f"{step} started its child {child}"
        case e.BecameStuck(step, because):
            return f"{step} became stuck and needs a person: {shortened(because)}"
        case _:
            assert_never(event)


def _of_step(
    event: e.StepStarted | e.StepDone | e.StepSkipped | e.StepFailed | e.StepPostponed
    | e.StepRefused | e.StepLost,
    by: str,
    at: float,
) -> str:  # fmt: skip
    match event:
        case e.StepStarted(step, attempt):
            return f"{step} was asked{_attempt(attempt)} ({by})"
        case e.StepDone(step, result, attempt):
            answer = "" if result == "null" else f" with {as_shown(result)}"
            return f"{step} was done{_attempt(attempt)}{answer} ({by})"
        case e.StepSkipped(step):
            return f"{step} was skipped, as its condition did not hold"
        case e.StepFailed(step, attempt, because, retry_at):
            return f"{step} failed{_attempt(attempt)}: {shortened(because)}{_again(retry_at, at)} ({by})"
        case e.StepPostponed(step, until, because):
            return f"{step} was put off for {_duration(until - at)}: {shortened(because)}"
        case e.StepRefused(step, attempt, because):
            return f"{step} was refused{_attempt(attempt)}: {shortened(because)} ({by})"
        case e.StepLost(step, because):
            return (
                f"the answer of {step} is lost, so nobody knows whether it took effect: {shortened(because)}"
            )
        case _:
            assert_never(event)


def _why(reason: e.Reason, step: str | None, who: str | None) -> str:
    match reason:
        case e.Reason.REFUSED:
            return f"{step} was refused"
        case e.Reason.FAILED:
            return f"{step} failed for good"
        case e.Reason.CANCELLED:
            return f"{who or 'somebody'} cancelled it"
        case e.Reason.DEADLINE:
            return "it was not done in time"
        case e.Reason.PARENT:
            return "its parent is undone"
        case _:
            assert_never(reason)


def as_shown(value: str) -> str:
    """Return the JSON text of a value on one line, short, and without what is sealed in it."""
    return shortened(SEALED.sub(f'"{MASK}"', value), JSON_CHARACTERS_MAX)


def _attempt(attempt: int) -> str:
    return f" at attempt {attempt}" if attempt else ""


def _again(retry_at: float | None, at: float) -> str:
    return (
        "; it was the last attempt"
        if retry_at is None
        else f"; to be tried again after {_duration(retry_at - at)}"
    )


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{max(0.0, seconds):.1g} seconds"
    name, size = next((name, size) for name, size in UNITS if seconds >= size)
    count = int(seconds // size)
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
