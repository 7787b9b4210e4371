"""The ``tx`` of ``with node.transaction()``: what it calls runs on the node's loop, and is waited for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any

from finality.node.sync_aggregates import BlockSourcing
from finality.patterns.countermeasures.commutative_update import Number
from finality.patterns.countermeasures.reread_value import Seen
from finality.patterns.countermeasures.semantic_lock import LockHolder
from finality.patterns.countermeasures.sql import Where
from finality.patterns.reservation import Held, Reservation
from finality.patterns.transaction import Transaction
from finality.ports.participant import Branch, Participant, ReservingBranch
from finality.ports.store import Rows

Wait = Callable[[Coroutine[Any, Any, Any]], Any]


class BlockTx(BlockSourcing):
    """A ``Transaction`` without ``await``."""

    def __init__(self, tx: Transaction, wait: Wait) -> None:
        self.id = tx.id
        self._tx = tx
        self._wait = wait

    def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``?`` for each of *parameters*; return its rows."""
        rows: Rows = self._wait(self._tx.execute(sql, *parameters))
        return rows

    def publish(
        self,
        topic: str,
        event: Any,
        *,
        key: str = "",
        delay: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Put *event* into the outbox, in this very commit. See ``SyncTx.publish``."""
        self._wait(self._tx.publish(topic, event, key=key, delay=delay, headers=headers))

    def request(self, topic: str, question: Any, *, id: str, within: timedelta, key: str = "") -> None:
        """Ask whoever reacts to *topic*, in this very commit. See ``SyncTx.request``."""
        self._wait(self._tx.request(topic, question, id=id, within=within, key=key))

    def enlist(self, participant: Participant[Branch], *, is_new: bool = False) -> BlockBranch:
        """Let a participant take part; return its branch. See ``Transaction.enlist``."""
        return BlockBranch(self._wait(self._tx.enlist(participant, is_new=is_new)), self._wait)

    def reserve(
        self, reservation: Reservation[Held], *, at: str | Participant[ReservingBranch] | None = None
    ) -> Held:
        """Run the reservation's try at once; return what it holds. See ``Transaction.reserve``."""
        held: Held = self._wait(self._tx.reserve(reservation, at=at))
        return held

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
        """Add each of *changes* to its column in one row. See ``SyncTx.add``."""
        self._wait(self._tx.add(table, where, at_least=at_least, at_most=at_most, **changes))

    def see(self, table: str, where: Where, /, *columns: str) -> Seen:
        """Return what *columns* of one row hold. See ``SyncTx.see``."""
        seen: Seen = self._wait(self._tx.see(table, where, *columns))
        return seen

    def reread(self, seen: Seen) -> None:
        """See that a row is still what it was. See ``SyncTx.reread``."""
        self._wait(self._tx.reread(seen))

    def lock_holder(self, resource: str) -> LockHolder | None:
        """Return which saga holds the semantic lock on *resource*; None if it is free."""
        holder: LockHolder | None = self._wait(self._tx.lock_holder(resource))
        return holder


class BlockBranch:
    """A branch without ``await``: it has the methods and attributes of the branch itself."""

    def __init__(self, branch: Branch, wait: Wait) -> None:
        self._branch = branch
        self._wait = wait

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._branch, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *arguments, **options: self._wait(found(*arguments, **options))
