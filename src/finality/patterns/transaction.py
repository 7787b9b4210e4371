"""The local transaction: ``tx``, the first parameter of any code that runs inside one.

``SyncTx`` is for plain functions, which run whole in one turn of the store. ``Tx`` is for
``async`` ones: it begins at its first statement and then holds the store's write turn, so call
services before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from finality.core.errors import Conflict, DefinitionError
from finality.ports.codec import Codec
from finality.ports.home import HomeTransaction
from finality.ports.store import LocalTransaction, Rows, Scope

T = TypeVar("T")


class Locked(Conflict):
    """Another saga holds the semantic lock and has not ended; trying again later is likely to work."""

    code = "locked"


class SyncTx:
    """A local transaction, for plain functions. It ends when the function returns or raises."""

    def __init__(self, local: LocalTransaction, codec: Codec, key: int | None = None) -> None:
        self._local = local
        self._codec = codec
        self._key = key

    def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``?`` for each of *parameters*; return its rows.

        Raises:
            StatementRefused: It would end the transaction or write a table of Finality's.
        """
        return self._local.execute(sql, parameters)

    def publish(self, topic: str, event: Any, *, key: str = "") -> None:
        """Put *event* into the outbox, in this very commit.

        Args:
            key: Events of one key keep their order.
        """
        payload = self._codec.encode(event).encode()
        self._local.publish(topic, key, type(event).__name__, payload)

    def lock(self, resource: str) -> None:
        """Take a semantic lock for the saga, from this step until the saga has ended.

        Raises:
            Locked: Another saga holds it; the step is tried again later.
            DefinitionError: There is no saga here, or the step works in another store.
        """
        lock(self._local, self._key, resource)


def lock(local: Any, key: int | None, resource: str) -> None:
    """Take the semantic lock on *resource* for the saga with *key*."""
    if key is None:
        raise DefinitionError(
            f"cannot lock {resource!r}: semantic locks belong to sagas and are kept in the home store; "
            "take it in a step that works there"
        )
    home: HomeTransaction = local
    holder = home.lock(key, resource)
    if holder is not None:
        raise Locked(f"{resource!r} is locked: saga {home.head(holder).id} has not ended; it is tried again")


class Tx:
    """A local transaction, for ``async`` functions. It ends when the function returns or raises."""

    def __init__(
        self,
        scope: Scope,
        codec: Codec,
        key: int | None = None,
        on_begin: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._scope = scope
        self._codec = codec
        self._key = key
        self._on_begin = on_begin

    async def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``?`` for each of *parameters*; return its rows.

        Raises:
            StatementRefused: It would end the transaction or write a table of Finality's.
        """
        return await self._call(lambda local: local.execute(sql, parameters))

    async def publish(self, topic: str, event: Any, *, key: str = "") -> None:
        """Put *event* into the outbox, in this very commit; events of one *key* keep their order."""
        payload = self._codec.encode(event).encode()
        await self._call(lambda local: local.publish(topic, key, type(event).__name__, payload))

    async def lock(self, resource: str) -> None:
        """Take a semantic lock for the saga, from this step until the saga has ended.

        Raises:
            Locked: Another saga holds it; the step is tried again later.
            DefinitionError: There is no saga here, or the step works in another store.
        """
        await self._call(lambda local: lock(local, self._key, resource))

    async def _call(self, work: Callable[[Any], T]) -> T:
        on_begin, self._on_begin = self._on_begin, None
        if on_begin is not None:
            await on_begin()
        return await self._scope.call(work)


class TransactionScope:
    """``async with node.transaction() as tx``: committed when the block ends, gone if it raises."""

    def __init__(self, scope: Callable[[], Awaitable[Scope]], codec: Codec) -> None:
        self._open = scope
        self._codec = codec
        self._scope: Scope | None = None

    async def __aenter__(self) -> Tx:
        self._scope = await self._open()
        return Tx(self._scope, self._codec)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._scope is not None, "the block was entered"
        if kind is None:
            await self._scope.commit()
        else:
            await asyncio.shield(self._scope.abort())


class FunctionTurn:
    """Runs a plain function in a turn of the store and keeps what it returns."""

    def __init__(self, function: Callable[[SyncTx], Any], codec: Codec) -> None:
        self.name = f"function {getattr(function, '__qualname__', function)!s}"
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._function = function
        self._codec = codec
        self._answer: Any = None

    def run(self, tx: LocalTransaction) -> None:
        """Run the function."""
        self._answer = self._function(SyncTx(tx, self._codec))

    def forget(self) -> None:
        """Forget the answer."""
        self._answer = None

    def settle(self, error: BaseException | None) -> None:
        """Answer the caller."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(self._answer)
        else:
            self.done.set_exception(error)
