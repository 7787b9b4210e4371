"""The synchronous face: the same node, driven from a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from finality.core.explain import Explanation
from finality.core.ids import TransactionId
from finality.core.protocol import Recorded
from finality.node.async_node import DRAIN_SECONDS, AsyncNode
from finality.node.opening import open_async
from finality.patterns.outcome import Outcome
from finality.patterns.saga import Saga
from finality.patterns.transaction import SyncTx, Tx
from finality.ports.home import Head, NodeRow
from finality.ports.store import Rows

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SyncHandle:
    """A saga that was started; ask it what became of the saga, now or later."""

    id: TransactionId
    node: Node

    def outcome(self, *, timeout: float | None = None) -> Outcome:
        """Wait until the saga has ended and return how; for *timeout* seconds at most."""
        return self.node.outcome(self.id, timeout=timeout)

    def result(self, *, timeout: float | None = None) -> Any:
        """Wait until the saga has ended and return what it yielded, or raise ``Compensated``."""
        return self.outcome(timeout=timeout).raise_if_compensated()


class BlockTx:
    """The ``tx`` of ``with node.transaction()``: each call waits for the node's loop."""

    def __init__(self, tx: Tx, wait: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._tx = tx
        self._wait = wait

    def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``?`` for each of *parameters*; return its rows."""
        rows: Rows = self._wait(self._tx.execute(sql, *parameters))
        return rows

    def publish(self, topic: str, event: Any, *, key: str = "") -> None:
        """Put *event* into the outbox, in this very commit."""
        self._wait(self._tx.publish(topic, event, key=key))


class Node:
    """``AsyncNode`` without ``await``, usable from any thread: Flask, Django, a script."""

    def __init__(self, node: AsyncNode) -> None:
        self.asynchronous = node
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="finality node", daemon=True)
        self._thread.start()
        self._is_closed = False
        atexit.register(self.close)
        try:
            self._wait(node.opened())
        except BaseException:
            self._stop()
            raise

    def _wait(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Let the steps under way finish, hand over the rest and close the stores."""
        if not self._is_closed:
            self._wait(self.asynchronous.close(drain_seconds=drain_seconds))
            self._stop()

    def _stop(self) -> None:
        self._is_closed = True
        atexit.unregister(self.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, saga: Saga, *, id: str | None = None) -> SyncHandle:
        """Start a saga; durable when it returns. See ``AsyncNode.start``."""
        return SyncHandle(self._wait(self.asynchronous.start(saga, id=id)).id, self)

    def outcome(self, id: str, *, timeout: float | None = None) -> Outcome:
        """Wait until the saga has ended and return how; for *timeout* seconds at most.

        Raises:
            TimeoutError: It has not ended yet; ask again.
        """
        return self._wait(self.asynchronous.outcome(id), timeout)

    def handle(self, id: str) -> SyncHandle:
        """Return the handle of a saga that was started before."""
        return SyncHandle(self._wait(self.asynchronous.handle(id)).id, self)

    def cancel(self, id: str, *, because: str, by: str = "operator") -> bool:
        """Undo a saga; return False when it is too late."""
        return self._wait(self.asynchronous.cancel(id, because=because, by=by))

    def signal(self, id: str, name: str, value: Any = None, *, by: str = "operator") -> bool:
        """Send a saga a named value."""
        return self._wait(self.asynchronous.signal(id, name, value, by=by))

    def retry(self, id: str, *, because: str, by: str = "operator") -> bool:
        """Set a stuck or parked saga going again."""
        return self._wait(self.asynchronous.retry(id, because=because, by=by))

    def history(self, id: str) -> list[Recorded]:
        """Return everything that happened to a transaction, oldest first."""
        return self._wait(self.asynchronous.history(id))

    def explain(self, id: str) -> Explanation:
        """Say in sentences what happened, what it waits for, since when, and what you can do."""
        return self._wait(self.asynchronous.explain(id))

    def transactions(self, **filters: Any) -> list[Head]:
        """Return transactions, newest first. See ``AsyncNode.transactions``."""
        return self._wait(self.asynchronous.transactions(**filters))

    def nodes(self) -> list[NodeRow]:
        """Return the nodes that have joined, newest first."""
        return self._wait(self.asynchronous.nodes())

    def run(self, function: Callable[[SyncTx], T], *, at: str | None = None) -> T:
        """Run *function* whole in one local transaction; durable when it returns."""
        return self._wait(self.asynchronous.run(function, at=at))

    def query(self, sql: str, *parameters: Any, at: str | None = None) -> list[tuple[Any, ...]]:
        """Read what is committed, outside of any transaction."""
        return self._wait(self.asynchronous.query(sql, *parameters, at=at))

    @contextmanager
    def transaction(self, *, at: str | None = None) -> Iterator[BlockTx]:
        """Open a local transaction: ``with node.transaction() as tx``.

        Committed and durable when the block ends; nothing of it remains when the block raises.
        """
        scope = self.asynchronous.transaction(at=at)
        tx = self._wait(scope.__aenter__())
        try:
            yield BlockTx(tx, self._wait)
        except BaseException as error:
            self._wait(scope.__aexit__(type(error), error, error.__traceback__))
            raise
        self._wait(scope.__aexit__(None, None, None))


def open(url: str, **settings: Any) -> Node:
    """Return an open node with a synchronous face. See ``open_async`` for the settings."""
    return Node(open_async(url, **settings))
