"""Asks a step's code, in the way that its function wants to be called.

```
              home store                another store                no store
   def        StepTurn: one commit      WitnessedTurn, then a signal   in a thread, then a signal
   async def  a scope: one commit       a scope with a witness         a task, then a signal
```

What is not one commit with its event is announced first (``AboutToRun``): record, then act.
"""

from __future__ import annotations

import asyncio
import logging
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
from finality.runtime.answers import Asked, answered, describe, erred, told
from finality.runtime.arguments import call
from finality.runtime.breakers import Breakers
from finality.runtime.context import Context
from finality.runtime.definition import Action, StepCode, Style
from finality.runtime.drive import Drive
from finality.runtime.turns import NotAwaited, ScopeTurn, Settled, SignalTurn, StepTurn
from finality.runtime.witness import NULL, TestifyTurn, WitnessedTurn, known_answer, refusal

log = logging.getLogger("finality.coordinator")

TIMED_OUT = "no answer within {seconds:g} seconds"


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
        self._submit = context.home.submit
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """Say whether no task is under way."""
        return not self._tasks

    def ask(self, drive: Drive, command: Asked) -> None:
        """Ask the branch, unless it is being asked already."""
        name = command.step
        if name in drive.busy:
            return
        drive.busy.add(name)
        is_undo = type(command) is e.Compensate
        direct = None if is_undo else drive.definition.direct.get(name)
        if direct is not None:
            self._submit(StepTurn(self._context, drive, command, direct, self._settled))
            return
        codes = drive.definition.codes
        code = codes.get(name) or codes[split_branch(name)[0]]
        if code.condition is not None and not is_undo and not self.is_wanted(drive, name):
            return
        action = code.compensation if is_undo else code.action
        assert action is not None, f"step {name!r} has nothing to run"
        if code.breaker is not None:
            self._spawn(self._through_breaker(drive, command, code, action))
        else:
            self._ask(drive, command, code, action)

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
            self._context.home.submit(StepTurn(self._context, drive, command, action, self._settled))
        elif step.is_local or is_undo:
            self._perform(drive, command, code, action)
        else:
            announced = partial(self._announced, command=command, code=code, action=action)
            signal = e.AboutToRun(name, command.attempt)
            self._context.home.submit(SignalTurn(drive, signal, announced, name))

    def signal(self, drive: Drive, signal: e.SagaSignal, branch: str | None = None) -> None:
        """Let the saga hear *signal*."""
        self._context.home.submit(SignalTurn(drive, signal, self._settled, branch))

    def cancel(self) -> None:
        """Stop waiting for answers; the steps that were asked will be asked again."""
        for task in self._tasks:
            task.cancel()

    def is_wanted(self, drive: Drive, name: str) -> bool:
        """Evaluate the step's condition; if it does not hold, the saga hears so."""
        step = split_branch(name)[0]
        condition = drive.definition.codes[step].condition
        if condition is None or step in drive.state.branches:
            return True
        try:
            if call(condition, drive, drive.state, self._context.codec, step):
                return True
        except Exception as error:  # It is pure, so another try would raise the same.
            self.signal(drive, e.RefusedBy(step, 1, f"its condition failed: {describe(error)}"), name)
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
                store.submit(StepTurn(self._context, drive, command, action, self._settled))
            return
        work = self._in_scope if action.style is Style.SCOPE else self._without_store
        self._spawn(work(drive, command, code, action))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a step could not be asked, a restart asks it again", exc_info=task.exception())

    # ── Another store, plain ────────────────────────────────────────────────────────────────

    def _heard(
        self, drive: Drive, command: Asked, answer: Answer | None, error: BaseException | None
    ) -> None:
        if error is not None or answer is None:
            error = error or AssertionError("a turn that is durable has its answer")
            self.signal(drive, erred(self._context, drive, command, error), command.step)
        else:
            self.signal(drive, told(self._context, command, answer), command.step)

    # ── No store ────────────────────────────────────────────────────────────────────────────

    async def _without_store(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        reach = self._context.environment.reach
        is_undo = isinstance(command, e.Compensate)
        signal: e.SagaSignal
        try:
            reach(COMPENSATION_BEFORE if is_undo else STEP_BEFORE)
            result = await self._within(
                code, self._called(drive, command, action, None, self._own(drive, command))
            )
            signal = answered(self._context, command, result)
        except Exception as error:  # Whatever the user's code raises is its answer.
            signal = await self._failed(drive, command, code, error)
        else:
            await self._worked(code)
        reach(COMPENSATION_AFTER if is_undo else STEP_AFTER)
        self.signal(drive, signal, command.step)

    def _own(self, drive: Drive, command: Asked) -> Json | None:
        if not isinstance(command, e.Compensate):
            return None
        return drive.state.branches[command.step].result

    async def _called(self, drive: Drive, command: Asked, action: Action, tx: Any, own: Json | None) -> Any:
        run: Callable[[], Any] = partial(
            call, action, drive, drive.state, self._context.codec, command.step,
            tx=tx, attempt=command.attempt, own=own, is_undo=isinstance(command, e.Compensate),
        )  # fmt: skip
        if action.style is Style.BLOCKING:
            return await self._context.environment.run_blocking(run)
        return await run()

    async def _within(self, code: StepCode, work: Any) -> Any:
        if code.timeout_seconds is None:
            return await work
        try:
            async with asyncio.timeout(code.timeout_seconds):
                return await work
        except TimeoutError as error:
            raise TimeoutError(TIMED_OUT.format(seconds=code.timeout_seconds)) from error

    async def _failed(self, drive: Drive, command: Asked, code: StepCode, error: Exception) -> e.SagaSignal:
        signal = erred(self._context, drive, command, error)
        if isinstance(error, Refused):
            await self._worked(code)
        elif code.breaker is not None:
            because = self._context.redact(describe(error), drive.secrets)
            await self._breakers.failed(code.breaker, code.breaker_policy, because)
        return signal

    async def _worked(self, code: StepCode) -> None:
        if code.breaker is not None:
            await self._breakers.succeeded(code.breaker, code.breaker_policy)

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
        scope = context.home.scope(f"step {command.step!r} of saga {drive.definition.kind} {drive.id}")
        try:
            reach(COMPENSATION_BEFORE if is_undo else STEP_BEFORE)
            tx = context.scope_tx(scope, drive.key, None)
            result = await self._within(
                code, self._called(drive, command, action, tx, self._own(drive, command))
            )
            turn = ScopeTurn(drive, answered(context, command, result), self._settled, command.step)
            reach(COMPENSATION_AFTER if is_undo else STEP_AFTER)
        except Exception as error:  # Whatever the user's code raises is its answer.
            await scope.abort()
            self.signal(drive, await self._failed(drive, command, code, error), command.step)
            return
        except BaseException:
            await asyncio.shield(scope.abort())
            raise
        await self._worked(code)
        try:
            await scope.commit(turn)
        except (NotAwaited, FinalityError):
            return  # The turn's settle has heard of it, and says what is next.
        except Exception as error:  # A constraint that is checked at the commit: the step failed.
            self.signal(drive, erred(context, drive, command, error), command.step)

    async def _in_other_scope(self, drive: Drive, command: Asked, code: StepCode, action: Action) -> None:
        context = self._context
        store = context.store_of(code.store)
        scope = store.scope(f"step {command.step!r} of saga {drive.definition.kind} {drive.id}")
        own: Json | None = None

        def look(tx: Any) -> None:
            answer, _ = known_answer(tx, drive.id, command)
            if answer is not None:
                raise AnsweredBefore(answer)

        try:
            if isinstance(command, e.Compensate):
                known, own = await scope.call(partial(known_answer, id=drive.id, command=command))
                if known is not None:
                    raise AnsweredBefore(known)
            tx = context.scope_tx(scope, None, look)
            result = await self._within(code, self._called(drive, command, action, tx, own))
            answer = Answer(NULL if own is not None else context.codec.encode(result))
        except AnsweredBefore as known_before:
            answer = known_before.answer
        except Refused as refused:
            await scope.abort()
            scope = store.scope(scope.name)
            answer = refusal(context, drive, refused)
            if isinstance(command, e.Compensate):
                self.signal(drive, erred(context, drive, command, refused), command.step)
                return
        except Exception as error:  # Whatever the user's code raises is its answer.
            await scope.abort()
            self.signal(drive, await self._failed(drive, command, code, error), command.step)
            return
        turn = TestifyTurn(drive, command, answer)
        try:
            await scope.commit(turn)
        except Exception as error:  # Nothing of the step remains in its store.
            self.signal(drive, await self._failed(drive, command, code, error), command.step)
            return
        self.signal(drive, told(context, command, turn.answer), command.step)
