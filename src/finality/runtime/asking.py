"""Asks a step's code, in the way that its function wants to be called.

```
              home store                another store                no store
   def        ChainTurn: one commit     WitnessedTurn, then a signal   in a thread, then a signal
   async def  a scope: one commit       a scope with a witness         a task, then a signal
```

What is not one commit with its event is announced first (``AboutToRun``): record, then act.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from finality.core.errors import FinalityError, Refused
from finality.core.ids import Json
from finality.core.participant import Answer
from finality.core.saga import Status
from finality.core.saga import events as e
from finality.core.saga.events import split_branch
from finality.ports.environment import (
    COMPENSATION_AFTER,
    COMPENSATION_BEFORE,
    STEP_AFTER,
    STEP_BEFORE,
)
from finality.ports.store import Scope
from finality.runtime.answers import Asked, answered, erred, kept, reason, told
from finality.runtime.arguments import Unreadable, call
from finality.runtime.breakers import Breakers
from finality.runtime.context import Context
from finality.runtime.definition import Action, Source, StepCode, Style
from finality.runtime.drive import Drive
from finality.runtime.telling import Telling
from finality.runtime.tracing import span_of_step
from finality.runtime.turns import ChainTurn, NotAwaited, ScopeTurn, Settled, SignalTurn, StepTurn, alone
from finality.runtime.within import within
from finality.runtime.witness import NULL, KnownAlready, TestifyTurn, WitnessedTurn, known_answer, refusal

CANCEL_SECONDS = 1.0  # For a cancelled step to leave; one that will not is left behind.


class AnsweredBefore(BaseException):
    """Ends an ``async`` step at its first statement: its store knows the answer already.

    No ``except Exception`` of the user's code may swallow it.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class Asking:
    """Runs the code of steps and compensations and turns what comes of it into signals."""

    def __init__(self, context: Context, breakers: Breakers, settled: Settled) -> None:
        self._context = context
        self._breakers = breakers
        self._settled = settled
        self._tell = Telling(context, breakers, settled)
        self.signal = self._tell.signal
        self._submit = context.home.submit
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, drive: Drive, command: Asked) -> None:
        """Ask the branch, unless it is being asked already."""
        name = command.step
        if name in drive.busy:
            return
        drive.busy.add(name)
        direct = drive.definition.direct[type(command)].get(name)
        if direct is not None:
            self._submit(ChainTurn(self._context, drive, command, direct, self._settled))
            return
        is_undo = type(command) is e.Compensate
        codes = drive.definition.codes
        code = codes.get(name) or codes[split_branch(name)[0]]
        if code.condition is not None and not is_undo and not self.is_wanted(drive, name):
            return
        action = code.compensation if is_undo else code.action
        assert action is not None, f"step {name!r} has nothing to run"
        if code.breaker is not None:
            self._spawn(self._through_breaker(drive, command, code, action), drive, command.step)
        else:
            self._ask(drive, command, code, action)

    def first(self, drive: Drive) -> ChainTurn | None:
        """Return the turn of a new saga's first step, if that is all there is to do and one turn here."""
        owed = alone(drive, drive.commands)
        return None if owed is None else ChainTurn(self._context, drive, *owed, self._settled)

    async def _through_breaker(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        assert code.breaker is not None, "only a step with a breaker goes through it"
        until = await self._breakers.open_until(code.breaker, code.breaker_policy)
        if until is None:
            self._ask(drive, command, code, action)
        else:
            because = f"circuit breaker {code.breaker!r} is open"
            self.signal(drive, e.Postponed(command.step, until, because), command.step)

    def _ask(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        name, is_undo = command.step, type(command) is e.Compensate
        step = drive.definition.graph.by_name.get(name) or drive.state.step_of(name)
        if step.is_local and action.style is Style.TURN and code.store is None:
            self._submit_turn(drive, command, code, action)
        elif step.is_local or is_undo:
            self._perform(drive, command, code, action)
        else:
            announced = partial(self._announced, command=command, code=code, action=action)
            signal = e.AboutToRun(name, command.attempt)
            self._context.home.submit(SignalTurn(drive, signal, announced, name))

    def _submit_turn(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        settled = self._settled
        if code.breaker is not None:
            settled = partial(self._counted, command=command, code=code)
        self._submit(StepTurn(self._context, drive, command, action, settled))

    def _counted(self, drive: Drive, error: BaseException | None, *, command: Asked, code: StepCode) -> None:
        if error is None:
            self._spawn(self._count(drive, command, code), drive, "")
        else:
            self._settled(drive, error)

    async def _count(self, drive: Drive, command: Asked, code: StepCode) -> None:
        await self._tell.count(drive, command, code)  # First, so that the next attempt finds it open.
        self._settled(drive, None)

    async def cancel(self) -> None:
        """Stop waiting for answers; the steps that were asked will be asked again."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)

    def is_wanted(self, drive: Drive, name: str, *, is_waiting: bool = False) -> bool:
        """Evaluate the step's condition; if it does not hold, the saga hears so.

        Args:
            is_waiting: The step is about to wait, so that a condition on what it waits for is
                evaluated later, when that has come.
        """
        step = split_branch(name)[0]
        condition = drive.definition.codes[step].condition
        if condition is None:
            return True
        takes_signal = any(parameter.source is Source.SIGNAL for parameter in condition.parameters)
        if is_waiting and takes_signal:
            return True
        branch = drive.state.branches.get(step)
        is_decided = not takes_signal or branch is None or branch.status not in (Status.WAITING, Status.READY)
        if branch is not None and is_decided:
            return True
        try:
            if call(condition, drive, drive.state, self._context.codec, step):
                return True
        except Unreadable as error:
            self._settled(drive, error)
            return False
        except Exception as error:  # It is pure, so another try would raise the same.
            because = f"its condition failed: {reason(self._context, drive, error)}"
            self.signal(drive, e.RefusedBy(step, 1, because), name)
        else:
            self.signal(drive, e.Declined(step), name)
        drive.busy.add(name)
        return False

    def _announced(
        self, drive: Drive, error: BaseException | None, *, command: Asked, code: StepCode, action: Action
    ) -> None:
        branch = drive.state.branches.get(command.step)
        is_asked = (
            branch is not None and branch.status is Status.RUNNING and branch.attempts == command.attempt
        )
        if error is None and is_asked:
            drive.busy.add(command.step)
            self._perform(drive, command, code, action)
        else:
            self._settled(drive, error)

    def _perform(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        if action.style is Style.TURN:
            store = self._context.store_of(code.store)
            if code.store is not None:
                store.submit(WitnessedTurn(self._context, drive, command, action, self._heard))
            else:
                self._submit_turn(drive, command, code, action)
            return
        work = self._in_scope if action.style is Style.SCOPE else self._without_store
        self._spawn(work(drive, command, code, action), drive, command.step)

    def _spawn(self, work: Coroutine[Any, Any, None], drive: Drive, branch: str) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, drive, branch))

    def _ended(self, drive: Drive, branch: str, task: asyncio.Task[None]) -> None:
        """See that no saga waits for a task that has ended without a word."""
        self._tasks.discard(task)
        if task.cancelled() or not isinstance(task.exception(), Exception):
            return
        drive.busy.discard(branch)
        self._settled(drive, task.exception())

    # ── Another store, plain ────────────────────────────────────────────────────────────────

    def _heard(
        self, drive: Drive, command: Asked, answer: Answer | None, error: BaseException | None
    ) -> None:
        code = drive.definition.codes[split_branch(command.step)[0]]
        if isinstance(error, Unreadable):
            drive.busy.discard(command.step)
            self._settled(drive, error)
        elif error is not None or answer is None:
            error = error or AssertionError("a turn that is durable has its answer")
            self._spawn(self._tell_failure(drive, command, code, error), drive, command.step)
        else:
            if code.breaker is not None:
                self._spawn(self._tell.worked(code), drive, "")
            self._tell.answer(drive, told(self._context, command, answer), command.step)

    async def _tell_failure(self, drive: Drive, command: Asked, code: StepCode, error: BaseException) -> None:
        tell = self._tell
        tell.answer(drive, await tell.failed(drive, command, code, error), command.step)

    # ── No store ────────────────────────────────────────────────────────────────────────────

    async def _without_store(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        reach = self._context.environment.reach
        is_undo = isinstance(command, e.Compensate)
        signal: e.SagaSignal
        try:
            reach(COMPENSATION_BEFORE if is_undo else STEP_BEFORE)
            result = await within(
                code.timeout_seconds, self._called(drive, command, action, None, self._own(drive, command))
            )
            signal = answered(self._context, command, result)
        except Unreadable:
            raise  # The saga is parked for it: nobody has answered.
        except Exception as error:  # Whatever the user's code raises is its answer.
            signal = await self._tell.failed(drive, command, code, error)
        else:
            await self._tell.worked(code)
        reach(COMPENSATION_AFTER if is_undo else STEP_AFTER)
        self._tell.answer(drive, signal, command.step)

    def _own(self, drive: Drive, command: Asked) -> Json | None:
        if not isinstance(command, e.Compensate):
            return None
        return drive.state.branches[command.step].result

    async def _called(self, drive: Drive, command: Asked, action: Action, tx: Any, own: Json | None) -> Any:
        run: Callable[[], Any] = partial(
            call, action, drive, drive.state, self._context.codec, command.step,
            tx=tx, attempt=command.attempt, own=own, is_undo=isinstance(command, e.Compensate),
        )  # fmt: skip
        with span_of_step(self._context, drive, command):
            if action.style is Style.BLOCKING:
                return await self._context.environment.run_blocking(run)
            try:
                return await run()
            except SystemExit as error:  # It would end the event loop, and every other saga with it.
                raise RuntimeError(f"it raised {error!r}") from error

    # ── A scope, in the home store or another ───────────────────────────────────────────────

    async def _in_scope(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        if code.store is None:
            await self._in_home_scope(drive, command, code, action)
        else:
            await self._in_other_scope(drive, command, code, action)

    async def _in_home_scope(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        context = self._context
        reach = context.environment.reach
        is_undo = isinstance(command, e.Compensate)
        scope = context.home.scope(_name(drive, command))
        try:
            reach(COMPENSATION_BEFORE if is_undo else STEP_BEFORE)
            tx = context.scope_tx(scope, drive.id, drive.key, None)
            result = await within(
                code.timeout_seconds, self._called(drive, command, action, tx, self._own(drive, command))
            )
            turn = ScopeTurn(drive, answered(context, command, result), self._ended_scope, command.step)
            reach(COMPENSATION_AFTER if is_undo else STEP_AFTER)
        except Unreadable:
            await scope.abort()
            raise  # The saga is parked for it: nobody has answered.
        except Exception as error:  # Whatever the user's code raises is its answer.
            await scope.abort()
            self._tell.answer(drive, await self._tell.failed(drive, command, code, error), command.step)
            return
        except BaseException:
            await asyncio.shield(scope.abort())
            raise
        await self._tell.worked(code)
        try:
            await scope.commit(turn)
        except (NotAwaited, FinalityError):
            return  # Its turn has heard of it, and says what is next.
        except Exception as error:  # A constraint that is checked at the commit: the step failed.
            self._tell.answer(drive, erred(context, drive, command, error), command.step)

    def _ended_scope(self, drive: Drive, error: BaseException | None) -> None:
        if error is None or isinstance(error, NotAwaited | FinalityError):
            self._settled(drive, error)  # Any other is the step's own, which whoever ended the scope tells.

    async def _in_other_scope(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        scope = self._context.store_of(code.store).scope(_name(drive, command))
        try:
            answer = await self._ask_in(scope, drive, command, code, action)
            if answer is None:
                return
            await scope.commit(TestifyTurn(drive, command, answer))
        except (AnsweredBefore, KnownAlready) as known:
            await scope.abort()
            answer = known.answer
        except Unreadable:
            await scope.abort()
            raise  # The saga is parked for it: nobody has answered.
        except Exception as error:  # The step's answer, or why nothing of it remains in its store.
            await scope.abort()
            self._tell.answer(drive, await self._tell.failed(drive, command, code, error), command.step)
            return
        except BaseException:
            await asyncio.shield(scope.abort())
            raise
        await self._tell.worked(code)
        self._tell.answer(drive, told(self._context, command, answer), command.step)

    async def _ask_in(
        self, scope: Scope, drive: Drive, command: Asked, code: StepCode, action: Action
    ) -> Answer | None:
        """Run the step in *scope*; return its answer, or None if it was told already.

        Raises:
            AnsweredBefore: The store knows the answer; nothing of this scope may remain.
        """
        context = self._context
        reach = context.environment.reach
        known = partial(known_answer, id=drive.id, command=command)
        own: Json | None = None

        async def look() -> None:
            answer, _ = await scope.call(known)
            if answer is not None:
                raise AnsweredBefore(answer)

        is_undo = isinstance(command, e.Compensate)
        if is_undo:
            # What is to be undone has to be known first; looked up in a scope of its own, so that the
            # write turn is free while the compensation calls a service.
            before = context.store_of(code.store).scope(_name(drive, command))
            answer, own = await before.call(known)
            if answer is not None:
                await before.commit()  # An empty compensation has left its witness in it.
                raise AnsweredBefore(answer)
            await before.abort()
        reach(COMPENSATION_BEFORE if is_undo else STEP_BEFORE)
        tx = context.scope_tx(scope, drive.id, None, look)
        try:
            result = await within(code.timeout_seconds, self._called(drive, command, action, tx, own))
        except Refused as refused:
            if is_undo:
                raise
            await self._testify_refusal(drive, command, code, scope, refused)
            return None
        reach(COMPENSATION_AFTER if is_undo else STEP_AFTER)
        return Answer(NULL if is_undo else kept(context, command.step, result))

    async def _testify_refusal(
        self, drive: Drive, command: Asked, code: StepCode, scope: Scope, refused: Refused
    ) -> None:
        """Leave nothing of the step but its refusal, which it must repeat if it is asked again."""
        await scope.abort()
        answer = refusal(self._context, drive, refused)
        alone = self._context.store_of(code.store).scope(_name(drive, command))
        await alone.commit(TestifyTurn(drive, command, answer))
        await self._tell.worked(code)
        self._tell.answer(drive, told(self._context, command, answer), command.step)


def _name(drive: Drive, command: Asked) -> str:
    return f"step {command.step!r} of saga {drive.definition.kind} {drive.id}"
