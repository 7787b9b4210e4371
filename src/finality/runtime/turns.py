"""The turns by which a node drives a saga: one signal's consequences, with the effect behind it.

A step's effect in the home store and the event that says so are one turn, so they are durable
together or not at all: the version fence makes the event itself the witness. In any other store
the effect comes first, with a witness beside it, and the event follows.
"""

from __future__ import annotations

from collections.abc import Callable

from finality.core.errors import LimitExceeded
from finality.core.saga import events as e
from finality.core.saga import outstanding
from finality.ports.environment import COMPENSATION_AFTER, COMPENSATION_BEFORE, STEP_AFTER, STEP_BEFORE
from finality.ports.home import HomeTransaction
from finality.runtime.answers import answered, erred
from finality.runtime.arguments import Unreadable, call
from finality.runtime.context import Context
from finality.runtime.definition import Action
from finality.runtime.drive import Commands, Drive, Tip
from finality.runtime.tracing import span_of_step

Settled = Callable[[Drive, BaseException | None], None]


class NotAwaited(Exception):
    """The saga has turned back meanwhile, so the step's answer does not count and its effect goes."""


class SignalTurn:
    """Records what a signal makes true."""

    __slots__ = ("_after", "_before", "_commands", "_settled", "branches", "drive", "signal")

    def __init__(
        self, drive: Drive, signal: e.SagaSignal | None, settled: Settled, branch: str | None = None
    ) -> None:
        self.drive = drive
        self.signal = signal
        self.branches: tuple[str, ...] = () if branch is None else (branch,)
        self._settled = settled
        self._before: Tip = drive.tip
        self._after: Tip = drive.tip
        self._commands: Commands | None = None

    @property
    def name(self) -> str:
        """Return who holds the store, for the report about slow turns."""
        return f"saga {self.drive.definition.kind} {self.drive.id}"

    def run(self, tx: HomeTransaction) -> None:
        """Record."""
        self._before = self.drive.tip
        assert self.signal is not None, "a plain signal turn has its signal from the start"
        self._record(tx, self.signal)

    def _record(self, tx: HomeTransaction, signal: e.SagaSignal) -> bool:
        self._commands = self.drive.record(tx, signal)
        self._after = self.drive.tip
        return self._commands is not None

    def forget(self) -> None:
        """Put the tip back to where it was."""
        self.drive.tip = self._before

    def settle(self, error: BaseException | None) -> None:
        """Take over what is durable now."""
        drive = self.drive
        drive.busy.difference_update(self.branches)
        if error is None and self._after[1] != drive.version:
            commands = outstanding(self._after[0]) if self._commands is None else self._commands
            drive.settle(self._after, commands)
        self._settled(drive, error)


class ScopeTurn(SignalTurn):
    """Ends an ``async`` step's scope: if its answer does not count, nothing of the scope remains."""

    __slots__ = ()

    def run(self, tx: HomeTransaction) -> None:
        """Record, or fail and so abort the scope."""
        self._before = self.drive.tip
        assert self.signal is not None, "the step has answered before its scope ends"
        if not self._record(tx, self.signal):
            raise NotAwaited


class StepTurn(SignalTurn):
    """Runs a plain step or compensation in the home store and records its answer."""

    __slots__ = ("_action", "_command", "_context")

    def __init__(
        self,
        context: Context,
        drive: Drive,
        command: e.Run | e.Compensate,
        action: Action,
        settled: Settled,
    ) -> None:
        # Spelled out instead of asking the base: every plain step of every saga passes here.
        self.drive = drive
        self.signal = None
        self.branches = (command.step,)
        self._settled = settled
        self._commands = None
        self._context = context
        self._command = command
        self._action = action

    @property
    def name(self) -> str:
        """Return who holds the store."""
        return f"step {self._command.step!r} of {super().name}"

    def run(self, tx: HomeTransaction) -> None:
        """Run the user's code and record what came of it."""
        self._before = self.drive.tip
        context, drive, command = self._context, self.drive, self._command
        is_undo = type(command) is e.Compensate
        reach = context.environment.reach
        reach(COMPENSATION_BEFORE if is_undo else STEP_BEFORE)
        try:
            if context.tracing.is_on:
                with span_of_step(context, drive, command):
                    signal = self._answer(tx, is_undo=is_undo)
            else:  # A block that does nothing would cost as much as some steps do.
                signal = self._answer(tx, is_undo=is_undo)
        except Unreadable:
            raise  # The saga is parked for it: nobody has answered.
        except Exception as error:  # Whatever the user's code raises is its answer.
            tx.undo()
            signal = erred(context, drive, command, error)
        try:
            is_recorded = self._record(tx, signal)
        except LimitExceeded as error:
            tx.undo()
            is_recorded = self._record(tx, erred(context, drive, command, error))
        if not is_recorded:
            tx.undo()
        reach(COMPENSATION_AFTER if is_undo else STEP_AFTER)

    def _answer(self, tx: HomeTransaction, *, is_undo: bool) -> e.SagaSignal:
        context, drive, command = self._context, self.drive, self._command
        state = drive.tip[0]
        answer = call(
            self._action, drive, state, context.codec, command.step,
            tx=context.turn_tx(tx, drive.id, drive.key), attempt=command.attempt, is_undo=is_undo,
            own=state.branches[command.step].result if is_undo else None,
        )  # fmt: skip
        return answered(context, command, answer)


def alone(drive: Drive, commands: Commands) -> tuple[e.Run | e.Compensate, Action] | None:
    """Return the step that is owed now, with its code, if that is all there is to do and one turn here."""
    if len(commands) != 1:
        return None
    command = commands[0]
    if (type(command) is not e.Run and type(command) is not e.Compensate) or command.not_before:
        return None
    action = drive.definition.direct[type(command)].get(command.step)
    return None if action is None else (command, action)


class ChainTurn(StepTurn):
    """Runs a plain step, and as soon as that is durable the next one, if that is all there is to do.

    The loop's thread hears of them together, so that a saga of plain steps crosses threads once.
    """

    __slots__ = ("_durable",)

    def __init__(
        self,
        context: Context,
        drive: Drive,
        command: e.Run | e.Compensate,
        action: Action,
        settled: Settled,
    ) -> None:
        StepTurn.__init__(self, context, drive, command, action, settled)  # super() takes its time, too.
        self._durable: tuple[Tip, Commands] | None = None

    def following(self) -> ChainTurn | None:
        """Turn to the step that is owed next, unless the loop's thread has to decide on it."""
        drive, commands = self.drive, self._commands
        if not commands or drive.is_held or drive.is_lost:
            return None
        owed = alone(drive, commands)
        if owed is None:
            return None
        command, action = owed
        if command.step not in self.branches:  # What this chain has done itself it may undo as well.
            if command.step in drive.busy:
                return None
            # Another thread looks at these names, to ask nothing twice: one more harms nobody.
            drive.busy.add(command.step)
            self.branches += (command.step,)
        self._durable = (self._after, commands)
        self._command, self._action, self._commands = command, action, None
        return self

    def settle(self, error: BaseException | None) -> None:
        """Take over what is durable now: all of it, or all but the last step."""
        if error is not None and self._durable is not None:
            tip, commands = self._durable
            if tip[1] > self.drive.version:  # What another turn has told since then may be newer.
                self.drive.settle(tip, commands)
        StepTurn.settle(self, error)
