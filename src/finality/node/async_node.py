"""The node: stores, definitions and loops of one process, and what users ask of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar, overload

from finality.core.backoff import Retry
from finality.core.errors import InputMismatch, OutcomeUnknown
from finality.core.explain import Explanation
from finality.core.ids import TransactionId
from finality.core.protocol import Recorded
from finality.core.saga import UnknownStep
from finality.core.saga import events as e
from finality.core.two_phase import Decision
from finality.node.aggregates import Aggregates
from finality.node.definitions import check_fits
from finality.node.health import Health, health_of
from finality.node.insides import Settings
from finality.node.life import DRAIN_SECONDS
from finality.node.projecting import Projected
from finality.node.reacting import Reacting
from finality.node.requesting import Requesting
from finality.node.transactions import CONFLICT_RETRY
from finality.node.views import unreadable
from finality.patterns.outcome import Handle, Outcome
from finality.patterns.protocol import TWO_PHASE, CommitProtocol
from finality.patterns.saga import Saga
from finality.patterns.scope import TransactionScope
from finality.patterns.transaction import FunctionTurn, SyncTx, Transaction
from finality.ports.codec import DecodeError
from finality.ports.home import Head, Home, NodeRow
from finality.ports.tracing import NO_SPAN
from finality.runtime.posting import StartTurn
from finality.runtime.recovery import Doubt
from finality.runtime.restraint import check_not_projecting
from finality.runtime.waiting import is_over

T = TypeVar("T")

__all__ = ["DRAIN_SECONDS", "AsyncNode", "Settings"]


class AsyncNode(Aggregates, Reacting, Requesting, Projected):
    """One process that drives transactions. Use it with ``async with``, or call ``close``.

    It belongs to the event loop in which it was first used.
    """

    # ── Sagas ───────────────────────────────────────────────────────────────────────────────

    async def start(self, saga: Saga, *, id: str | None = None) -> Handle:
        """Start a saga; durable when it returns.

        The same id with the same input returns the same saga, so a caller that does not know
        whether its call arrived may repeat it. An observer starts it for others to drive.

        Args:
            id: Chosen by the caller to make the start idempotent; by default a new UUID.

        Raises:
            InputMismatch: The id is taken by a saga with another input, or a field is not of its type.
            DefinitionError: The saga's declaration cannot keep its promise.
            LimitExceeded: The input is too large; nothing was started.
            Unavailable: The store is out of reach; nothing was started.
            OutcomeUnknown: It may have been started; ask by its id.
        """
        check_not_projecting("start a saga")
        if not self._is_open:
            await self.opened()
        definitions = self._insides.definitions
        definition = definitions.by_class.get(type(saga)) or await definitions.register(type(saga))
        transaction_id = TransactionId(id) if id is not None else self._new_id()
        text = self._codec.encode(saga)
        check_fits(self._codec, definition, text, transaction_id)
        with self.settings.tracing.start(definition.kind, transaction_id):
            turn = StartTurn(self._context, definition, saga, text, transaction_id)
            self._coordinator.start(turn)
            try:
                is_new = await turn.done
            except OutcomeUnknown as error:
                raise OutcomeUnknown(str(error), transaction_id=transaction_id) from error
            if not is_new:
                await self._views.check_same(transaction_id, definition, saga)
        return Handle(transaction_id, self)

    async def outcome(self, id: str) -> Outcome:
        """Wait until the saga has ended, whichever node drives it, and return how.

        Raises:
            NotFound: No saga has this id.
            Stuck: It cannot go on alone; a person is needed.
        """
        if not self._is_open:
            await self.opened()
        transaction_id, waiting, views = TransactionId(id), self._coordinator.waiting, self._views
        is_in_hand = transaction_id in self._coordinator.ids
        state = await waiting.future(transaction_id) if is_in_hand else None
        if state is None:  # Another node drives it.
            while not is_over(await views.saga(transaction_id)):
                future = waiting.future(transaction_id)
                if not is_over(await views.saga(transaction_id)):
                    await future
            state = await views.state(await views.saga(transaction_id))
        outcome = views.outcome(transaction_id, state)
        if outcome is None:
            raise await views.stuck(transaction_id, state)
        return outcome

    async def handle(self, id: str) -> Handle:
        """Return the handle of a saga that was started before.

        Raises:
            NotFound: No saga has this id.
        """
        await self.opened()
        return Handle((await self._views.saga(id)).id, self)

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
        head = await self._views.saga(id)
        await self._views.check_signal(head, name)
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
        head = await self._views.saga(id)
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
        return await self._views.history(await self._views.head(id))

    async def explain(self, id: str) -> Explanation:
        """Say in sentences what happened, what it waits for, since when, and what you can do.

        Raises:
            NotFound: No transaction has this id.
        """
        await self.opened()
        return await self._insides.explanation(id)

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
        return await self._context.home.heads(
            status=status, kind=kind, is_open=is_open, before=before, limit=limit
        )

    async def nodes(self) -> list[NodeRow]:
        """Return the nodes that have joined, newest first."""
        await self.opened()
        return await self._context.home.nodes()

    async def undriven(self, *, limit: int = 1_000) -> list[Head]:
        """Return open transactions that no live node can drive: nothing is stranded in silence.

        Those that are parked, or that a node left alone and said why, are among them.
        """
        await self.opened()
        return await self._views.undriven(limit=limit)

    async def health(self) -> Health:
        """Return how this node and its stores are, for a health page or an alarm."""
        await self.opened()
        return await health_of(
            self._context,
            self._views,
            in_flight=len(self._coordinator.drives),
            reactions=self._insides.reactions,
            readers=(*self._insides.readers, *self._insides.projections.readers),
            link=self._insides.link_in_use,
            projections=await self.projections(),
        )

    @property
    def journal(self) -> Home:
        """Return the journal; open the node first."""
        return self._context.home

    @property
    def recovered(self) -> int:
        """Return how many sagas this node has taken over from others."""
        return self._insides.leases.taken_over

    # ── Transactions ────────────────────────────────────────────────────────────────────────

    def transaction(
        self,
        *,
        at: str | None = None,
        deadline: timedelta | None = None,
        protocol: CommitProtocol = TWO_PHASE,
    ) -> TransactionScope:
        """Open a transaction: ``async with node.transaction() as tx``.

        Committed and durable when the block ends; nothing of it remains when the block raises. Work
        in the home store holds its write turn from the first statement on. ``tx.enlist(bank)`` lets
        a participant take part: all commit, or none does.

        Args:
            at: Work in another store than the home store, alone.
            deadline: How long it may take until it is decided; it is aborted then.
            protocol: ``THREE_PHASE`` for services that run an agent, and nothing else.

        Raises:
            TransactionAborted: Nothing of it remains; run it again. Conflict, Refused and
                DeadlinePassed say why.
            OutcomeUnknown: It may have happened; ``decision`` tells, by the id.
            HeuristicOutcome: A participant has not done what was decided.
        """
        return self._block(at, deadline, protocol=protocol)

    def _block(
        self,
        at: str | None,
        deadline: timedelta | None,
        born: float | None = None,
        *,
        is_interrupted: bool = True,
        protocol: CommitProtocol = TWO_PHASE,
    ) -> TransactionScope:
        seconds = None if deadline is None else deadline.total_seconds()

        check_not_projecting("begin a transaction")

        async def begin() -> Transaction:
            if not self._is_open:
                await self.opened()
            return self._insides.transactions.begin(at, seconds, born, protocol)

        # The synchronous node tells of the span in its caller's thread.
        span = self.settings.tracing.transaction(self.settings.url_at(at)) if is_interrupted else NO_SPAN
        return TransactionScope(begin, seconds=seconds if is_interrupted else None, span=span)

    @overload
    async def run(
        self,
        function: Callable[[Transaction], Coroutine[Any, Any, T]],
        *,
        at: str | None = None,
        deadline: timedelta | None = None,
        retry: Retry = CONFLICT_RETRY,
    ) -> T: ...
    @overload
    async def run(self, function: Callable[[SyncTx], T], *, at: str | None = None) -> T: ...
    async def run(
        self,
        function: Callable[[Any], Any],
        *,
        at: str | None = None,
        deadline: timedelta | None = None,
        retry: Retry = CONFLICT_RETRY,
    ) -> Any:
        """Run *function* whole in one transaction; durable when it returns.

        A plain function runs on the store's own thread, and many share one commit: the fastest way
        to write. An ``async`` one runs in a ``transaction`` block, again after each ``Conflict`` with
        a wait that grows, and keeps its age, so that younger ones cannot starve it.

        Args:
            deadline: Of each attempt; for ``async`` functions.
            retry: How often, and how long apart; for ``async`` functions.
        """
        check_not_projecting("run a transaction")
        context = await self.opened()
        if inspect.iscoroutinefunction(function):
            transactions = self._insides.transactions
            return await transactions.run(function, lambda born: self._block(at, deadline, born), retry)
        with self.settings.tracing.transaction(self.settings.url_at(at)):
            turn = FunctionTurn(function, self._codec)
            context.store(at).submit(turn)
            return await turn.done

    async def query(self, sql: str, *parameters: Any, at: str | None = None) -> list[tuple[Any, ...]]:
        """Read what is committed, outside of any transaction."""
        return await (await self.opened()).store(at).query(sql, parameters)

    async def decision(self, id: str) -> Decision:
        """Return how a transaction block ended, by its ``tx.id``: COMMIT or ABORT, for ever.

        One that is not decided yet, wherever it runs, is aborted by asking.

        Raises:
            Unavailable: A participant is out of reach; ask again.
        """
        await self.opened()
        return await self._insides.transactions.decision(TransactionId(id))

    async def in_doubt(self, *, older_than: timedelta = timedelta(0)) -> list[Doubt]:
        """Return the branches that are prepared and not finished, at all participants of this node."""
        await self.opened()
        return await self._insides.transactions.in_doubt(older_than)

    @property
    def unreachable(self) -> dict[str, str]:
        """Return the participants that could not be asked the last time, and why."""
        return dict(self._insides.recovery.unreachable)

    async def resolve(self, id: str, decision: Decision, *, because: str, by: str = "operator") -> bool:
        """Decide for a transaction in doubt, or accept a heuristic outcome that was put right; durable.

        Args:
            because: Why; it is kept in the audit trail.
            by: Who says so.

        Returns:
            False when there was nothing to resolve, or somebody else has decided otherwise.

        Raises:
            NotFound: No transaction has this id, and no participant holds a branch of it.
            InputMismatch: It was decided the other way.
        """
        await self.opened()
        return await self._insides.transactions.resolve(TransactionId(id), decision, because=because, by=by)
