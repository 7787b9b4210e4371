"""Some partitions of a topic in a file, read for a group.

```
   pages ── read ──▶ ahead ── given, and kept as given ──▶ ready ── take ──▶ ack ── kept
                       ▲                                                      │
                       └── when due ────────────────────────── retry_later ◀──┘
```

Whoever holds a partition knows by himself how far its group is; the file knows it for whoever comes next.
So what is read needs no write turn, and what is kept is a row a partition, however many events it is about.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import Any

from finality.adapters.group_commit import Writer
from finality.adapters.sqlite.broker_transaction import Held
from finality.adapters.sqlite.broker_turns import Ask, ask
from finality.adapters.sqlite.hand import Kept, kept
from finality.adapters.sqlite.page import unpacked
from finality.adapters.sqlite.watch import Watch
from finality.core.envelope import Envelope
from finality.ports.broker import TAKE_EVENTS_MAX, Delivery, parked
from finality.ports.environment import Environment

UNACKNOWLEDGED_EVENTS_MAX = 1_000  # Of a subscription: whoever has more in hand does not keep up.
LOOK_SECONDS = 5.0  # How soon it sees that another subscriber has taken a partition, if nothing arrives.
PAGES_MAX = 8  # Of a read of a partition: of a batch published at once it is a page, or an event.

Rows = Callable[[str, Sequence[Any]], list[Any]]
Publish = Callable[[Envelope], Awaitable[None]]
Ahead = deque[Delivery]


class SqliteSubscription:
    """Fulfils ``ports.broker.Subscription``.

    Args:
        rows: Reads what is committed, by the name of a statement.
        aside: Publishes what is put aside.
    """

    def __init__(
        self,
        writer: Writer,
        watch: Watch,
        environment: Environment,
        rows: Rows,
        aside: Publish,
        topic: tuple[int, str],
        group: str,
        held: Sequence[Held],
    ) -> None:
        self.is_closed = False
        self._has_lost = False  # A partition, to another subscriber.
        self._look_at = environment.now() + LOOK_SECONDS
        self._writer, self._watch, self._environment = writer, watch, environment
        self._rows, self._aside = rows, aside
        self._topic, self._group = topic, group
        self._held = {each.partition: each for each in held}
        self._ahead: dict[int, Ahead] = {number: deque() for number in self._held}
        self._behind = dict.fromkeys(self._held)  # Where there may be more to read: a set in order.
        self._changed: set[int] = set()
        self._given: list[Delivery] = []  # Not kept as given yet.
        self._ready: deque[Delivery] = deque()
        self._failure: BaseException | None = None
        self._is_giving = False
        self._woken: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._wakers = {number: partial(self._arrived, number) for number in self._held}
        for number, waker in self._wakers.items():
            watch.add(topic[0], number, waker)

    # ── What is given ───────────────────────────────────────────────────────────────────────

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
            if not self._is_giving:
                if not self._given:
                    self._pick(limit)
                if self._has_lost:
                    continue
                self._give()
            if self._woken is None or self._woken.done():
                self._woken = self._loop.create_future()
            if self._is_giving:  # Our own writer answers: nothing needs to be watched.
                await asyncio.wait((self._woken,))
            else:
                await self._watch.wait(self._woken)
        return []

    def _pick(self, limit: int) -> None:
        """Pick what is due again and what is new, in order within each partition, if there is room.

        Raises:
            Unavailable: The file cannot be read; what was picked before that is picked.
        """
        if self._environment.now() >= self._look_at:
            self._look()
        in_hand = sum(len(each.progress.in_hand) for each in self._held.values())
        room = min(limit, UNACKNOWLEDGED_EVENTS_MAX - in_hand)
        self._pick_due(room)
        for number in [*self._behind]:
            if len(self._given) >= room:  # An acknowledgement wakes us.
                break
            has_more = self._read(number)
            del self._behind[number]
            self._pick_fresh(number, room - len(self._given))
            if has_more or self._ahead[number]:  # It is the last one now, so that none starves.
                self._behind[number] = None

    def _read(self, number: int) -> bool:
        """Read on in a partition whose pages have all been given; say whether there may be more."""
        ahead, read_to = self._ahead[number], self._held[number].progress.read_to
        if ahead:
            return True
        rows = self._rows("read", (self._topic[0], number, read_to, PAGES_MAX))
        for first, last, attributes, data in rows:
            events = unpacked(attributes, data, self._topic[1])
            begin = max(first, read_to + 1)
            ahead.extend(_deliveries(events[begin - first :], number, range(begin, last + 1)))
        return len(rows) == PAGES_MAX

    def _pick_fresh(self, number: int, room: int) -> None:
        ahead, progress = self._ahead[number], self._held[number].progress
        taken = [ahead.popleft() for _ in range(min(room, len(ahead)))]
        if taken:
            progress.in_hand.update({each.receipt: each.attempt for each in taken})
            progress.read_to = taken[-1].receipt
            self._changed.add(number)
            self._given += taken

    def _pick_due(self, room: int) -> None:
        """Pick what is given again now; see to it that the rest is in time."""
        now, dues = self._environment.now(), [self._look_at]
        for number, held in self._held.items():
            progress = held.progress
            if not progress.later:
                continue
            positions = progress.due(now)[: max(room - len(self._given), 0)]
            for position, event in self._again(number, positions):
                attempt = progress.give(position)
                self._given.append(Delivery(event, number, str(position), attempt, position))
                self._changed.add(number)
            if (due := progress.next_due) is not None:
                dues.append(due)
        self._set_timer(min(dues))

    def _again(self, number: int, positions: Sequence[int]) -> list[tuple[int, Envelope]]:
        """Return events of a partition by their positions, but for those that are not there any more."""
        found: list[tuple[int, Envelope]] = []
        waiting = deque(positions)
        while waiting:
            pages = self._rows("read", (self._topic[0], number, waiting[0] - 1, 1))
            first, last, attributes, data = pages[0] if pages else (waiting[-1] + 1, waiting[-1], "", b"")
            while waiting and waiting[0] < first:
                self._held[number].progress.done(waiting.popleft())
            events = unpacked(attributes, data, self._topic[1]) if waiting else []
            while waiting and waiting[0] <= last:
                found.append((waiting[0], events[waiting.popleft() - first]))
        return found

    def _give(self) -> None:
        """Keep what is picked as given; only then is it ready."""
        if not self._given:
            return
        self._is_giving = True
        kept = self._to_keep()

        def gave(error: BaseException | None, lost: set[int] | None) -> None:
            self._is_giving, self._failure = False, error
            if lost is None:
                self._changed.update(each.partition for each in self._given)
            else:
                self._lose(lost)
                self._ready.extend(each for each in self._given if each.partition in self._held)
                self._given = []
            self._wake()

        self._writer.put(Ask(f"take for {self._group}", lambda tx: tx.keep(kept), gave))

    # ── What is kept ────────────────────────────────────────────────────────────────────────

    def _to_keep(self) -> list[Kept]:
        """Return how far the group is where that has changed."""
        changed, self._changed = self._changed, set()
        held = [self._held[number] for number in changed if number in self._held]
        return [kept(each.key, each.holder, each.progress) for each in held]

    async def _keep(self, partitions: set[int]) -> None:
        self._changed |= partitions
        to_keep = self._to_keep()
        try:
            lost = await ask(self._writer, f"ack of {self._group}", lambda tx: tx.keep(to_keep))
        except BaseException:
            self._changed |= partitions
            raise
        self._lose(lost)

    def _look(self) -> None:
        """See whether somebody else has subscribed to what this one holds."""
        self._look_at = self._environment.now() + LOOK_SECONDS
        holders = dict(self._rows("holders", (self._topic[0], self._group)))
        self._lose({each.key for each in self._held.values() if holders.get(each.key) != each.holder})

    def _lose(self, keys: set[int]) -> None:
        """Give nothing more of what somebody else holds."""
        self._has_lost = self._has_lost or bool(keys)
        for number in [number for number, each in self._held.items() if each.key in keys]:
            del self._held[number]
            self._behind.pop(number, None)
            self._watch.remove(self._topic[0], number, self._wakers[number])

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """The group is done with these; durable on return."""
        done = {number: held.progress.done for number, held in self._held.items()}
        partitions: set[int] = set()
        for _, number, _, _, position in deliveries:
            if number in done:
                done[number](position)
                partitions.add(number)
        if partitions:
            await self._keep(partitions)
            self._wake()

    async def retry_later(self, delivery: Delivery, seconds: float) -> None:
        """Give it back, to be delivered again."""
        held = self._held.get(delivery.partition)
        if held is not None:
            held.progress.put_back(delivery.receipt, self._environment.now() + seconds)
            await self._keep({delivery.partition})
            self._wake()

    async def park(self, delivery: Delivery, because: str) -> None:
        """Put it aside and acknowledge it; after a crash in between it is put aside once all the same."""
        await self._aside(parked(delivery.envelope, self._group, because))
        await self.ack([delivery])

    # ── Waking ──────────────────────────────────────────────────────────────────────────────

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and not self.is_closed:
            self._timer = self._loop.call_later(max(due - self._environment.now(), 0.0), self._wake)

    def _arrived(self, number: int) -> None:
        self._behind[number] = None
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def close(self) -> None:
        """Let go: what is in hand is given to whoever comes next, once what was asked has been kept."""
        if self.is_closed:
            return
        self.is_closed = True
        self._set_timer(None)
        self._wake()
        for number in self._held:
            self._watch.remove(self._topic[0], number, self._wakers[number])


def _deliveries(events: Sequence[Envelope], number: int, positions: range) -> Iterable[Delivery]:
    """Return events as they are given for the first time; as tuples, since there are many."""
    columns = (events, repeat(number), map(str, positions), repeat(1), positions)
    return map(tuple.__new__, repeat(Delivery), zip(*columns))  # noqa: B905  # what all have never ends
