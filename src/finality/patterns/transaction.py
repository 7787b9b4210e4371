"""The local transaction: ``tx``, the first parameter of any code that runs inside one.

``SyncTx`` is for plain functions, which run whole in one turn of the store. ``Tx`` is for
``async`` ones: it begins at its first statement and then holds the store's write turn, so call
services before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar, cast

from finality.adapters.opentelemetry.trace_context import current_traceparent
from finality.core.errors import DefinitionError, NotFound
from finality.core.ids import TransactionId
from finality.patterns.countermeasures import commutative_update, reread_value, semantic_lock
from finality.patterns.countermeasures.commutative_update import Number
from finality.patterns.countermeasures.reread_value import Seen
from finality.patterns.countermeasures.semantic_lock import LockHolder
from finality.patterns.countermeasures.sql import Where
from finality.patterns.countermeasures.version_file import SyncVersionFile, VersionFile
from finality.patterns.outbox import NOWHERE, Origin, published, put
from finality.patterns.request import AsyncRequests, SyncRequests
from finality.patterns.reservation import Held, Reservation, code_of
from finality.patterns.sourcing import AsyncSourcing, SyncSourcing
from finality.ports.codec import Codec
from finality.ports.participant import Branch, Participant, ReservingBranch
from finality.ports.store import LocalTransaction, Rows, Scope
from finality.runtime.asked import Asked
from finality.runtime.commitment import Commitment
from finality.runtime.reservations.participant import participant_name
from finality.runtime.sourcing import personal

T = TypeVar("T")
B = TypeVar("B", bound=Branch)


class SyncTx(SyncSourcing, SyncRequests):
    """A local transaction, for plain functions. It ends when the function returns or raises."""

    def __init__(
        self, local: LocalTransaction, codec: Codec, key: int | None = None, origin: Origin = NOWHERE
    ) -> None:
        self._codec = codec
        self._origin = origin
        self._local = local
        self._key = key

    def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``?`` for each of *parameters*; return its rows.

        Raises:
            StatementRefused: It would end the transaction or write a table of Finality's.
        """
        return self._local.execute(sql, parameters)

    def publish(
        self,
        topic: str,
        event: Any,
        *,
        key: str = "",
        delay: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Put *event* into the outbox, in this very commit; it is relayed after it.

        Args:
            key: Events of one key keep their order.
            delay: Relay it no sooner; it keeps no order then with those that are not delayed.
            headers: Further attributes of CloudEvents; with a ``datacontenttype`` of
                ``application/msgpack`` the event is encoded so, and not as JSON; a ``correlationid``
                makes it part of that conversation, such as a run of a choreography.

        Raises:
            DefinitionError: The topic or a header has no name that every broker could carry.
        """
        with personal.at(self._codec, self._local):
            row = published(self._codec, topic, event, key=key, headers=headers, origin=self._origin)
        put(self._local, row, delay)

    # ── Countermeasures: what stands in for isolation ───────────────────────────────────────

    def lock(self, resource: str) -> None:
        """Take a semantic lock for the saga, from this step until the saga has ended.

        Take it before the pivot: behind it a saga that waits for another cannot be undone. A
        child's lock is held until the saga at the top has ended.

        Raises:
            Locked: Another saga holds it; the step is tried again as its retry says.
            DefinitionError: There is no saga here, or the step works in another store.
        """
        semantic_lock.lock(self._local, self._key, resource)

    def lock_holder(self, resource: str) -> LockHolder | None:
        """Return which saga holds the semantic lock on *resource*; None if it is free.

        Raises:
            DefinitionError: This is not the home store.
        """
        return semantic_lock.lock_holder(self._local, resource)

    def add(
        self,
        table: str,
        where: Where,
        /,
        *,
        at_least: Number | None = None,
        at_most: Number | None = None,
        **changes: Number,
    ) -> None:
        """Add each of *changes* to its column in one row: a commutative update.

        ``tx.add("accounts", {"id": 1}, balance=-100, at_least=0)``; what undoes it is the opposite.

        Args:
            where: The row's key, by column.
            at_least: No changed column may end up below it, *at_most* none above it.

        Raises:
            Refused: A bound would be broken; nothing was changed.
            LookupError: There is no such row, there are several, or a column of it is null.
            ValueError: A name is no plain name.
        """
        commutative_update.add(self._local, table, where, changes, at_least=at_least, at_most=at_most)

    def see(self, table: str, where: Where, /, *columns: str) -> Seen:
        """Return what *columns* of one row hold; yield it from the step, to reread it in a later one.

        Raises:
            LookupError: There are several such rows.
            ValueError: A name is no plain name.
        """
        return reread_value.see(self._local, table, where, columns)

    def reread(self, seen: Seen) -> None:
        """See that a row is still what it was when the saga saw it, in the pivot at the latest.

        Raises:
            Changed: It is not; the saga is undone.
        """
        reread_value.reread(self._local, seen)

    def version_file(self, name: str) -> SyncVersionFile:
        """Return the record of which operations on a thing have arrived in this store."""
        return SyncVersionFile(self._local, name)


class StepTx(SyncTx):
    """A plain step's: its events follow from its saga, which most steps never have to say."""

    def __init__(self, codec: Codec, local: LocalTransaction, id: TransactionId, key: int | None) -> None:
        self._codec = codec
        self._local = local
        self._key = key
        self._id = id

    @cached_property
    def _origin(self) -> Origin:  # type: ignore[override]  # made when it is asked for, and then kept
        return Origin(self._id, self._id)


class Tx(AsyncSourcing, AsyncRequests):
    """A local transaction, for ``async`` functions. It ends when the function returns or raises."""

    def __init__(
        self,
        scope: Scope,
        codec: Codec,
        key: int | None = None,
        on_begin: Callable[[], Awaitable[None]] | None = None,
        origin: Origin = NOWHERE,
    ) -> None:
        super().__init__(codec, origin)
        self._scope = scope
        self._key = key
        self._on_begin = on_begin

    async def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``?`` for each of *parameters*; return its rows.

        Raises:
            StatementRefused: It would end the transaction or write a table of Finality's.
        """
        return await self._call(lambda local: local.execute(sql, parameters))

    async def publish(
        self,
        topic: str,
        event: Any,
        *,
        key: str = "",
        delay: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Put *event* into the outbox, in this very commit; it is relayed after it. See ``SyncTx.publish``.

        Raises:
            DefinitionError: The topic or a header has no name that every broker could carry.
        """
        origin = self._origin._replace(traceparent=self._origin.traceparent or current_traceparent())

        def write(local: LocalTransaction) -> None:
            with personal.at(self._codec, local):
                row = published(self._codec, topic, event, key=key, headers=headers, origin=origin)
            put(local, row, delay)

        await self._call(write)

    # ── Countermeasures: what stands in for isolation ───────────────────────────────────────

    async def lock(self, resource: str) -> None:
        """Take a semantic lock for the saga, from this step until the saga has ended.

        See ``SyncTx.lock``.

        Raises:
            Locked: Another saga holds it; the step is tried again as its retry says.
            DefinitionError: There is no saga here, or the step works in another store.
        """
        await self._call(lambda local: semantic_lock.lock(local, self._key, resource))

    async def lock_holder(self, resource: str) -> LockHolder | None:
        """Return which saga holds the semantic lock on *resource*; None if it is free.

        Raises:
            DefinitionError: This is not the home store.
        """
        return await self._call(lambda local: semantic_lock.lock_holder(local, resource))

    async def add(
        self,
        table: str,
        where: Where,
        /,
        *,
        at_least: Number | None = None,
        at_most: Number | None = None,
        **changes: Number,
    ) -> None:
        """Add each of *changes* to its column in one row: a commutative update. See ``SyncTx.add``.

        Raises:
            Refused: A bound would be broken; nothing was changed.
            LookupError: There is no such row, there are several, or a column of it is null.
            ValueError: A name is no plain name.
        """
        await self._call(
            lambda local: commutative_update.add(
                local, table, where, changes, at_least=at_least, at_most=at_most
            )
        )

    async def see(self, table: str, where: Where, /, *columns: str) -> Seen:
        """Return what *columns* of one row hold; yield it from the step, to reread it in a later one.

        Raises:
            LookupError: There are several such rows.
            ValueError: A name is no plain name.
        """
        return await self._call(lambda local: reread_value.see(local, table, where, columns))

    async def reread(self, seen: Seen) -> None:
        """See that a row is still what it was when the saga saw it, in the pivot at the latest.

        Raises:
            Changed: It is not; the saga is undone.
        """
        await self._call(lambda local: reread_value.reread(local, seen))

    def version_file(self, name: str) -> VersionFile:
        """Return the record of which operations on a thing have arrived in this store."""
        return VersionFile(self._call, name)

    async def _call(self, work: Callable[[Any], T]) -> T:
        on_begin, self._on_begin = self._on_begin, None
        if on_begin is not None:
            await on_begin()
        return await self._scope.call(work)


class Transaction(Tx):
    """The ``tx`` of ``async with node.transaction()``: work in the home store, and at participants.

    Attributes:
        id: Names it for ever; after an ``OutcomeUnknown`` ask ``node.decision`` by it.
    """

    def __init__(self, scope: Scope, codec: Codec, commitment: Commitment, at: str | None) -> None:
        super().__init__(scope, codec, origin=Origin(causation_id=commitment.id))
        self.id = commitment.id
        self._has_home_work = False
        self._commitment = commitment
        self._at = at

    async def enlist(self, participant: Participant[B], *, is_new: bool = False) -> B:
        """Let a participant take part; return its branch, the same one each time.

        All branches commit when the block ends, or none does.

        Args:
            is_new: Begin another branch there even so.

        Raises:
            NotFound: The node was not opened with this participant.
            Unavailable: It is out of reach; nothing has begun.
            DefinitionError: The block works in another store than the home store.
        """
        if self._at is not None:
            raise DefinitionError(
                f"participant {participant.name!r} cannot take part in a transaction at store {self._at!r}: "
                "its decision is kept in the home store; leave at= out and enlist the other database, too"
            )
        return await self._commitment.enlist(participant, is_new=is_new)

    async def reserve(
        self, reservation: Reservation[Held], *, at: str | Participant[ReservingBranch] | None = None
    ) -> Held:
        """Run the reservation's try at once; return what it holds until the block ends.

        Then it is confirmed, with all others, or cancelled.

        Args:
            at: Another store than the home store, by name, or a service.

        Raises:
            Refused: It says no and holds nothing. Catch it, and the block may go on without it.
            NotFound: The node was not opened with this reservation, or has no such store.
            DefinitionError: The block has begun to write in the home store, which the try needs.
        """
        code = code_of(type(reservation))
        there = self._reservations(code.kind, at) if at is None or isinstance(at, str) else at
        branch = await self.enlist(there, is_new=True)
        held: Held = await branch.reserve(code.kind, reservation, returns=code.held)
        return held

    def _reservations(self, kind: str, at: str | None) -> Participant[ReservingBranch]:
        there = self._commitment.participant(participant_name(at))
        if there is None:
            where = "its home store" if at is None else f"store {at!r}"
            raise NotFound(
                f"reservation {kind} cannot be made: this node has no reservations in {where}; "
                f"open it with reservations=[{kind}, …]" + (f" and stores={{{at!r}: …}}" if at else "")
            )
        if at is None and self._has_home_work:
            raise DefinitionError(
                f"reservation {kind} cannot be made: the block holds the write turn of the home store, which "
                "the try needs; reserve before the first statement"
            )
        return cast(Participant[ReservingBranch], there)

    async def _call(self, work: Callable[[Any], T]) -> T:
        if not self._commitment.takes_home_work:
            raise DefinitionError(
                f"transaction {self.id} cannot work in its home store: three-phase commit is ended by the "
                "agents of its branches, which know nothing of that work; use two-phase commit"
            )
        self._has_home_work = True
        return await super()._call(work)

    async def _commit(self) -> None:
        if not self._commitment.has_branches:
            if self._commitment.is_late:
                await self._scope.abort()
                raise self._commitment.late()
            await self._scope.commit()
        elif self._has_home_work:
            await self._commitment.commit(self._scope)
        else:
            await self._commitment.commit(None)

    async def _abort(self, because: str) -> None:
        await self._scope.abort()
        await self._commitment.abort(because)


class FunctionTurn(Asked[Any]):
    """Runs a plain function in a turn of the store; answers what it returns."""

    def __init__(self, function: Callable[[SyncTx], Any], codec: Codec) -> None:
        named = getattr(function, "func", function)  # Of a functools.partial.
        super().__init__(f"function {getattr(named, '__qualname__', named)!s}", answer=None)
        self._function = function
        self._codec = codec
        self._origin = Origin(traceparent=current_traceparent())  # The store's thread knows no span.

    def run(self, tx: LocalTransaction) -> None:
        """Run the function."""
        self.answer = self._function(SyncTx(tx, self._codec, origin=self._origin))
