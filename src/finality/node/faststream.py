"""FastStream's subscribers with the inbox of a node around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from finality.adapters.faststream.inbox import InboxMiddleware
from finality.core.envelope import Envelope
from finality.node.async_node import AsyncNode
from finality.patterns.transaction import Transaction
from finality.ports.events import REACTION
from finality.ports.store import LocalTransaction
from finality.ports.topic_names import check_group
from finality.runtime.inbox import DONE, name_of


def faststream(node: AsyncNode, *, by: str, at: str | None = None) -> Callable[..., InboxMiddleware]:
    """Return a middleware for a broker of FastStream: each event takes effect once.

    A subscriber gets the transaction as ``tx: finality.Tx = Context("tx")``; what it does with it is
    committed with the inbox when it returns, and nothing of it remains when it raises. Publish with
    ``tx.publish``: what FastStream publishes of its answer comes after the commit, and may be lost.

    Args:
        by: The consumer in whose name it works: each consumer gets every event once.
        at: The store that it works in; by default the node's own.
    """
    check_group(by)

    @asynccontextmanager
    async def once(source: str, id: str) -> AsyncIterator[Transaction | None]:
        def is_first(local: LocalTransaction) -> bool:
            # The witness comes first: whoever has the same event at this moment waits for it.
            name = name_of(Envelope(id, source, "", "", b""))
            if local.witness(name, by, REACTION) is not None:
                return False
            local.testify(name, by, REACTION, DONE)
            return True

        async with node.transaction(at=at) as tx:
            yield tx if await tx._call(is_first) else None

    return partial[InboxMiddleware](InboxMiddleware, once=once)
