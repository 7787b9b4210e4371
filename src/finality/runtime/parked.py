"""Events that were put aside are tried again by themselves, in the order of their key.

```
   parked ─▶ due ─▶ first of its key? ─▶ react ─▶ taken out ─▶ the next of its key, at once
     ▲                                     │ fails
     └──────── later, with backoff ────────┴─▶ a person: retry · discard
```
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from finality.core.errors import DefinitionError, FinalityError, OutcomeUnknown, Refused, Unavailable
from finality.ports.events import PARKED_MAX, Parked
from finality.ports.store import LocalTransaction
from finality.runtime.asked import Asked
from finality.runtime.consumer import Consumer, Hopeless
from finality.runtime.envelopes import envelope_of_parked
from finality.runtime.failure import FailTurn, Failure
from finality.runtime.inbox import Arrived, Verdict
from finality.runtime.reacting import Kit, Overtaken, Reacting, SettleTurn

log = logging.getLogger("finality.reactions")

LOOK_SECONDS = 1.0  # How soon a person's word in another process is heard.
PASS_ON_SECONDS = 60.0  # A rolling upgrade has nodes that know the reaction and nodes that do not.
AT_ONCE = 16  # Keys that are tried again at the same time.


class NextTurn(Asked[Parked | None]):
    """Looks up the first parked event of a key."""

    def __init__(self, parked: Parked) -> None:
        super().__init__("parked events", None)
        self._parked = parked

    def run(self, tx: LocalTransaction) -> None:
        """Look."""
        found = tx.parked(self._parked.reader, self._parked.topic, self._parked.key)
        self.answer = found[0] if found else None


class Retrying:
    """The loop that tries the parked events of a consumer again."""

    def __init__(self, kit: Kit, consumer: Consumer) -> None:
        self._home, self._node = kit.context.home, kit.context.node
        self._environment = kit.context.environment
        self._reacting = Reacting(kit)
        self._consumer = consumer
        self._kicked = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.kick = consumer.parked = self._kicked.set

    async def run(self) -> None:
        """Try again what is due until cancelled."""
        while True:
            due_in = LOOK_SECONDS
            self._kicked.clear()
            try:
                if self._consumer.holds_first:
                    due_in = await self._look()
            except FinalityError as error:
                log.warning("parked events of %s are looked at again: %s", self._consumer.reader, error)
            except Exception:
                log.exception("parked events of %s are looked at again", self._consumer.reader)
            try:
                async with asyncio.timeout(min(max(due_in, 0.0), LOOK_SECONDS)):
                    await self._kicked.wait()
            except TimeoutError:
                continue

    async def _look(self) -> float:
        """Try what is due; return in how many seconds there is more."""
        reader = self._consumer.reader
        due_at = await self._home.next_retry(reader)
        now = self._environment.now()
        if due_at is not None and due_at <= now:
            due = [row for row in await self._all(reader) if row.retry_at is not None and row.retry_at <= now]
            await asyncio.gather(*(self._try_key(row) for row in due))
            due_at = await self._home.next_retry(reader)
        now = self._environment.now()
        if due_at is None or due_at <= now:  # What is due still was tried just now, in vain.
            return LOOK_SECONDS
        return due_at - now

    async def _all(self, reader: str) -> list[Parked]:
        rows: list[Parked] = []
        while True:
            after = rows[-1].place if rows else 0
            page = await self._home.parked_events(reader=reader, after=after)
            rows += page
            if len(page) < PARKED_MAX:
                return rows

    async def _try_key(self, row: Parked) -> None:
        """Try an event again, and those that wait behind it in their order, until one fails."""
        async with self._slots:
            following: Parked | None = row
            while following is not None and await self._try(following):
                following = None
                if row.key:
                    turn = NextTurn(row)
                    self._home.submit(turn)
                    following = await turn.done

    async def _try(self, row: Parked) -> bool:
        """Return whether it is out of the way."""
        envelope, attempts = envelope_of_parked(row), row.attempts + 1
        code = self._consumer.code_of(envelope.type)
        arrived = Arrived(row.reader, envelope, None, row.place)
        if code is None:
            return await self._pass_on(row, arrived)
        try:
            arrived = replace(arrived, value=self._consumer.value(code, envelope))
            [verdict] = await self._reacting.react(code, [arrived])
            return verdict is not Verdict.BEHIND
        except (Unavailable, OutcomeUnknown, Overtaken):
            return False  # The store's trouble; it is due still.
        except (Hopeless, Refused, DefinitionError) as error:
            because, retry_at = str(error), None
        except Exception as error:  # Whatever the user's code raises.
            because, retry_at = f"{error!r}", self._consumer.retry_at(code, attempts)
        failure = Failure(because, attempts, retry_at)
        turn = FailTurn(
            code.consumer, arrived, failure, self._environment.now(), retry_topic=code.retry_topic
        )
        self._home.submit(turn)
        await turn.done
        return False

    async def _pass_on(self, row: Parked, arrived: Arrived) -> bool:
        """Leave what no reaction here takes to another node; what was replayed is for nobody, perhaps."""
        turn: Asked[None]
        if row.because and not row.attempts:
            turn = SettleTurn(self._consumer.consumer, [arrived], is_home=True)
        else:
            because = f"no reaction of node {self._node} takes a {arrived.envelope.type}"
            now = self._environment.now()
            failure = Failure(because, row.attempts, now + PASS_ON_SECONDS)
            turn = FailTurn(self._consumer.consumer, arrived, failure, now)
        self._home.submit(turn)
        await turn.done
        return isinstance(turn, SettleTurn)
