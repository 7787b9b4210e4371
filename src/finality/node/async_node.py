"""The node: stores, definitions and loops of one process, and what users ask of them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from finality.adapters.msgspec.graph import graph_from_json, graph_to_json
from finality.core.errors import InputMismatch, NotFound, Stuck, Unavailable
from finality.core.explain import Explanation, explain
from finality.core.ids import Json, NodeId, TransactionId, uuid7
from finality.core.protocol import Recorded
from finality.core.saga import Graph, Phase, SagaState, replay
from finality.core.saga import events as e
from finality.core.secret import redact, secret_values
from finality.patterns.outcome import COMPENSATED, COMPLETED, Handle, Outcome
from finality.patterns.saga import Saga, children_of, definition_of
from finality.patterns.transaction import FunctionTurn, SyncTx, TransactionScope, Tx
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.home import Head, Home, HomeTransaction, NodeRow
from finality.ports.store import Scope, Store
from finality.runtime.context import Context
from finality.runtime.coordinator import Coordinator
from finality.runtime.definition import Definition
from finality.runtime.leases import Leases
from finality.runtime.posting import StartTurn
from finality.runtime.timers import Timers
from finality.runtime.waiting import is_over

T = TypeVar("T")

DRAIN_SECONDS = 10.0  # What orchestrators usually grant between SIGTERM and SIGKILL is 30.


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node was opened with."""

    url: str
    stores: Mapping[str, str]
    sagas: tuple[type[Any], ...]
    in_flight_max: int
    lease_seconds: float
    is_observer: bool
    open_home: Callable[[str, Environment, Codec], Home]
    open_store: Callable[[str, Environment, str], Store]


