"""The node: stores, definitions and loops of one process, and what users ask of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any, Self, TypeVar

from finality.core.errors import InputMismatch, NotFound, OutcomeUnknown, Unavailable
from finality.core.explain import Explanation
from finality.core.ids import TransactionId, uuid7
from finality.core.protocol import Recorded
from finality.core.saga import UnknownStep
from finality.core.saga import events as e
from finality.node.health import Health, health_of
from finality.node.insides import Insides, Settings, open_insides
from finality.node.views import Views, unreadable
from finality.patterns.outcome import Handle, Outcome
from finality.patterns.saga import Saga, definition_of
from finality.patterns.transaction import FunctionTurn, SyncTx, TransactionScope
from finality.ports.codec import Codec, DecodeError
from finality.ports.environment import Environment
from finality.ports.home import Head, Home, NodeRow
from finality.ports.store import Scope, Store
from finality.runtime.context import Context
from finality.runtime.coordinator import Coordinator
from finality.runtime.definition import Definition
from finality.runtime.posting import StartTurn
from finality.runtime.waiting import is_over

T = TypeVar("T")

DRAIN_SECONDS = 10.0  # What orchestrators usually grant between SIGTERM and SIGKILL is 30.

__all__ = ["DRAIN_SECONDS", "AsyncNode", "Settings"]


class AsyncNode:
    """One process that drives transactions. Use it with ``async with``, or call ``close``.

    It belongs to the event loop in which it was first used.
    """

    def __init__(self, settings: Settings, codec: Codec, environment: Environment) -> None:
        self.settings = settings
        self._codec = codec
        self._environment = environment
        self._opening: asyncio.Task[Insides] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._is_open = False
        self._is_closed = False
        # What there is once it is open.
        self._insides: Insides
        self._context: Context
        self._coordinator: Coordinator
        self._views: Views

    # ── Opening and closing ─────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        await self.opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def opened(self) -> Context:
        """Open the stores and start the loops, once; return the node's insides.

        What was opened is closed again if the rest cannot be, and the next call tries anew.

        Raises:
            Unavailable: A store is out of reach, or the node was closed.
            SchemaMismatch: The store was written by a newer version of Finality.
            DefinitionError: A saga's declaration cannot keep its promise.
            NotFound: A saga works in a store that was not given.
        """
        if self._is_closed:
            raise Unavailable("the node is closed: open a new one")
        if self._opening is None:
            self._opening = asyncio.ensure_future(open_insides(self.settings, self._codec, self._environment))
        opening = self._opening
        if opening.get_loop() is not asyncio.get_running_loop():
            raise Unavailable(
                "the node is in use by another event loop: open one in each loop, or use finality.open(), "
                "which any thread may call"
            )
        try:
            insides = await asyncio.shield(opening)
        except BaseException:
            if opening.done() and self._opening is opening:
                self._opening = None
            raise
        self._insides, self._context = insides, insides.context
        self._coordinator, self._views = insides.coordinator, insides.views
        self._is_open = not self._is_closed
        return insides.context

    async def close(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Let the steps under way finish, hand over the rest at once and close the stores.

        No new step begins. A step that has not ended after *drain_seconds* is left behind: another
        node asks it again. So it is bounded, also when a step hangs. Closing twice does nothing.
        """
        if self._closing is None:
            self._is_closed, self._is_open = True, False
            self._closing = asyncio.ensure_future(self._close(drain_seconds))
        await asyncio.shield(self._closing)

    async def _close(self, drain_seconds: float) -> None:
        if self._opening is None:
            return
        try:
            insides = await asyncio.shield(self._opening)
        except Exception:
            return  # Whoever opened it has heard why, and nothing is open.
        await insides.close(drain_seconds)

    async def serve(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Drive sagas until SIGTERM or SIGINT comes, then drain and close: the life of a node's process.

        Call it in the main thread. Cancelling it drains and closes as well.
        """
        await self.opened()
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        try:
            await stopped.wait()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            await self.close(drain_seconds=drain_seconds)

    # ── Sagas ───────────────────────────────────────────────────────────────────────────────

    async def start(self, saga: Saga, *, id: str | None = None) -> Handle:
        """Start a saga; durable when it returns.

        The same id with the same input returns the same saga, so a caller that does not know
        whether its call arrived may repeat it. An observer starts it for others to drive.

        Args:
            id: Chosen by the caller to make the start idempotent; by default a new UUID.

        Raises:
            InputMismatch: The id is taken by a saga with another input.
            DefinitionError: The saga's declaration cannot keep its promise.
            LimitExceeded: The input is too large; nothing was started.
            Unavailable: The store is out of reach; nothing was started.
            OutcomeUnknown: It may have been started; ask by its id.
        """
        if not self._is_open:
            await self.opened()
        definition = self._context.definitions.get(_key_of(type(saga)))
        if definition is None or definition.type is not type(saga):
            definition = await self._insides.definitions.register(type(saga))
        transaction_id = TransactionId(id) if id is not None else self._new_id()
        text = self._codec.encode(saga)
        begun = None if self.settings.is_observer else self._coordinator.started
        turn = StartTurn(self._context, definition, saga, text, transaction_id, begun)
        self._context.home.submit(turn)
        try:
            is_new = await turn.done is not None
        except OutcomeUnknown as error:
            raise OutcomeUnknown(str(error), transaction_id=transaction_id) from error
        if not is_new:
            self._check_same(transaction_id, definition, saga)
        return Handle(transaction_id, self)

    def _new_id(self) -> TransactionId:
        environment = self._environment
        return TransactionId(uuid7(int(environment.now() * 1000), environment.random_bits(74)))

    def _check_same(self, id: TransactionId, definition: Definition, saga: Saga) -> None:
        self._views.check_same(id, definition, saga)

    async def outcome(self, id: str) -> Outcome:
        """Wait until the saga has ended, whichever node drives it, and return how.

        Raises:
            NotFound: No saga has this id.
            Stuck: It cannot go on alone; a person is needed.
        """
        if not self._is_open:
            await self.opened()
        transaction_id, waiting, views = TransactionId(id), self._coordinator.waiting, self._views
        if transaction_id in self._coordinator.ids:
            state = await waiting.future(transaction_id)
            if state is not None:
                return views.outcome(transaction_id, state)
        while not is_over(views.head(transaction_id)):
            future = waiting.future(transaction_id)
            if not is_over(views.head(transaction_id)):
                await future
        return views.outcome(transaction_id, views.state(views.head(transaction_id)))

    async def handle(self, id: str) -> Handle:
        """Return the handle of a saga that was started before.

        Raises:
            NotFound: No saga has this id.
        """
        await self.opened()
        return Handle(self._views.head(id).id, self)

    async def cancel(self, id: str, *, because: str, by: str = "operator") -> bool:
        """Undo a saga: what was done is compensated; durable on return.

        Args:
            because: Why; it is kept in the audit trail.
            by: Who wants it.

        Returns:
            False when it is too late: it has ended, is being undone already, or is past its pivot.

        Raises:
            NotFound: No saga has this id.
        """
        return await self._post(id, e.Cancel(by, because))

    async def signal(self, id: str, name: str, value: Any = None, *, by: str = "operator") -> bool:
        """Send a saga a named value, durable on return; the first one that is sent counts.

        It may come before the step that waits for it is reached.

        Returns:
            False when the saga has that signal already, is being undone or has ended.

        Raises:
            NotFound: No saga has this id, or this one has no such signal.
            InputMismatch: The value is not what the step takes; nothing was sent.
        """
        await self.opened()
        head = self._views.head(id)
        self._views.check_signal(head, name)
        text = self._codec.encode(value)
        definition = self._context.definitions.get((head.kind, head.definition))
        if definition is not None:
            try:
                self._codec.decode(text, definition.signals.get(name, Any))
            except DecodeError as error:
                raise InputMismatch(
                    f"signal {name!r} was not sent to saga {id}: its value does not fit, {error}",
                    transaction_id=id,
                ) from error
        return await self._post(id, e.Told(name, text, by))

    async def retry(self, id: str, *, because: str, by: str = "operator") -> bool:
        """Set a stuck or parked saga going again, with all its attempts; durable on return.

        Args:
            because: What was put right; it is kept in the audit trail.
            by: Who says so.

        Returns:
            False when the saga is neither stuck nor parked.

        Raises:
            NotFound: No saga has this id.
            Stuck: Its stream cannot be read; repair it first.
        """
        return await self._post(id, e.RetryAsked(by, because))

    async def _post(self, id: str, signal: e.SagaSignal) -> bool:
        await self.opened()
        head = self._views.head(id)
        try:
            return await self._coordinator.post(head, signal)
        except (DecodeError, UnknownStep) as error:
            raise unreadable(head.id, error) from error

    # ── Looking ─────────────────────────────────────────────────────────────────────────────

    async def history(self, id: str) -> list[Recorded]:
        """Return everything that happened to a transaction, oldest first: its audit trail.

        Raises:
            NotFound: No transaction has this id.
            Stuck: Its stream cannot be read.
        """
        await self.opened()
        return self._views.history(self._views.head(id))

    async def explain(self, id: str) -> Explanation:
        """Say in sentences what happened, what it waits for, since when, and what you can do.

        Raises:
            NotFound: No transaction has this id.
        """
        await self.opened()
        return self._views.explanation(self._views.head(id))

    async def transactions(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        is_open: bool | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Head]:
        """Return transactions, newest first.

        Args:
            status: running, waiting, compensating, stuck, parked, completed or compensated.
            kind: The name of the saga's class.
            is_open: Those that have not ended, or only those that have.
            before: Continues behind the last ``key`` of a page.
            limit: How long a page is.
        """
        await self.opened()
        return self._context.home.heads(status=status, kind=kind, is_open=is_open, before=before, limit=limit)

    async def nodes(self) -> list[NodeRow]:
        """Return the nodes that have joined, newest first."""
        await self.opened()
        return self._context.home.nodes()

    async def undriven(self, *, limit: int = 1_000) -> list[Head]:
        """Return open transactions that no live node can drive: nothing is stranded in silence.

        Those that are parked, or that a node left alone and said why, are among them.
        """
        await self.opened()
        return await self._views.undriven(limit=limit)

    async def health(self) -> Health:
        """Return how this node and its stores are, for a health page or an alarm."""
        await self.opened()
        return await health_of(self._context, self._views, in_flight=len(self._coordinator.drives))

    @property
    def journal(self) -> Home:
        """Return the journal; open the node first."""
        return self._context.home

    @property
    def recovered(self) -> int:
        """Return how many sagas this node has taken over from others."""
        return self._insides.leases.taken_over

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
