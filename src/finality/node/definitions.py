"""What a node can drive: the definitions of its sagas, and the kept shapes of all others."""

from __future__ import annotations

from collections.abc import Callable, Collection

from finality.adapters.msgspec.graph import graph_from_json, graph_to_json
from finality.core.errors import InputMismatch, NotFound
from finality.core.ids import Json, TransactionId
from finality.core.saga import Graph
from finality.patterns.saga import Saga, children_of, definition_of
from finality.ports.codec import Codec, DecodeError
from finality.ports.home import Home, HomeTransaction
from finality.runtime.asked import Asked
from finality.runtime.definition import Definition


class DefineTurn(Asked[None]):
    """Keeps the shape of a definition, so that any node can explain its sagas."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(f"definition of {graph.saga}", answer=None)
        self._graph = graph

    def run(self, tx: HomeTransaction) -> None:
        """Keep it."""
        tx.define(self._graph.saga, self._graph.version, graph_to_json(self._graph))


class Definitions:
    """The definitions of one node.

    Attributes:
        known: What it can drive, by (kind, version).
        by_class: The same, by the class of the saga: every start looks here.
        changed: Called when there is one more.
    """

    def __init__(self, home: Home, stores: Collection[str]) -> None:
        self.known: dict[tuple[str, str], Definition] = {}
        self.by_class: dict[type, Definition] = {}
        self.changed: Callable[[], None] = lambda: None
        self._home = home
        self._stores = stores
        self._graphs: dict[tuple[str, str], Graph] = {}

    def of(self, cls: type) -> Definition:
        """Return the definition of a saga class that the node can drive.

        Raises:
            NotFound: The node was not told of it.
        """
        definition = definition_of(cls)
        if (definition.kind, definition.version) not in self.known:
            raise NotFound(
                f"saga {definition.kind} is not known to this node: open it with sagas=[{cls.__name__}]"
            )
        return definition

    async def register(self, cls: type[Saga]) -> Definition:
        """Make the node one that can drive *cls* and the sagas that it runs as children.

        Raises:
            DefinitionError: Its declaration cannot keep its promise.
            NotFound: A step works in a store that the node does not have.
        """
        definition = definition_of(cls)
        key = (definition.kind, definition.version)
        if cls in self.by_class:
            return definition
        self._check_stores(definition)
        turn = DefineTurn(definition.graph)
        self._home.submit(turn)
        await turn.done
        # Known before its children are, since it may be its own child. A class that was declared
        # again in the same shape, as in a notebook, takes the place of the earlier one.
        before = self.known.get(key)
        if before is not None:
            self.by_class.pop(before.type, None)
        self.known[key] = self.by_class[cls] = definition
        for child in children_of(cls):
            await self.register(child)
        self.changed()
        return definition

    def _check_stores(self, definition: Definition) -> None:
        missing = sorted({code.store for code in definition.codes.values() if code.store} - {*self._stores})
        if missing:
            raise NotFound(
                f"saga {definition.kind} works in store {missing[0]!r}, which this node does not have: "
                f'open it with stores={{"{missing[0]}": "sqlite:///…"}}, or give `finality run` '
                f"--at {missing[0]}=sqlite:///…"
            )

    async def graph_of(self, kind: str, version: str) -> Graph:
        """Return the graph of a definition, also of one that this node cannot drive.

        Raises:
            NotFound: Nobody has kept it.
        """
        definition = self.known.get((kind, version))
        if definition is not None:
            return definition.graph
        if (kind, version) not in self._graphs:
            text = await self._home.definition(kind, version)
            if text is None:
                raise NotFound(
                    f"the shape of {kind}@{version} is not kept: its row was deleted from the store"
                )
            self._graphs[kind, version] = graph_from_json(Json(text))
        return self._graphs[kind, version]


def check_fits(codec: Codec, definition: Definition, input: Json, id: TransactionId) -> None:
    """See that an input can be read again: what nobody could read would be parked after a crash.

    Raises:
        InputMismatch: A field is not of its type.
    """
    try:
        codec.decode(input, definition.type)
    except DecodeError as error:
        raise InputMismatch(
            f"{definition.kind} {id} was not started: its input does not fit, {error}; "
            "give each field a value of its type",
            transaction_id=id,
        ) from error
