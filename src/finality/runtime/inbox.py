"""The inbox: whether an event may run in a store, and what stays behind when it has.

```
    delivered ─▶ known? ─▶ no longer ─▶ behind a ─▶ late in ─▶ effect + answers + witness
                   │       awaited?     parked one?   its run?   one commit
                   │          │             │           │
                  pass   pass, witness     park        pass
```

The witness of an event stands in the very commit of its effect: duplicates, what is delivered again
after a crash, and two consumers at once all find it. What is parked has a witness in the home store, so
that its redelivery passes; it is replaced when the event has run.

Source: Life beyond Distributed Transactions, P. Helland, 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from finality.core.envelope import Envelope
from finality.core.ids import Json, TransactionId
from finality.core.participant import Answer, Operation, Proceed, Witness, answer_to
from finality.ports.events import REACTION
from finality.ports.store import LocalTransaction
from finality.runtime.envelopes import parked_of
from finality.runtime.reaction import Against, ReactionCode
from finality.runtime.witness import NULL

DONE, PARKED, DISCARDED, EXPIRED = "done", "parked", "discarded", "expired"
"""What a witness of an event says became of it."""
MOVED = "moved"  # To a retry topic, after so many attempts.
RUN = {Operation.ACTION: "reaction.action", Operation.COMPENSATION: "reaction.compensation"}


class Verdict(Enum):
    """What became of an event.

    DONE: it has run now. KNOWN: it was dealt with before. BEHIND: it is parked behind another of its
    key. PARKED: it was put aside. LATE: its run has turned back, or has gone on without it. EXPIRED: it
    is a request, and nobody awaits its answer any more.
    """

    DONE = "done"
    KNOWN = "known"
    BEHIND = "behind"
    PARKED = "parked"
    LATE = "late"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event that is to run.

    Attributes:
        reader: Whose it is: a consumer in a topic.
        value: What its data stands for.
        place: Where it is parked, if it is tried again from there.
        moved: After how many attempts it was moved to the retry topic that it comes from; 0: it was not.
    """

    reader: str
    envelope: Envelope
    value: Any
    place: int | None = None
    moved: int = 0

    @property
    def awaited(self) -> str | None:
        """Return what the inbox says of it as long as it has not been dealt with here."""
        return f"{MOVED} {self.moved}" if self.moved else None


def name_of(envelope: Envelope) -> TransactionId:
    """Return what the inbox knows an event by."""
    return TransactionId(f"{envelope.source}#{envelope.id}")


def run_of(envelope: Envelope) -> TransactionId:
    """Return the run that an event is part of; the first event of one gives it its name."""
    return TransactionId(envelope.correlation_id or envelope.id)


def admit(tx: LocalTransaction, code: ReactionCode, arrived: Arrived, at: float) -> Verdict | None:
    """Return why an event does not run now, as the home store knows it; None if it does."""
    envelope, place, consumer = arrived.envelope, arrived.place, code.consumer
    known = tx.witness(name_of(envelope), consumer, REACTION)
    reply = code.reply(envelope)
    is_over = reply is not None and reply.is_over(at)
    if place is None:
        if known != arrived.awaited:
            return Verdict.KNOWN
        if is_over:
            say(tx, consumer, envelope, EXPIRED)
            return Verdict.EXPIRED
        if envelope.key and tx.parked(arrived.reader, envelope.topic, envelope.key):
            put_aside(tx, consumer, arrived, at)
            return Verdict.BEHIND
        return None
    if tx.parked_at(place) is None:
        return Verdict.KNOWN
    if known == DONE:
        tx.unpark(place)
        return Verdict.KNOWN
    if is_over:
        say(tx, consumer, envelope, EXPIRED)
        tx.unpark(place)
        return Verdict.EXPIRED
    first = tx.parked(arrived.reader, envelope.topic, envelope.key) if envelope.key else []
    return Verdict.BEHIND if first and first[0].place != place else None


def put_aside(
    tx: LocalTransaction, consumer: str, arrived: Arrived, at: float, *,
    because: str = "", attempts: int = 0, retry_at: float | None = None, holds_key: bool = True,
) -> None:  # fmt: skip
    """Park an event that is not parked yet, behind those of its key; in the home store.

    Args:
        holds_key: What comes behind it in its key is parked, too.
    """
    row = parked_of(arrived.envelope, arrived.reader, because, at)
    row = row._replace(attempts=attempts, retry_at=retry_at)
    tx.park(row if holds_key else row._replace(key=""))
    say(tx, consumer, arrived.envelope, PARKED)


def say(tx: LocalTransaction, consumer: str, envelope: Envelope, what: str) -> None:
    """Leave the witness of an event, in place of an earlier one."""
    tx.retract(name_of(envelope), consumer, REACTION)
    tx.testify(name_of(envelope), consumer, REACTION, what)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store of a reaction's effect says before it runs.

    Attributes:
        verdict: Why it does not run; None if it does.
        undoes: What the reaction that it undoes has answered, if it has.
    """

    verdict: Verdict | None = None
    undoes: Json | None = None


def standing(tx: LocalTransaction, code: ReactionCode, arrived: Arrived, *, is_home: bool) -> Standing:
    """Return whether a reaction runs, as the store of its effect knows it."""
    if not is_home and tx.witness(name_of(arrived.envelope), code.consumer, REACTION) is not None:
        return Standing(Verdict.KNOWN)  # The home store was asked by ``admit``.
    run = run_of(arrived.envelope)
    if code.against is not None:
        kind, other = code.against
        witness = _witness(tx, run, other.branch)
        if kind is Against.UNLESS and witness.action is not None:
            return Standing(Verdict.LATE)
        reply = answer_to(witness, Operation.COMPENSATION)
        if not isinstance(reply, Proceed):
            return Standing(Verdict.LATE)
        return Standing(undoes=reply.undoes.value if reply.undoes is not None else None)
    if code.is_answered_once:
        reply = answer_to(_witness(tx, run, code.branch), Operation.ACTION)
        return Standing(None if isinstance(reply, Proceed) else Verdict.LATE)
    return Standing()


def conclude(
    tx: LocalTransaction, code: ReactionCode, arrived: Arrived, kept: Json | None, *, is_home: bool
) -> None:
    """Leave the witnesses of a reaction that has run, in the commit of its effect.

    Args:
        kept: What it has answered, with its type; None: nothing.
    """
    run = run_of(arrived.envelope)
    if code.against is not None:
        tx.testify(run, code.against[1].branch, RUN[Operation.COMPENSATION], NULL)
    elif code.is_answered_once and kept is not None:
        tx.testify(run, code.branch, RUN[Operation.ACTION], kept)
    settle(tx, code.consumer, arrived, is_home=is_home)


def settle(tx: LocalTransaction, consumer: str, arrived: Arrived, *, is_home: bool) -> None:
    """Say that an event is done with."""
    say(tx, consumer, arrived.envelope, DONE)
    if is_home and arrived.place is not None:
        tx.unpark(arrived.place)


def _witness(tx: LocalTransaction, run: TransactionId, branch: str) -> Witness:
    said = {operation: tx.witness(run, branch, name) for operation, name in RUN.items()}
    action, undone = said[Operation.ACTION], said[Operation.COMPENSATION]
    return Witness(
        None if action is None else Answer(Json(action)), None if undone is None else Answer(Json(undone))
    )
