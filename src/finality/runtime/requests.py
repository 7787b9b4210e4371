"""The requests of a node: it listens for their answers, keeps their deadlines and wakes whoever waits.

All nodes of a home share one topic of replies and are one consumer of it: whichever gets an answer records
it in the home's journal, where every node finds it. They listen from the first request on that the home
has ever made, so who asks nothing has no such topic.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from finality.core.backoff import Retry
from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError, FinalityError
from finality.core.request import DEFINITION, KIND, replies_of
from finality.ports.home import HomeTransaction
from finality.runtime.context import Context
from finality.runtime.definition import Style
from finality.runtime.inbox import Arrived, run_of
from finality.runtime.link import Link
from finality.runtime.loading import LeaveTurn
from finality.runtime.reaction import ANY, ReactionCode
from finality.runtime.reactions import Reactions
from finality.runtime.relay import source_of
from finality.runtime.request import KeepTurn, hear
from finality.runtime.telling import TROUBLE_SECONDS
from finality.runtime.waiting import Waiting

log = logging.getLogger("finality.requests")

DRIVES = f"{KIND}@{DEFINITION}"  # What a node tells the others that it keeps, too.
AT_ONCE = 16  # Answers; they are short turns of the store, and share commits.
AGAIN = Retry(attempts=6, first_seconds=0.005, cap_seconds=1.0)  # Two nodes may tell a request at once.
LATER = Retry(attempts=8, first_seconds=5.0, factor=4.0, cap_seconds=3_600.0)
NO_BROKER = "its answer comes from a broker, and the node that made it has none: run one with broker="


class Requests:
    """All requests that one node has made, or has taken over."""

    def __init__(
        self,
        context: Context,
        link: Link | None,
        reactions: Reactions,
        waiting: Waiting,
        sleeps: Callable[[float | None], None],
    ) -> None:
        self._context, self._link, self._reactions = context, link, reactions
        self._waiting = waiting
        self._sleeps = sleeps
        self._listening: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # ── Answers ─────────────────────────────────────────────────────────────────────────────

    async def listen(self) -> None:
        """Hear of answers from now on; those that have come before wait at the broker.

        Raises:
            DefinitionError: There is no broker to hear them from.
            Unavailable: The store is out of reach.
        """
        if self._link is None:
            raise DefinitionError(
                'requests go to a broker, and this node has none: open it with broker="nats://…"'
            )
        if self._listening is None or (self._listening.done() and self._listening.exception() is not None):
            self._listening = asyncio.ensure_future(self._listen())
        await asyncio.shield(self._listening)

    async def _listen(self) -> None:
        source = await source_of(self._context.home, self._context.environment)
        topic = replies_of(source.partition(":")[2])
        self._reactions.begin(
            ReactionCode(
                "hear", topic, KIND, self._hear, Style.TURN, {ANY: None}, {}, True, topic, AGAIN,
                LATER, AT_ONCE, is_raw=True, heard=self._heard,
            )
        )  # fmt: skip

    def _hear(self, tx: HomeTransaction, event: Envelope) -> None:
        hear(tx, self._context.codec, event, self._context.environment.now())

    def _heard(self, arrived: Sequence[Arrived]) -> None:
        for each in arrived:
            self._waiting.ended(run_of(each.envelope), None)

    def begun(self, deadline: float) -> None:
        """Hear that this node has made a request."""
        self._sleeps(deadline)

    # ── Deadlines ───────────────────────────────────────────────────────────────────────────

    def admit(self, keys: Iterable[int]) -> None:
        """Take care of requests that were claimed: their time has come, or nobody has listened for them."""
        self._spawn(self._keep([*keys]))

    def resume(self) -> None:
        """Listen if this home has ever made a request: the answer to one may be on its way."""
        if self._link is not None and self._listening is None:
            self._spawn(self._look())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        while True:
            try:
                if await self._context.home.definition(KIND, DEFINITION) is not None:
                    await self.listen()
                return
            except FinalityError as error:
                log.warning("whether there are requests is looked up again: %s", error)
                await asyncio.sleep(TROUBLE_SECONDS)

    async def _keep(self, keys: list[int]) -> None:
        if self._link is None:
            for key in keys:
                self._context.home.submit(LeaveTurn(key, NO_BROKER))
            return
        while True:
            turn = KeepTurn(keys, self._context.environment.now())
            try:
                await self.listen()
                self._context.home.submit(turn)
                for id in await turn.done:
                    self._waiting.ended(id, None)
                self._sleeps(await self._context.home.next_wake(self._context.node))
                return
            except FinalityError as error:  # They are in hand, so nobody else looks at them.
                log.warning("%d requests are looked at again: %s", len(keys), error)
                await asyncio.sleep(TROUBLE_SECONDS)

    async def close(self) -> None:
        """Leave what is in hand to other nodes."""
        for task in [*self._tasks, *([self._listening] if self._listening else [])]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
