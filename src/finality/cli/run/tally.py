"""What became of the lines of a file: counted while a run goes on, told at its end."""

from __future__ import annotations

import shlex
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from finality.cli import output, status

SHOWN_MAX = 5  # Of those that need a person: enough to see whether it is one fault or many.
BAD_SHOWN_MAX = 20
REASONS_MAX = 50


@dataclass(slots=True)
class Left:
    """A saga that has not ended, and why."""

    id: str
    line: int
    status: str
    because: str


@dataclass(slots=True)
class Tally:
    """The counts of one run.

    Attributes:
        earlier: How many had ended before this run.
        left: The first of those that have not ended.
        stopped_by: The name of the signal that ended the run early.
    """

    saga: str
    file: str
    store: str
    lines: int
    completed: int = 0
    compensated: int = 0
    stuck: int = 0
    parked: int = 0
    open: int = 0
    earlier: int = 0
    skipped: int = 0
    seconds: float = 0.0
    stopped_by: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    left: list[Left] = field(default_factory=list)

    @property
    def ended(self) -> int:
        """Return how many have ended."""
        return self.completed + self.compensated

    @property
    def seen(self) -> int:
        """Return of how many it is known what became of them."""
        return self.ended + self.stuck + self.parked + self.open

    def end(self, how: str, because: str = "", *, is_earlier: bool = False) -> None:
        """Count a saga that has ended."""
        if how == "completed":
            self.completed += 1
        else:
            self.compensated += 1
            if because and (because in self.reasons or len(self.reasons) < REASONS_MAX):
                self.reasons[because] += 1
        self.earlier += is_earlier

    def leave(self, left: Left) -> None:
        """Count a saga that has not."""
        if left.status == "stuck":
            self.stuck += 1
        elif left.status == "parked":
            self.parked += 1
        else:
            self.open += 1
        if sum(other.status == left.status for other in self.left) < SHOWN_MAX:
            self.left.append(left)

    def finish(self) -> None:
        """Count as open what was not come to."""
        self.open += self.lines - self.seen

    @property
    def exit_status(self) -> int:
        """Return what a script should see."""
        if self.stopped_by:
            return status.OF_SIGNAL[signal.Signals[self.stopped_by]]
        if self.stuck or self.parked:
            return status.NEEDS_PERSON
        if self.open:
            return status.STILL_OPEN
        return status.COMPENSATED if self.compensated else status.OK


def tally_data(tally: Tally) -> dict[str, Any]:
    """Return the summary for programs."""
    done = tally.ended - tally.earlier
    return {
        "saga": tally.saga,
        "file": tally.file,
        "store": tally.store,
        "lines": tally.lines,
        "completed": tally.completed,
        "compensated": tally.compensated,
        "stuck": tally.stuck,
        "parked": tally.parked,
        "open": tally.open,
        "skipped": tally.skipped,
        "ended_before": tally.earlier,
        "seconds": round(tally.seconds, 3),
        "per_second": round(done / tally.seconds, 1) if tally.seconds else 0.0,
        "stopped_by": tally.stopped_by or None,
        "reasons": dict(tally.reasons.most_common()),
        "left": [
            {"id": left.id, "line": left.line, "status": left.status, "because": left.because}
            for left in tally.left
        ],
        "exit_status": tally.exit_status,
    }


def say_tally(tally: Tally) -> None:
    """Print the summary for a person."""
    done = tally.ended - tally.earlier
    rate = f", {output.rate(done / tally.seconds)} a second" if done and tally.seconds else ""
    lines = f"{tally.lines:,} line{'' if tally.lines == 1 else 's'}"
    earlier = f"; {tally.earlier:,} had ended before" if tally.earlier else ""
    output.say(f"{tally.file}: {lines} in {output.span(tally.seconds)}{rate}{earlier}")
    _count("completed", tally.completed, "")
    if tally.compensated:
        why = ", ".join(f"{output.cut(said, 60)} ({count:,})" for said, count in tally.reasons.most_common(3))
        _count("compensated", tally.compensated, why)
    for name in ("stuck", "parked", "open"):
        if count := getattr(tally, name):
            _count(name, count, "")
            _say_left(tally, name, count)
    if tally.skipped:
        _count("skipped", tally.skipped, "bad lines, which --skip-bad leaves out")
    _say_next(tally)


def _count(name: str, count: int, said: str) -> None:
    colour = output.OF_STATUS.get(name, "yellow") if count else None
    text = f"  {output.paint(f'{name:<12}', colour)}{count:>8,}"
    output.say(text + (f"   {output.plain(said)}" if said else ""))


def _say_left(tally: Tally, name: str, count: int) -> None:
    shown = [left for left in tally.left if _kind(left) == name]
    for left in shown:
        output.say(output.plain(f"      line {left.line}, {left.id}: {output.cut(left.because, 160)}"))
    if shown and count > len(shown):
        output.say(f"      … and {count - len(shown):,} more")


def _kind(left: Left) -> str:
    return left.status if left.status in ("stuck", "parked") else "open"


def _say_next(tally: Tally) -> None:
    store = f" --store {shlex.quote(tally.store)}"
    if tally.stopped_by:
        output.say("stopped before the end; run the same command again to go on where it was")
        return
    needs = [left.id for left in tally.left if left.status in ("stuck", "parked")]
    if needs:
        id = shlex.quote(needs[0])
        output.say(f"a person is needed: `finality transaction explain {id}{store}` says what for;")
        output.say(
            f'put it right, then `finality transaction retry {id} --because "…"{store}`, then run again'
        )
    elif tally.open:
        output.say("some are still open: run the same command again later, or let a node go on")
