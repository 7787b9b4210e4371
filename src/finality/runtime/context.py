"""What the runtime needs from the layers around it, put together once by the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from finality.core.errors import NotFound
from finality.core.ids import NodeId, TransactionId
from finality.core.saga import Graph
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.home import Home
from finality.ports.store import LocalTransaction, Scope, Store
from finality.ports.tracing import NO_TRACING, Tracing
from finality.runtime.definition import Definition


@dataclass(frozen=True, slots=True)
class Context:
    """The node as its loops see it.

    Attributes:
        stores: The other stores, by the name that steps know them by.
        definitions: What the node can drive, by (kind, version).
        turn_tx: Makes the ``tx`` of a plain step from its turn's transaction, the id of what its
            events follow from and, in the home store, the saga's key.
        scope_tx: Makes the ``tx`` of an ``async`` step from its scope likewise; the function is
            called before its first statement.
        definition_of: Finds, or makes and keeps, the definition of a saga class.
        graph_of: Finds the graph of a (kind, version), also of one that the node cannot drive.
        broker: What operators call the node's broker; empty: it has none.
        called: Keys of sagas that were woken since somebody last looked what for.
        redact: Takes the secrets of a saga out of a text.
    """

    node: NodeId
    home: Home
    stores: Mapping[str, Store]
    codec: Codec
    environment: Environment
    definitions: dict[tuple[str, str], Definition]
    turn_tx: Callable[[LocalTransaction, TransactionId, int | None], Any]
    scope_tx: Callable[[Scope, TransactionId, int | None, Callable[[], Awaitable[None]] | None], Any]
    redact: Callable[[str, tuple[str, ...]], str]
    secrets_of: Callable[[Any], tuple[str, ...]]
    definition_of: Callable[[type], Definition]
    graph_of: Callable[[str, str], Awaitable[Graph]]
    broker: str = ""
    tracing: Tracing = NO_TRACING
    called: set[int] = field(default_factory=set)

    def store_of(self, name: str | None) -> Store:
        """Return the store that a step works in."""
        return self.home if name is None else self.stores[name]

    def store(self, at: str | None) -> Store:
        """Return the store that a caller has named.

        Raises:
            NotFound: The node does not have it.
        """
        if at is not None and at not in self.stores:
            raise NotFound(f"this node has no store {at!r}: give its URL with stores={{...}}")
        return self.store_of(at)
