"""A saga in one line: its status, and when it next needs a node's attention.

The journal keeps the summary beside the stream, in the same commit as each event, so that
lists and timers never have to fold.
"""

from __future__ import annotations

from dataclasses import dataclass

from finality.core.saga import events as e
from finality.core.saga.state import COMPENSATED, COMPLETED, RUNNING, UNDOING, SagaState

NEVER = float(1 << 52)  # Beyond any date; only a signal or a person wakes the saga.


@dataclass(frozen=True, slots=True)
class Summary:
    """What the journal keeps beside a transaction's stream.

    Attributes:
        status: running, waiting, compensating, stuck, parked, completed or compensated.
        wake_at: When it has something to do; None when it has it now, or has ended.
    """

    status: str
    wake_at: float | None = None
    has_ended: bool = False


RUNS = Summary("running")
COMPENSATES = Summary("compensating")
HAS_COMPLETED = Summary("completed", has_ended=True)
HAS_COMPENSATED = Summary("compensated", has_ended=True)


def summary_of(state: SagaState, commands: tuple[e.SagaCommand, ...]) -> Summary:
    """Return the summary of *state*, whose outstanding commands are *commands*."""
    if state.phase is COMPLETED:
        return HAS_COMPLETED
    if state.phase is COMPENSATED:
        return HAS_COMPENSATED
    first = commands[0] if commands else None
    if (type(first) is e.Run or type(first) is e.Compensate) and not first.not_before:
        return RUNS if state.phase is RUNNING else COMPENSATES
    wakes = [_wake_at(command) for command in commands]
    if None in wakes:
        return RUNS if state.phase is RUNNING else COMPENSATES
    wake_at = min((wake for wake in wakes if wake is not None), default=NEVER)
    if state.parked is not None:
        return Summary("parked", wake_at)
    if any(isinstance(command, e.AskPerson) for command in commands):
        return Summary("stuck", wake_at)
    return Summary("compensating" if state.phase is UNDOING else "waiting", wake_at)


def _wake_at(command: e.SagaCommand) -> float | None:
    match command:
        case e.Run() | e.Compensate() | e.CountItems() | e.StartChild():
            return command.not_before or None
        case e.AwaitTime(until=until):
            return NEVER if until is None else until
        case e.AwaitDeadline(at):
            return at
        case e.AwaitChild() | e.UndoChild() | e.AskPerson():
            return NEVER
        case _:
            return None
