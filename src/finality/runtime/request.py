"""Turns about requests: one begins in the commit that publishes it, hears its answer, and keeps its deadline.

```
   begin ──▶ stream of the request + its head (wakes at the deadline) + outbox, in one commit
   hear ◀── topic of replies, by the inbox     ─┬─▶ whichever is first is its end
   KeepTurn ◀── claimed at the deadline        ─┘
```
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError, InputMismatch
from finality.core.ids import TransactionId, Version
from finality.core.protocol import fold
from finality.core.request import (
    DEFINITION,
    KIND,
    REFUSAL_TYPE,
    AnswerCame,
    DeadlineCame,
    RefusalCame,
    Reply,
    Requested,
    RequestSignal,
    RequestState,
    decide,
    evolve,
    replies_of,
    summary_of,
)
from finality.ports.codec import Codec, DecodeError
from finality.ports.events import Published
from finality.ports.home import Birth, HomeTransaction
from finality.runtime.asked import Asked
from finality.runtime.inbox import run_of
from finality.runtime.relay import name_of_store

BRANCH = KIND, "stream"  # The branch and operation of the witness that says which stream a request has.


def replies_at(tx: Any, id: TransactionId) -> str:
    """Return the topic on which a home awaits answers; the first request of one may give it its name.

    Raises:
        DefinitionError: This is not the home store.
    """
    if not hasattr(tx, "create"):
        raise DefinitionError(
            f"request {id} cannot be made here: its answer is awaited in the home store; make it in a "
            "transaction of that one"
        )
    # Such as nobody else could make: a node's id has random bits in it.
    new = sha256(f"{tx.node}/{id}/{tx.at}".encode()).hexdigest()[:24]
    return replies_of(name_of_store(tx, new))


def begin(
    tx: HomeTransaction, id: TransactionId, requested: Requested, event: Published, *, is_awaited: bool
) -> Requested:
    """Begin a request and publish it, in this very commit; return it, or the one that has the id already.

    Args:
        is_awaited: A node hears of its answers already; otherwise it is claimed at once, by the node that
            writes or whichever takes it over, which begins to listen.

    Raises:
        InputMismatch: The id is taken by something else.
    """
    known = tx.witness(id, *BRANCH)
    if known is not None:
        first: Requested = tx.read(int(known))[0].event
        return first
    tx.define(KIND, DEFINITION, "")
    summary = summary_of(RequestState(requested))
    birth = Birth(id, KIND, DEFINITION, driver=tx.node)
    key = tx.create(birth, [requested], summary if is_awaited else replace(summary, wake_at=0.0))
    if key is None:
        raise InputMismatch(
            f"id {id} is taken by a transaction that is no request: an id stands for one transaction for "
            "ever; choose another",
            transaction_id=id,
        )
    tx.testify(id, *BRANCH, str(key))
    tx.publish(event)
    return requested


def refusal(event: Envelope, reply: Reply, because: str) -> Published:
    """Return what tells whoever asked that *event* is refused."""
    headers = {"correlationid": run_of(event), "causationid": event.id}
    if event.traceparent is not None:
        headers["traceparent"] = event.traceparent
    data = json.dumps({"because": because}).encode()
    return Published(reply.topic, run_of(event), REFUSAL_TYPE, data, json.dumps(headers))


def hear(tx: HomeTransaction, codec: Codec, event: Envelope, now: float) -> None:
    """Record an answer, unless it changes nothing; in a turn of the home store.

    Raises:
        DefinitionError: Nobody can read it.
    """
    known = tx.witness(run_of(event), *BRANCH)
    if known is not None:  # Else nobody has asked here: its home was set back, or somebody made it up.
        _tell(tx, int(known), _signal(codec, event, now))


def _signal(codec: Codec, event: Envelope, now: float) -> RequestSignal:
    try:
        value = codec.unpack(event.data, event.content_type, Any)
        if event.type == REFUSAL_TYPE:
            return RefusalCame(str(value["because"]), event.source, now)
        return AnswerCame(event.type, codec.encode(value), event.source, now)
    except (DecodeError, TypeError, KeyError) as error:
        raise DefinitionError(f"the answer {event.id} cannot be read: {error!r}") from error


def _tell(tx: HomeTransaction, key: int, signal: RequestSignal) -> RequestState:
    """Let a request hear *signal*; return what it comes to."""
    told = [item.event for item in tx.read(key)]
    state = state_of(told)
    events = decide(state, signal)
    if events:
        state = fold(evolve, state, events)
        tx.append(key, events, expected=Version(len(told)), summary=summary_of(state))
    return state


def state_of(told: Sequence[Any]) -> RequestState:
    """Return the state of the request whose events are *told*, at least the first."""
    state: RequestState | None = None
    for event in told:
        state = evolve(state, event)
    assert state is not None, "the stream of a request begins with it"
    return state


class KeepTurn(Asked[list[TransactionId]]):
    """Keeps the deadlines of requests that were claimed; answers with those that have ended."""

    def __init__(self, keys: Sequence[int], now: float) -> None:
        super().__init__("deadlines of requests", [])
        self._keys, self._now = keys, now

    def run(self, tx: HomeTransaction) -> None:
        """Record what has passed, and let the others sleep until their time has come."""
        self.answer = []
        for key in self._keys:
            state = _tell(tx, key, DeadlineCame(self._now))
            if state.end is None:
                tx.set_wake(key, state.requested.deadline)
            else:
                self.answer.append(tx.head(key).id)
