"""Some partitions of a topic in a file, read for a group."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from finality.adapters.group_commit import Writer
from finality.adapters.sqlite.broker_transaction import BrokerTransaction, Held, Receipt, Taken, row_of
from finality.adapters.sqlite.broker_turns import Ask, ask
from finality.adapters.sqlite.watch import Watch
from finality.ports.broker import PARKED_PARTITIONS, TAKE_EVENTS_MAX, Delivery, parked, parked_topic
from finality.ports.environment import Environment

UNACKNOWLEDGED_EVENTS_MAX = 1_000  # Of a subscription: whoever has more in hand does not keep up.
LOOK_SECONDS = 5.0  # How soon it sees that another subscriber has taken a partition, if nothing arrives.


class SqliteSubscription:
    """Fulfils ``ports.broker.Subscription``."""

    def __init__(
        self,
        writer: Writer,
        watch: Watch,
        environment: Environment,
        topic: tuple[int, str],
        group: str,
        held: Sequence[Held],
    ) -> None:
        self.is_closed = False
        self._has_lost = False  # A partition, to another subscriber.
        self._writer = writer
        self._watch = watch
        self._environment = environment
        self._topic = topic
        self._group = group
        self._partitions = [each.partition for each in held]
        self._held = deque(held)
        self._holders = {each.progress: each.holder for each in held}
        self._in_hand: set[Receipt] = set()
        self._ready: deque[Delivery] = deque()
        self._failure: BaseException | None = None
        self._may_have_more = True
        self._is_taking = False
        self._woken: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        for each in held:
            watch.add(topic[0], each.partition, self._arrived)

    async def take(self, limit: int = TAKE_EVENTS_MAX) -> list[Delivery]:
        """Wait until there is something, and return it."""
        while not self.is_closed:
            if self._ready:
                return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
            if self._has_lost:
                break
            if self._failure is not None:
                problem, self._failure = self._failure, None
                raise problem
            if self._may_have_more and not self._is_taking:
                self._begin_to_take(limit)
            if self._woken is None or self._woken.done():
                self._woken = self._loop.create_future()
            if self._is_taking:  # Our own writer answers: nothing needs to be watched.
                await asyncio.wait((self._woken,))
            else:
                await self._watch.wait(self._woken)
        return []

    def _begin_to_take(self, limit: int) -> None:
        """Ask for more, if the group has not too much in hand."""
        room = min(limit, UNACKNOWLEDGED_EVENTS_MAX - len(self._in_hand))
        if room <= 0:
            return  # An acknowledgement wakes us.
        self._is_taking, self._may_have_more = True, False
        held = tuple(self._held)

        def took(error: BaseException | None, taken: Taken | None) -> None:
            self._took(error, taken, room)

        self._writer.put(Ask(f"take for {self._group}", lambda tx: tx.take(self._topic, held, room), took))

    def _took(self, error: BaseException | None, taken: Taken | None, room: int) -> None:
        """Keep what came, for whoever takes: the one who asked may be gone."""
        self._is_taking = False
        self._failure = error
        if error is not None:
            self._may_have_more = True
        if taken is not None:
            self._ready.extend(taken.deliveries)
            self._in_hand.update(each.receipt for each in taken.deliveries)
            for lost in taken.lost:
                self._held.remove(lost)
                self._has_lost = True
            if len(taken.deliveries) >= room:
                self._may_have_more = True
                self._held.rotate(-1)  # The next take begins elsewhere, so that none starves.
            look = self._environment.now() + LOOK_SECONDS
            self._set_timer(look if taken.next_due is None else min(look, taken.next_due))
        self._wake()

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and not self.is_closed:
            self._timer = self._loop.call_later(max(due - self._environment.now(), 0.0), self._arrived)

    def _arrived(self) -> None:
        self._may_have_more = True
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """The group is done with these; durable on return."""
        receipts: list[Receipt] = [each.receipt for each in deliveries]
        if receipts:
            await ask(self._writer, f"ack of {self._group}", lambda tx: tx.done(receipts))
            self._put_down(receipts)

    async def retry_later(self, delivery: Delivery, seconds: float) -> None:
        """Give it back, to be delivered again."""
        due = self._environment.now() + seconds
        receipt: Receipt = delivery.receipt
        holder = self._holders[receipt.progress]
        await ask(self._writer, f"retry of {self._group}", lambda tx: tx.put_back(receipt, holder, due))
        self._put_down([receipt])
        if self._timer is None or self._timer.when() > self._loop.time() + seconds:
            self._set_timer(due)

    async def park(self, delivery: Delivery, because: str) -> None:
        """Put it aside and acknowledge it, in one commit."""
        aside = parked(delivery.envelope, self._group, because)
        name = parked_topic(self._topic[1], self._group)
        at = self._environment.now()

        def work(tx: BrokerTransaction) -> None:
            tx.store([row_of(aside, tx.declare(name, PARKED_PARTITIONS), at)])
            tx.done([delivery.receipt])

        await ask(self._writer, f"park of {self._group}", work)
        self._put_down([delivery.receipt])

    def _put_down(self, receipts: Sequence[Receipt]) -> None:
        was_full = len(self._in_hand) >= UNACKNOWLEDGED_EVENTS_MAX
        self._in_hand.difference_update(receipts)
        if was_full:
            self._wake()

    async def close(self) -> None:
        """Let go."""
        if self.is_closed:
            return
        self.is_closed = True
        self._set_timer(None)
        self._wake()
        for each in self._partitions:
            self._watch.remove(self._topic[0], each, self._arrived)
        held = tuple(self._held)
        await ask(self._writer, f"end of {self._group}", lambda tx: tx.let_go(held))
