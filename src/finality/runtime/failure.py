"""What becomes of an event whose reaction has failed.

```
   fails ─┬─ its key waits ──▶ parked, what comes behind it in its key as well ──▶ tried from there
          └─ its key flows ──▶ delayed, on the retry topic ──▶ the same reaction takes it from there
              no attempt is left, or a person gives it up ──▶ a dead letter, once, beside what is parked
```

On a retry topic it is the same event still: it carries the id and source that the inbox knows it by, and
the witness in the home store says how often it was moved. So each of its stations runs once at most.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from finality.core.envelope import BadEnvelope, Envelope, attributes_of, read_time, written_time
from finality.core.ids import TransactionId
from finality.ports.events import REACTION, Published
from finality.ports.store import LocalTransaction
from finality.runtime.asked import Asked
from finality.runtime.inbox import MOVED, Arrived, name_of, put_aside, run_of, say
from finality.runtime.reaction import ReactionCode, reader_of

DEAD = "dead_letter"  # The operation of a witness: this event was published as a dead letter.
DEAD_LETTERS = "dead_letters"  # The operation of a witness: where those of a reaction go.
FINALITY = TransactionId("finality")
OWN = frozenset({"specversion", "id", "source", "type", "time", "partitionkey"})  # A new row has its own.
BECAUSE_LETTERS_MAX = 500  # Brokers carry it in a header.


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an event has not taken effect.

    Attributes:
        attempts: How often it was tried in all.
        again_at: When it is tried again by itself; None: when a person says so.
    """

    because: str
    attempts: int
    again_at: float | None


class FailTurn(Asked[None]):
    """Parks an event or moves it to a retry topic, unless it was dealt with meanwhile."""

    def __init__(
        self, consumer: str, arrived: Arrived, failure: Failure, at: float, *, retry_topic: str = ""
    ) -> None:
        super().__init__(f"failure of an event of {consumer}", None)
        self._consumer, self._arrived, self._failure = consumer, arrived, failure
        self._at, self._retry_topic = at, retry_topic

    def run(self, tx: LocalTransaction) -> None:
        """Do so, or say anew why it is parked."""
        consumer, arrived, failure = self._consumer, self._arrived, self._failure
        envelope, place = arrived.envelope, arrived.place
        if place is None and tx.witness(name_of(envelope), consumer, REACTION) != arrived.awaited:
            return
        if self._retry_topic and failure.again_at is not None:
            if place is not None:
                tx.unpark(place)
            say(tx, consumer, envelope, f"{MOVED} {failure.attempts}")
            tx.publish(
                _moved(envelope, consumer, failure, self._retry_topic, self._at), due_at=failure.again_at
            )
            return
        told = {"because": failure.because, "attempts": failure.attempts, "retry_at": failure.again_at}
        if place is not None:
            tx.repark(place, **told)  # type: ignore[arg-type]  # as its names say
        else:
            put_aside(tx, consumer, arrived, self._at, holds_key=not self._retry_topic, **told)  # type: ignore[arg-type]  # likewise
        if failure.again_at is None:
            bury(tx, consumer, envelope, failure.because, failure.attempts)


# ── Retry topics ────────────────────────────────────────────────────────────────────────────


def _moved(envelope: Envelope, consumer: str, failure: Failure, topic: str, at: float) -> Published:
    headers = _headers(envelope) | {
        "retryid": envelope.id,
        "retrysource": envelope.source,
        "retrytime": written_time(envelope.time),
        "retrytopic": envelope.topic,
        "retryconsumer": consumer,
        "retryattempt": str(failure.attempts),
        "retrysince": written_time(at),
        "retrybecause": _short(failure.because),
    }
    return Published(topic, envelope.key, envelope.type, envelope.data, json.dumps(headers))


def moved_back(envelope: Envelope, consumer: str) -> Envelope | None:
    """Return the event that was moved to a retry topic, as it was; None: it is not for this consumer."""
    told = envelope.extensions
    if told.get("retryconsumer") != consumer:
        return None
    try:
        return envelope._replace(
            id=told["retryid"], source=told["retrysource"], topic=told["retrytopic"],
            time=read_time(told["retrytime"]),
        )  # fmt: skip
    except (KeyError, BadEnvelope):
        return None  # Somebody else has written it: no event of ours was moved.


def moved_since(envelope: Envelope) -> tuple[int, float]:
    """Return how often an event from a retry topic was tried, and when it was moved last."""
    return int(envelope.extensions["retryattempt"]), read_time(envelope.extensions["retrysince"])


# ── Dead letters ────────────────────────────────────────────────────────────────────────────


class KeepDeadLettersTurn(Asked[None]):
    """Keeps where the dead letters of reactions go, for whoever gives an event up beside the nodes."""

    def __init__(self, codes: Sequence[ReactionCode]) -> None:
        super().__init__("topics of dead letters", None)
        self._codes = codes

    def run(self, tx: LocalTransaction) -> None:
        """Keep them, if they are new."""
        for code in self._codes:
            for type_ in code.takes:
                where = f"{code.reader}/{type_}"
                if (tx.witness(FINALITY, where, DEAD_LETTERS) or "") != code.dead_letters:
                    tx.retract(FINALITY, where, DEAD_LETTERS)
                    tx.testify(FINALITY, where, DEAD_LETTERS, code.dead_letters)


def bury(tx: LocalTransaction, consumer: str, envelope: Envelope, because: str, attempts: int) -> None:
    """Publish an event as a dead letter, if its reaction has a topic for them; once, in the home store."""
    topic = tx.witness(FINALITY, f"{reader_of(consumer, envelope.topic)}/{envelope.type}", DEAD_LETTERS)
    if not topic or tx.witness(name_of(envelope), consumer, DEAD) is not None:
        return
    tx.testify(name_of(envelope), consumer, DEAD, because)
    headers = _headers(envelope) | {
        "correlationid": run_of(envelope),
        "causationid": envelope.id,
        "deadsource": envelope.source,
        "deadtopic": envelope.topic,
        "deadconsumer": consumer,
        "deadattempts": str(attempts),
        "deadbecause": _short(because),
    }
    tx.publish(Published(topic, envelope.key, envelope.type, envelope.data, json.dumps(headers)))


def _headers(envelope: Envelope) -> dict[str, str]:
    told = attributes_of(envelope).items()
    return {name: value for name, value in told if name not in OWN and not name.startswith("retry")}


def _short(because: str) -> str:
    return " ".join(because.split())[:BECAUSE_LETTERS_MAX] or "no reason was given"
