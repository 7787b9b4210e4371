"""Asks a reservation's code in one local transaction, with its witness in the same commit.

```
    def        a turn: look, run, record
    async def  a scope, which looks at its first statement, and whose last turn looks again and records
```
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from finality.core.errors import Refused
from finality.core.reservation import Ask, Proceed, Reserved, answer_to, finished, refused, tried
from finality.ports.environment import COMPENSATION_AFTER, COMPENSATION_BEFORE, STEP_AFTER, STEP_BEFORE
from finality.ports.store import LocalTransaction, Store
from finality.runtime.answers import BECAUSE_LENGTH_MAX, describe, kept
from finality.runtime.context import Context
from finality.runtime.definition import Style
from finality.runtime.reservations.rows import Found, found
from finality.runtime.reservations.turns import AskTurn, KnownAtEnd, LookTurn, Request

T = TypeVar("T")


class _KnownBefore(BaseException):
    """Ends an ``async`` method at its first statement; no ``except Exception`` of its may swallow it."""

    def __init__(self, known: Found) -> None:
        super().__init__()
        self.known = known


class Asking:
    """Asks reservations in one store."""

    def __init__(self, context: Context, store: Store) -> None:
        self._context = context
        self._store = store

    async def look(self, name: str, read: Callable[[LocalTransaction], T]) -> T:
        """Return what *read* finds, behind all that was submitted before."""
        turn = LookTurn(name, read)
        self._store.submit(turn)
        answer: T = await turn.done
        return answer

    async def ask(self, request: Request) -> Found:
        """Do what is asked unless it was done before; return what is recorded then, durable.

        Raises:
            NothingToConfirm: A confirm of what holds nothing.
            Unavailable: The store is out of reach; nothing was recorded.
            OutcomeUnknown: It may be recorded; ask again.
            Exception: Whatever the user's method raises, but for the refusal of a try.
        """
        if request.code is not None and request.method.style is Style.SCOPE:
            return await self._in_scope(request)
        return await self._in_turn(request, partial(self._run, request))

    def reason(self, request: Request, error: BaseException) -> str:
        """Return an error as one line, without the reservation's secrets."""
        secrets = (
            *self._context.secrets_of(request.reservation),
            *self._context.secrets_of(request.held),
        )
        return self._context.redact(describe(error), secrets)[:BECAUSE_LENGTH_MAX]

    async def _in_turn(
        self, request: Request, work: Callable[[LocalTransaction, Reserved], Reserved]
    ) -> Found:
        turn = AskTurn(request, work)
        self._store.submit(turn)
        return await turn.done

    def _run(self, request: Request, tx: LocalTransaction, reserved: Reserved) -> Reserved:
        """Run a plain method in its turn."""
        self._reach(request, STEP_BEFORE, COMPENSATION_BEFORE)
        try:
            result = request.call(self._context.turn_tx(tx, request.branch.transaction, None))
        except Refused as no:
            if request.ask is not Ask.TRY:
                raise
            tx.undo()
            after = refused(self.reason(request, no))
        else:
            after = self._after(request, reserved, result)
        self._reach(request, STEP_AFTER, COMPENSATION_AFTER)
        return after

    async def _in_scope(self, request: Request) -> Found:
        """Run an ``async`` method in a scope, which begins at its first statement."""
        scope = self._store.scope(request.name)

        async def look() -> None:
            known = await scope.call(partial(found, branch=request.branch))
            if not isinstance(answer_to(known.reserved, request.ask), Proceed):
                raise _KnownBefore(known)

        try:
            tx = self._context.scope_tx(scope, request.branch.transaction, None, look)
            result = await self._awaited(request, tx)
            turn = AskTurn(request, lambda tx, reserved: self._after(request, reserved, result), is_last=True)
            await scope.commit(turn)
            return await turn.done
        except (_KnownBefore, KnownAtEnd) as before:
            await scope.abort()
            return before.known
        except Refused as no:
            await scope.abort()
            if request.ask is not Ask.TRY:
                raise
            refusal = refused(self.reason(request, no))
            return await self._in_turn(request, lambda tx, reserved: refusal)
        except BaseException:
            await asyncio.shield(scope.abort())
            raise

    async def _awaited(self, request: Request, tx: Any) -> Any:
        self._reach(request, STEP_BEFORE, COMPENSATION_BEFORE)
        try:
            result = await request.call(tx)
        except SystemExit as error:  # It would end the event loop, and everything else with it.
            raise RuntimeError(f"it raised {error!r}") from error
        self._reach(request, STEP_AFTER, COMPENSATION_AFTER)
        return result

    def _after(self, request: Request, reserved: Reserved, result: Any) -> Reserved:
        if request.ask is Ask.TRY:
            return tried(kept(self._context, request.branch.name, result))
        return finished(reserved, request.ask)

    def _reach(self, request: Request, forward: str, backward: str) -> None:
        is_backward = request.ask in (Ask.CANCEL, Ask.LAPSE)
        self._context.environment.reach(backward if is_backward else forward)