class DefineTurn:
    """Keeps the shape of a definition."""

    def __init__(self, graph: Graph) -> None:
        self.name = f"definition of {graph.saga}"
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._graph = graph

    def run(self, tx: HomeTransaction) -> None:
        """Keep it."""
        tx.define(self._graph.saga, self._graph.version, graph_to_json(self._graph))

    def forget(self) -> None:
        """Nothing in memory has changed."""

    def settle(self, error: BaseException | None) -> None:
        """Answer the caller."""
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class AsyncNode:
    """One process that drives transactions. Use it with ``async with``, or call ``close``."""

    def __init__(self, settings: Settings, codec: Codec, environment: Environment) -> None:
        self.settings = settings
        self._codec = codec
        self._environment = environment
        self._opening: asyncio.Task[None] | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._graphs: dict[tuple[str, str], Graph] = {}
        self._is_open = False
        self._is_closed = False
        self._context: Context
        self._coordinator: Coordinator
        self._timers: Timers
        self._leases: Leases

    # ── Opening and closing ─────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        await self.opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def opened(self) -> Context:
        """Open the stores and start the loops, once; return the node's insides."""
        if self._is_closed:
            raise Unavailable("the node is closed: open a new one")
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        await asyncio.shield(self._opening)
        self._is_open = True
        return self._context

    async def _open(self) -> None:
        settings, environment = self.settings, self._environment
        now = environment.now()
        id = NodeId(f"{socket.gethostname()}-{os.getpid()}-{environment.random_bits(24):06x}")
        home = settings.open_home(settings.url, environment, self._codec)
        stores = {name: settings.open_store(url, environment, name) for name, url in settings.stores.items()}
        self._context = Context(
            node=id,
            home=home,
            stores=stores,
            codec=self._codec,
            environment=environment,
            definitions={},
            turn_tx=lambda local, key: SyncTx(local, self._codec, key),
            scope_tx=lambda scope, key, begin: Tx(scope, self._codec, key, begin),
            redact=redact,
            secrets_of=secret_values,
            definition_of=self._definition_of,
            graph_of=self._graph_of,
        )
        self._coordinator = Coordinator(self._context, in_flight_max=settings.in_flight_max)
        self._timers = Timers(self._context, self._coordinator.admit, self._coordinator.look)
        self._coordinator.kick = self._timers.kick
        self._coordinator.sleeps = self._timers.sleeps
        row = NodeRow(id, socket.gethostname(), os.getpid(), frozenset(), now, now + settings.lease_seconds)
        self._leases = Leases(self._context, row, self._timers.kick, seconds=settings.lease_seconds)
        for saga in settings.sagas:
            await self._register(saga)
        if not settings.is_observer:
            await self._leases.renew()
            self._loops.append(asyncio.ensure_future(self._leases.run()))
        self._loops.append(asyncio.ensure_future(self._timers.run()))

    async def close(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Let the steps under way finish, hand over the rest and close the stores."""
        if self._is_closed or self._opening is None:
            self._is_closed = True
            return
        await asyncio.shield(self._opening)
        self._is_closed, self._is_open = True, False
        await self._coordinator.drain(drain_seconds)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if not self.settings.is_observer:
            await self._leases.leave()
        for store in (*self._context.stores.values(), self._context.home):
            await store.close()

    # ── Definitions ─────────────────────────────────────────────────────────────────────────

    def _definition_of(self, cls: type) -> Definition:
        definition = definition_of(cls)
        key = (definition.kind, definition.version)
        if key not in self._context.definitions:
            raise NotFound(
                f"saga {definition.kind} is not known to this node: open it with sagas=[{cls.__name__}]"
            )
        return definition

    async def _register(self, cls: type[Saga]) -> Definition:
        definition = definition_of(cls)
        key = (definition.kind, definition.version)
        known = self._context.definitions.get(key)
        if known is not None:
            return known
        missing = {code.store for code in definition.codes.values() if code.store} - set(self._context.stores)
        if missing:
            raise NotFound(
                f"saga {definition.kind} works in store {sorted(missing)[0]!r}, which this node does not have: "
                "give its URL with stores={...}"
            )
        for child in children_of(cls):
            await self._register(child)
        turn = DefineTurn(definition.graph)
        self._context.home.submit(turn)
        await turn.done
        self._context.definitions[key] = definition
        self._leases.drives_changed()
        return definition

    def _graph_of(self, kind: str, version: str) -> Graph:
        definition = self._context.definitions.get((kind, version))
        if definition is not None:
            return definition.graph
        if (kind, version) not in self._graphs:
            kept = self._context.home.definition(kind, version)
            assert kept is not None, f"the shape of {kind}@{version} is kept with its first saga"
            self._graphs[kind, version] = graph_from_json(kept)
        return self._graphs[kind, version]

    # ── Sagas ───────────────────────────────────────────────────────────────────────────────

    async def start(self, saga: Saga, *, id: str | None = None) -> Handle:
        """Start a saga; durable when it returns.

        The same id with the same input returns the same saga, so a caller that does not know
        whether its call arrived may repeat it.

        Args:
            id: Chosen by the caller to make the start idempotent; by default a new UUID.

        Raises:
            InputMismatch: The id is taken by a saga with another input.
            DefinitionError: The saga's declaration cannot keep its promise.
            Unavailable: The store is out of reach; nothing was started.
        """
        if not self._is_open:
            await self.opened()
        definition = self._context.definitions.get(_key_of(type(saga))) or await self._register(type(saga))
        transaction_id = TransactionId(id) if id is not None else self._new_id()
        text = self._codec.encode(saga)
        turn = StartTurn(self._context, definition, saga, text, transaction_id, self._coordinator.started)
        self._context.home.submit(turn)
        if await turn.done is None:
            self._check_same(transaction_id, definition, saga)
        return Handle(transaction_id, self)

    def _new_id(self) -> TransactionId:
        environment = self._environment
        return TransactionId(uuid7(int(environment.now() * 1000), environment.random_bits(74)))

    def _check_same(self, id: TransactionId, definition: Definition, saga: Saga) -> None:
        head = self._head(id)
        state = self._state(head)
        assert state.started is not None, f"saga {id} has begun"
        is_same = head.kind == definition.kind
        if is_same and not head.has_ended and head.definition != definition.version:
            is_same = state.started.input == self._codec.encode(saga)
        elif is_same:
            is_same = self._codec.decode(Json(state.started.input), definition.type) == saga
        if not is_same:
            raise InputMismatch(
                f"id {id} is taken by a {head.kind} with another input: an id stands for one transaction for "
                "ever; choose another, or start it with the input it had",
                transaction_id=id,
            )

    async def outcome(self, id: str) -> Outcome:
        """Wait until the saga has ended, whichever node drives it, and return how.

        Raises:
            NotFound: No saga has this id.
            Stuck: It cannot go on alone; a person is needed.
        """
        if not self._is_open:
            await self.opened()
        transaction_id, waiting = TransactionId(id), self._coordinator.waiting
        if transaction_id in self._coordinator.ids:
            state = await waiting.future(transaction_id)
            if state is not None:
                return self._outcome_of(transaction_id, state)
        while not is_over(self._head(transaction_id)):
            future = waiting.future(transaction_id)
            if not is_over(self._head(transaction_id)):
                await future
        return self._outcome_of(transaction_id, self._state(self._head(transaction_id)))

    def _outcome_of(self, id: TransactionId, state: SagaState) -> Outcome:
        if state.phase is Phase.COMPLETED:
            return Outcome(id, COMPLETED, self._result(state))
        if state.phase is Phase.COMPENSATED:
            assert state.undo is not None, f"saga {id} was compensated for a reason"
            return Outcome(id, COMPENSATED, None, state.undo.step, state.undo.because)
        head = self._head(id)
        raise Stuck(
            f"saga {id} is {head.status}: {self._problem(state)}; see `finality transaction explain {id}`",
            transaction_id=id,
            explanation=str(self._explained(head)),
        )

    def _problem(self, state: SagaState) -> str:
        if state.parked is not None:
            return state.parked
        return "; ".join(f"{name}: {state.branches[name].because}" for name in state.stuck) or "it rests"

    def _result(self, state: SagaState) -> Any:
        if state.result is None:
            return None
        definition = self._context.definitions.get((state.graph.saga, state.graph.version))
        return self._codec.decode(state.result, definition.result if definition else Any)

    async def handle(self, id: str) -> Handle:
        """Return the handle of a saga that was started before.

        Raises:
            NotFound: No saga has this id.
        """
        await self.opened()
        return Handle(self._head(TransactionId(id)).id, self)

    async def cancel(self, id: str, *, because: str, by: str = "operator") -> bool:
        """Undo a saga; return False when it is too late: it has ended or is past its pivot."""
        return await self._post(id, e.Cancel(by, because))

    async def signal(self, id: str, name: str, value: Any = None, *, by: str = "operator") -> bool:
        """Send a saga a named value; return False when it has that signal already, or has ended.

        Raises:
            NotFound: The saga has no such signal.
        """
        await self.opened()
        head = self._head(TransactionId(id))
        graph = self._graph_of(head.kind, head.definition)
        names = sorted({step.wait.signal for step in graph.steps if step.wait and step.wait.signal})
        if name not in names:
            raise NotFound(
                f"saga {id} has no signal {name!r}: {head.kind} knows {', '.join(names) or 'none'}",
                transaction_id=id,
            )
        definition = self._context.definitions.get((head.kind, head.definition))
        text = self._codec.encode(value)
        if definition is not None:
            self._codec.decode(text, definition.signals.get(name, Any))
        return await self._post(id, e.Told(name, text, by))

    async def retry(self, id: str, *, because: str, by: str = "operator") -> bool:
        """Set a stuck or parked saga going again; return False when it is neither."""
        return await self._post(id, e.RetryAsked(by, because))

    async def _post(self, id: str, signal: e.SagaSignal) -> bool:
        await self.opened()
        return await self._coordinator.post(self._head(TransactionId(id)), signal)

    # ── Looking ─────────────────────────────────────────────────────────────────────────────

    def _head(self, id: TransactionId) -> Head:
        head = self._context.home.find(id)
        if head is None:
            raise NotFound(
                f"no transaction has the id {id!r} in {self.settings.url}: check the id and the store",
                transaction_id=id,
            )
        return head

    def _state(self, head: Head) -> SagaState:
        told = [recorded.event for recorded in self._context.home.load(head.key)]
        return replay(self._graph_of(head.kind, head.definition), told)

    async def history(self, id: str) -> list[Recorded]:
        """Return everything that happened to a transaction, oldest first: its audit trail."""
        await self.opened()
        return self._context.home.load(self._head(TransactionId(id)).key)

    async def explain(self, id: str) -> Explanation:
        """Say in sentences what happened, what it waits for, since when, and what you can do."""
        await self.opened()
        return self._explained(self._head(TransactionId(id)))

    def _explained(self, head: Head) -> Explanation:
        home, now = self._context.home, self._environment.now()
        driver, note = head.driver, head.note
        if not head.has_ended:
            drivers = {row.id: row for row in home.nodes() if row.lease_until > now}
            if driver is not None and driver not in drivers:
                driver = None
            note = note or self._undriven(head, drivers.values())
        graph = self._graph_of(head.kind, head.definition)
        return explain(home.load(head.key), graph, now=now, driver=driver, note=note)

    def _undriven(self, head: Head, alive: Any) -> str | None:
        definition = f"{head.kind}@{head.definition}"
        if any(definition in row.drives for row in alive):
            return None
        return f"no live node can drive {definition}: start one that has this saga"

    async def transactions(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        is_open: bool | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Head]:
        """Return transactions, newest first, continuing *before* a key."""
        await self.opened()
        return self._context.home.heads(status=status, kind=kind, is_open=is_open, before=before, limit=limit)

    async def nodes(self) -> list[NodeRow]:
        """Return the nodes that have joined, newest first."""
        await self.opened()
        return self._context.home.nodes()

    async def undriven(self, *, limit: int = 1_000) -> list[Head]:
        """Return open transactions that no live node can drive: nothing is stranded in silence."""
        await self.opened()
        now = self._environment.now()
        drives = frozenset[str]().union(*(row.drives for row in await self.nodes() if row.lease_until > now))
        heads = await self.transactions(is_open=True, limit=limit)
        return [head for head in heads if f"{head.kind}@{head.definition}" not in drives or head.note]

    @property
    def journal(self) -> Home:
        """Return the journal; open the node first."""
        return self._context.home

    @property
    def recovered(self) -> int:
        """Return how many sagas this node has taken over from others."""
        return self._leases.taken_over

    # ── Local transactions ──────────────────────────────────────────────────────────────────

    def transaction(self, *, at: str | None = None) -> TransactionScope:
        """Open a local transaction: ``async with node.transaction() as tx``.

        Committed and durable when the block ends; nothing of it remains when the block raises.
        It holds the store's write turn from its first statement on.
        """

        async def scope() -> Scope:
            return self._store(await self.opened(), at).scope("a transaction block")

        return TransactionScope(scope, self._codec)

    async def run(self, function: Callable[[SyncTx], T], *, at: str | None = None) -> T:
        """Run *function* whole in one local transaction; durable when it returns.

        Many such functions share one commit, so this is the fastest way to write.
        """
        context = await self.opened()
        turn = FunctionTurn(function, self._codec)
        self._store(context, at).submit(turn)
        answer: T = await turn.done
        return answer

    async def query(self, sql: str, *parameters: Any, at: str | None = None) -> list[tuple[Any, ...]]:
        """Read what is committed, outside of any transaction."""
        return self._store(await self.opened(), at).query(sql, parameters)

    def _store(self, context: Context, at: str | None) -> Store:
        if at is not None and at not in context.stores:
            raise NotFound(f"this node has no store {at!r}: give its URL with stores={{...}}")
        return context.store_of(at)


def _key_of(cls: type[Saga]) -> tuple[str, str]:
    definition = definition_of(cls)
    return definition.kind, definition.version
