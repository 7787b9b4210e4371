"""The reactions of a node: a consumer for each topic and name, and the keeping of their inbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from finality.core.errors import DefinitionError, FinalityError, NotFound
from finality.ports.events import REACTION
from finality.ports.store import LocalTransaction, Store
from finality.runtime.asked import Asked
from finality.runtime.consumer import Consumer
from finality.runtime.failure import DEAD
from finality.runtime.inbox import RUN
from finality.runtime.link import Link
from finality.runtime.parked import Retrying
from finality.runtime.reacting import Kit
from finality.runtime.reaction import ReactionCode, reader_of
from finality.runtime.shares import ADVERTISED

log = logging.getLogger("finality.reactions")

INBOX_KEPT_SECONDS = 7 * 86_400.0  # More than what a relay keeps to send again, and a broker to deliver.
PRUNE_SECONDS = 600.0
PRUNE_MAX = 1_000  # In one turn; the others' turns come in between.


class ForgetTurn(Asked[int]):
    """Forgets what the inbox has known for longer than its window; answers how much."""

    def __init__(self, before: float) -> None:
        super().__init__("window of the inbox", answer=0)
        self._before = before

    def run(self, tx: LocalTransaction) -> None:
        """Forget."""
        kinds = (REACTION, DEAD, *RUN.values())
        self.answer = sum(tx.forget_witnesses(kind, before=self._before, limit=PRUNE_MAX) for kind in kinds)


class Reactions:
    """All reactions of one node.

    Attributes:
        consumers: By reader.
    """

    def __init__(
        self,
        kit: Kit,
        link: Link | None,
        *,
        lease_seconds: float,
        window_seconds: float,
        is_observer: bool,
        began: Callable[[Iterable[str]], None],
    ) -> None:
        self.consumers: dict[str, Consumer] = {}
        self._kit, self._link = kit, link
        self._lease_seconds, self._window_seconds = lease_seconds, window_seconds
        self._is_observer = is_observer
        self._began = began
        self._added: dict[tuple[str, str], list[ReactionCode]] = {}
        self._stores: dict[int, Store] = {id(kit.context.home): kit.context.home}
        self._retrying: list[Retrying] = []
        self._loops: list[asyncio.Task[None]] = []

    def add(self, code: ReactionCode) -> None:
        """Take a reaction up; it begins with ``start``.

        Raises:
            DefinitionError: Another one of its consumer takes the same event, or that consumer has
                begun, or there is no broker.
            NotFound: It works in a store that the node does not have.
        """
        self._check(code)
        for topic in (code.topic, code.retry_topic):
            for other in self._added.get((code.consumer, topic), []):
                if taken := {*code.takes} & {*other.takes}:
                    raise DefinitionError(
                        f"reactions {other.name!r} and {code.name!r} both take {min(taken)} of topic "
                        f"{topic!r} by {code.consumer!r}: a consumer gets an event once; give one of them "
                        "another name with by="
                    )
        for topic in filter(None, (code.topic, code.retry_topic)):
            self._added.setdefault((code.consumer, topic), []).append(code)

    def _check(self, code: ReactionCode) -> None:
        if self._link is None:
            raise DefinitionError(
                f"reaction {code.name!r} gets its events from a broker, and this node has none: open it "
                'with broker="nats://…"'
            )
        if code.store is not None and code.store not in self._kit.context.stores:
            raise NotFound(
                f"reaction {code.name!r} works in store {code.store!r}, which this node does not have: "
                f'open it with stores={{"{code.store}": "sqlite:///…"}}'
            )
        if code.reader in self.consumers:
            raise DefinitionError(
                f"reaction {code.name!r} comes too late: consumer {code.consumer!r} has begun to read topic "
                f"{code.topic!r}, and what it does not take passes; declare it before the node's next call, "
                "or open the node with reactions=[…]"
            )

    def start(self) -> None:
        """Begin with what was added; does nothing if there is nothing new."""
        added, self._added = self._added, {}
        self._begin(added)

    def begin(self, code: ReactionCode) -> None:
        """Begin with a reaction of ours at once, whatever else was added."""
        self._check(code)
        self._begin({(code.consumer, code.topic): [code]})

    def _begin(self, added: dict[tuple[str, str], list[ReactionCode]]) -> None:
        if not added or self._is_observer:
            return
        assert self._link is not None, "nothing is added without a broker"
        self._began(f"{ADVERTISED}{reader_of(*each)}" for each in added)
        if not self._loops:
            self._loops.append(asyncio.ensure_future(self._forget()))
        for (_, topic), codes in added.items():
            consumer = Consumer(self._kit, self._link, topic, codes, self._window_seconds)
            self.consumers[consumer.reader] = consumer
            self._loops.append(asyncio.ensure_future(consumer.run(self._lease_seconds)))
            if any(code.topic == topic for code in codes):  # Nothing is parked on a retry topic.
                retrying = Retrying(self._kit, consumer)
                self._retrying.append(retrying)
                self._loops.append(asyncio.ensure_future(retrying.run()))
            for code in codes:
                store = self._kit.context.store_of(code.store)
                self._stores[id(store)] = store

    def look(self) -> None:
        """Look at once what is parked: a person has said something about it."""
        for retrying in self._retrying:
            retrying.kick()

    async def close(self) -> None:
        """Let what is in hand end and give the partitions back; bounded."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def lags(self) -> dict[str, int]:
        """Return how many events each consumer has not dealt with yet, by reader; what it can find out."""
        lags: dict[str, int] = {}
        for reader, each in self.consumers.items():
            try:
                lags[reader] = await each.lag()
            except FinalityError as error:
                each.trouble = str(error)
        return lags

    async def _forget(self) -> None:
        """Keep the window of the inbox by forgetting what is older, some at a time."""
        while True:
            before = self._kit.context.environment.now() - self._window_seconds
            for store in list(self._stores.values()):
                try:
                    turn = ForgetTurn(before)
                    store.submit(turn)
                    while await turn.done >= PRUNE_MAX:
                        turn = ForgetTurn(before)
                        store.submit(turn)
                except FinalityError as error:
                    log.warning("the inbox of %s is kept within its window later: %s", store.name, error)
            await asyncio.sleep(PRUNE_SECONDS)
