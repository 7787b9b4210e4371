"""Watches a choreography: puts each run together in the home store, and says when its time is over.

```
   topics of the choreography ─▶ consumer choreography.NAME.HOME ─▶ inbox ─▶ stream of the run + its head
                                                                        └─▶ delayed event: the deadline
```

Every home that watches has each run as a transaction of its own, put together from the same events.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from finality.core.backoff import FOREVER, Retry
from finality.core.choreography import (
    NEW,
    Arrived,
    DeadlineCame,
    Expired,
    RunState,
    Seen,
    Shape,
    decide,
    evolve,
    summary_of,
)
from finality.core.choreography.run import ChoreographyEvent
from finality.core.envelope import Envelope
from finality.core.ids import TransactionId, Version
from finality.core.protocol import fold
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.events import Published
from finality.ports.home import Birth, HomeTransaction
from finality.runtime.asked import Asked
from finality.runtime.definition import Style
from finality.runtime.inbox import run_of
from finality.runtime.reaction import ReactionCode

DEADLINE = "finality.deadline"  # The type of the delayed event by which a watcher hears of a deadline.
RUN = "choreography"  # The operation of the witness that says which stream a run has.
AGAIN = Retry(attempts=None, first_seconds=0.005, cap_seconds=1.0)  # Two events of a run at once.
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ChoreographyCode:
    """One version of a choreography.

    Attributes:
        topics: Where its events go.
        begins: The class of the event that begins a run.
        expires: Makes, from that event, what is published when the deadline passes.
        expires_on: The topic that it is published on.
    """

    shape: Shape
    version: str
    topics: tuple[str, ...]
    begins: type[Any]
    expires: Callable[[Any], Any]
    expires_on: str

    @property
    def deadlines(self) -> str:
        """Return the topic of its deadlines."""
        return f"{RUN}.{self.shape.name}"


class KeepShapeTurn(Asked[None]):
    """Keeps the shape of a choreography, so that any node can explain its runs."""

    def __init__(self, code: ChoreographyCode, codec: Codec) -> None:
        super().__init__(f"shape of {code.shape.name}", None)
        self._code, self._codec = code, codec

    def run(self, tx: HomeTransaction) -> None:
        """Keep it."""
        tx.define(self._code.shape.name, self._code.version, self._codec.encode(self._code.shape))


class Watcher:
    """Hears the events of a choreography, each once."""

    def __init__(
        self,
        code: ChoreographyCode,
        codec: Codec,
        environment: Environment,
        published: Callable[[str, Any, Seen], Published],
    ) -> None:
        self._code = code
        self._codec = codec
        self._environment = environment
        self._published = published

    def reactions(self, home: str) -> list[ReactionCode]:
        """Return what a node of that home reacts with: our own function on every topic."""
        shape = self._code.shape
        types = shape.from_outside.union(*(part.answers for part in shape.parts))
        return [
            ReactionCode(
                "watch", topic, f"{self._code.deadlines}.{home}", self.watch, Style.TURN,
                dict.fromkeys([DEADLINE] if topic == self._code.deadlines else sorted(types), Any), {}, True,
                topic, AGAIN, FOREVER, AT_ONCE, is_raw=True,
            )
            for topic in (*self._code.topics, self._code.deadlines)
        ]  # fmt: skip

    def watch(self, tx: HomeTransaction, event: Envelope) -> None:
        """Put an event where it belongs; in a turn of the home store."""
        shape, run = self._code.shape, run_of(event)
        known = tx.witness(run, shape.name, RUN)
        told = [] if known is None else [item.event for item in tx.read(int(known))]
        state = fold(evolve, NEW, told)
        if event.type == DEADLINE:
            events = decide(shape, state, DeadlineCame(self._environment.now())) if told else ()
        else:
            events = decide(shape, state, Arrived(_seen(event, shape)))
        if not events:
            return
        after = fold(evolve, state, events)
        if known is None:
            self._begin(tx, run, events, after)
        else:
            summary = summary_of(shape, after)
            tx.append(int(known), events, expected=Version(len(told)), summary=summary)
        if known is None or event.type == shape.begins:  # Before that is seen, a deadline cannot expire it.
            self._remind(tx, run, after.deadline(shape), after.overdue_at(shape))
        if any(isinstance(each, Expired) for each in events):
            self._expire(tx, after)
            self._remind(tx, run, after.overdue_at(shape))

    def _begin(
        self, tx: HomeTransaction, run: TransactionId, events: tuple[ChoreographyEvent, ...], after: RunState
    ) -> None:
        shape, summary = self._code.shape, summary_of(self._code.shape, after)
        key = tx.create(Birth(run, shape.name, self._code.version), events, summary)
        if key is None:  # A saga has begun the run with an event of its own, and has its name.
            name = TransactionId(f"{run}/{shape.name}")
            key = tx.create(Birth(name, shape.name, self._code.version), events, summary)
        assert key is not None, f"run {run} has a stream already"
        tx.testify(run, shape.name, RUN, str(key))

    def _remind(self, tx: HomeTransaction, run: TransactionId, *times: float) -> None:
        headers = json.dumps({"correlationid": run})
        for due_at in times:
            tx.publish(Published(self._code.deadlines, run, DEADLINE, b"{}", headers), due_at=due_at)

    def _expire(self, tx: HomeTransaction, state: RunState) -> None:
        begun = state.begun(self._code.shape)
        assert begun is not None, "only a run whose beginning was seen expires"
        value = self._codec.unpack(begun.data, begun.content_type, self._code.begins)
        tx.publish(self._published(self._code.expires_on, self._code.expires(value), begun))


def _seen(event: Envelope, shape: Shape) -> Seen:
    is_first = event.type == shape.begins
    return Seen(
        event.type, event.id, event.source, event.key, event.topic, run_of(event), event.time,
        event.causation_id,
        event.data if is_first else b"", event.content_type if is_first else "",
    )  # fmt: skip
