"""The block of a transaction: it begins when the block is entered and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any

from finality.core.errors import DeadlinePassed, FinalityError
from finality.patterns.transaction import Transaction
from finality.ports.tracing import NO_SPAN, Block


class TransactionScope:
    """``async with node.transaction() as tx``: committed when the block ends, gone if it raises."""

    def __init__(
        self,
        begin: Callable[[], Awaitable[Transaction]],
        *,
        seconds: float | None = None,
        span: Block = NO_SPAN,
    ) -> None:
        self._begin = begin
        self._span = span
        self._seconds = seconds
        self._deadline: asyncio.Timeout | None = None
        self._tx: Transaction | None = None

    async def __aenter__(self) -> Transaction:
        self._tx = await self._begin()
        self._span.__enter__().identify(self._tx.id)
        if self._seconds is not None:
            self._deadline = asyncio.timeout(self._seconds)
            await self._deadline.__aenter__()
        return self._tx

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tx is not None, "the block was entered"
        try:
            await self._end(self._tx, kind, error, trace)
        except BaseException as why:
            self._span.__exit__(type(why), why, why.__traceback__)
            raise
        self._span.__exit__(kind, error, trace)

    async def _end(
        self,
        tx: Transaction,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._deadline is not None:
                await self._deadline.__aexit__(kind, error, trace)
        except TimeoutError as passed:
            await _to_the_end(tx._abort("its deadline has passed"))
            raise DeadlinePassed(
                f"transaction {tx.id} is aborted: its block did not end before the deadline; "
                "nothing of it remains",
                transaction_id=tx.id,
            ) from passed
        if error is None:
            await _to_the_end(tx._commit())
        else:
            because = str(error) if isinstance(error, FinalityError) else f"its block raised {error!r}"
            await _to_the_end(tx._abort(because))


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Let *work* end, also if whoever waits for it is cancelled: half an end is none."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
