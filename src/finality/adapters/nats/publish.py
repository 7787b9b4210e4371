"""Publishing in atomic batches: a stream takes all events of one or none, so order cannot turn around.

```
   events of a topic ──▶ one atomic batch ──▶ stored, in order
                │              │
                │              └─ refused: one of them is there already ──▶ waves, each event by itself
                └─ only a few ──────────────────────────────────────────────▶
```

A batch is one answer and a few syncs of the server, which makes it many times as fast as many events that
are each acknowledged, and slower than a few. What is published again, after an answer that was lost, is
refused as a batch; then each event is sent by itself, and those that are there are known by their ids.

Source: *JetStream batch publishing*, ADR-50 of the NATS project, 2025.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from nats.errors import NoRespondersError

from finality.adapters.nats.line import Line
from finality.adapters.nats.topics import Topics
from finality.adapters.nats.wire import bytes_of, headers_of, subject_of
from finality.adapters.waves import Outcomes, portions, waves
from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError, FinalityError, NotFound, Unavailable
from finality.core.placement import partition_of
from finality.ports.broker import Rejected

BATCH_EVENTS_MIN = 5  # Fewer are sooner stored one by one: the server makes files for a batch.
BATCH_BYTES_MAX = 8 << 20  # The server stops listening at 128 MiB that wait for one stream.
EVENT_MARGIN_BYTES = 8 << 10  # For an event's headers: the server's limit is for both.
BATCH_ID, BATCH_SEQUENCE, BATCH_COMMIT = "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"
BAD_REQUEST = 400
TOO_LARGE = 10054  # For the stream: somebody has given it a limit of its own.


class Refused(Exception):
    """The server's answer is an error."""

    def __init__(self, code: int, number: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.number = number


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event as it goes over the line."""

    index: int
    subject: str
    headers: dict[str, str]
    data: bytes
    bytes: int


class Publisher:
    """Stores events."""

    def __init__(self, line: Line, topics: Topics) -> None:
        self._line = line
        self._topics = topics

    @property
    def event_bytes_max(self) -> int:
        """Return the largest event that the server takes."""
        return (self._line.client.max_payload or 1 << 20) - EVENT_MARGIN_BYTES

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events; return what became of each."""
        outcomes = Outcomes(events)
        of_topic: dict[str, list[Outgoing]] = {}
        for index, event in enumerate(events):
            if outcomes.may_go(index) and outcomes.has_topic(index):
                outgoing = await self._outgoing(index, event, outcomes)
                if outgoing is not None:
                    of_topic.setdefault(event.topic, []).append(outgoing)
        await asyncio.gather(
            *(self._publish(topic, going, events, outcomes) for topic, going in of_topic.items())
        )
        return outcomes.each

    async def _outgoing(self, index: int, event: Envelope, outcomes: Outcomes) -> Outgoing | None:
        partitions = self._topics.known.get(event.topic)
        if partitions is None:
            try:
                partitions = await self._topics.partitions(event.topic)
            except (NotFound, DefinitionError) as problem:
                outcomes.reject(index, str(problem))
                return None
            except Unavailable as problem:
                outcomes.fail(index, problem)
                return None
        headers = headers_of(event)
        size = bytes_of(headers, event.data)
        if len(event.data) > self.event_bytes_max or size > self.event_bytes_max + EVENT_MARGIN_BYTES:
            outcomes.reject(
                index,
                f"it has {size:,} bytes with its attributes, and the server takes {self.event_bytes_max:,}; "
                "publish a reference to what is large, or raise max_payload",
            )
            return None
        subject = subject_of(event.topic, partition_of(event.key or event.id, partitions))
        return Outgoing(index, subject, headers, event.data, size)

    async def _publish(
        self, topic: str, going: list[Outgoing], events: Sequence[Envelope], outcomes: Outcomes
    ) -> None:
        for batch in portions(going, BATCH_BYTES_MAX):
            ready = [each for each in batch if outcomes.may_go(each.index)]
            if len(ready) < BATCH_EVENTS_MIN:
                await self._one_by_one(ready, events, outcomes)
            else:
                await self._all_at_once(ready, events, outcomes)
        if any(_found_nobody(outcomes.each[each.index]) for each in going):
            # The cluster elects a leader, or the server has lost the topic.
            with suppress(Unavailable, DefinitionError):  # Whoever publishes again tries this again, too.
                await self._topics.declare_again(topic)

    async def _all_at_once(
        self, batch: Sequence[Outgoing], events: Sequence[Envelope], outcomes: Outcomes
    ) -> None:
        try:
            await self._store(batch)
        except Refused as refused:
            if refused.code == BAD_REQUEST:
                await self._one_by_one(batch, events, outcomes)
                return
            problem = self._line.unavailable(refused)
        except Unavailable as unavailable:
            problem = unavailable
        else:
            return
        for each in batch:
            outcomes.fail(each.index, problem)

    async def _store(self, batch: Sequence[Outgoing]) -> None:
        """Send events, all or none, and wait until they are stored."""
        *others, last = batch
        id = uuid4().hex
        async with self._line.asking():
            for number, each in enumerate(others, 1):
                marked = each.headers | {BATCH_ID: id, BATCH_SEQUENCE: str(number)}
                await self._line.client.publish(each.subject, each.data, headers=marked)
        marks = {BATCH_ID: id, BATCH_SEQUENCE: str(len(batch)), BATCH_COMMIT: "1"}
        await self._send(last, last.headers | marks)

    async def _send(self, outgoing: Outgoing, headers: dict[str, str]) -> None:
        answer = json.loads((await self._line.ask(outgoing.subject, outgoing.data, headers)).data)
        if error := answer.get("error"):
            raise Refused(error["code"], error.get("err_code", 0), error.get("description", ""))

    async def _one_by_one(
        self, batch: Sequence[Outgoing], events: Sequence[Envelope], outcomes: Outcomes
    ) -> None:
        """Send events so that no key is under way twice; what is there already is not stored again."""
        by_index = {each.index: each for each in batch}
        for wave in waves(by_index, events):
            ready = [index for index in wave if outcomes.may_go(index)]
            answers = await asyncio.gather(
                *(self._send(by_index[index], by_index[index].headers) for index in ready),
                return_exceptions=True,
            )
            for index, answer in zip(ready, answers, strict=True):
                if isinstance(answer, Refused):
                    outcomes.fail(index, self._meant(events[index], answer))
                elif isinstance(answer, FinalityError):
                    outcomes.fail(index, answer)
                elif isinstance(answer, BaseException):
                    raise answer

    def _meant(self, event: Envelope, refused: Refused) -> FinalityError:
        if refused.number == TOO_LARGE:
            return Rejected(f"event {event.id} was rejected: {refused}; raise the stream's max_msg_size")
        return self._line.unavailable(refused)


def _found_nobody(problem: FinalityError | None) -> bool:
    return problem is not None and isinstance(problem.__cause__, NoRespondersError)
