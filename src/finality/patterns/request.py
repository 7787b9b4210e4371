"""A request as it is made: a question that is published in a commit, and where its answer is awaited.

```
    quote = await node.request("quotes", GetQuote("ada"), answer=Quote, within=timedelta(seconds=2))

    tx.request("quotes", GetQuote("ada"), id="quote-7", within=timedelta(hours=1))   # in this commit
    quote = await node.answer("quote-7", Quote)                                      # later, anywhere
```
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from finality.adapters.opentelemetry.trace_context import current_traceparent
from finality.core.errors import DefinitionError, InputMismatch
from finality.core.ids import Json, TransactionId
from finality.core.request import Reply, Requested, reply_headers
from finality.patterns.options import positive
from finality.patterns.outbox import NOWHERE, Origin, published
from finality.patterns.tx_part import TxPart
from finality.ports.codec import Codec, DecodeError
from finality.ports.home import HomeTransaction
from finality.ports.store import LocalTransaction
from finality.runtime.asked import Asked
from finality.runtime.request import begin, replies_at
from finality.runtime.sourcing import personal

REQUEST_SECONDS_MAX = 86_400.0  # What takes longer is a saga: it can be seen, helped and undone.


class Question:
    """What is asked, checked as far as it can be without a store.

    Raises:
        DefinitionError: *within* is no time to wait for an answer.
    """

    def __init__(self, codec: Codec, topic: str, value: Any, key: str, within: timedelta, id: str) -> None:
        positive(within, f"the time within which {topic!r} is to answer")
        if within.total_seconds() > REQUEST_SECONDS_MAX:
            raise DefinitionError(
                f"the time within which {topic!r} is to answer is {within}: an answer is awaited "
                "for a day at most; make what takes longer a saga that waits for a signal"
            )
        self.id = TransactionId(id)
        self._codec = codec
        self._topic, self._value, self._key, self._within = topic, value, key, within.total_seconds()

    def ask(self, tx: Any, origin: Origin, *, is_awaited: bool) -> Requested:
        """Ask it in this very commit, unless it was; return it as it was asked first.

        Raises:
            InputMismatch: The id is taken by something else.
            DefinitionError: This is not the home store, or the topic has no name that every broker could
                carry.
        """
        reply = Reply(replies_at(tx, self.id), tx.at + self._within)
        origin = origin._replace(correlation_id=self.id, causation_id=origin.causation_id or self.id)
        with personal.at(self._codec, tx):
            event = published(
                self._codec,
                self._topic,
                self._value,
                key=self._key,
                headers=reply_headers(reply),
                origin=origin,
            )
            asked = Requested(
                self._topic, self._key, event.type, Json(event.data.decode()), reply.topic, reply.deadline
            )
            first = begin(tx, self.id, asked, event, is_awaited=is_awaited)
            if not self._is_same(first, asked):
                raise InputMismatch(
                    f"id {self.id} is taken by another request, a {first.type} to {first.topic}: "
                    "an id stands for one request for ever; choose another, or ask what was asked",
                    transaction_id=self.id,
                )
        return first

    def _is_same(self, first: Requested, asked: Requested) -> bool:
        if (first.topic, first.key, first.type) != (asked.topic, asked.key, asked.type):
            return False
        if first.input == asked.input:
            return True
        try:
            # Compared as values: sealed data and the order of a set differ from text to text.
            return bool(self._codec.decode(first.input, type(self._value)) == self._value)
        except DecodeError:
            return False


class RequestTurn(Asked[Requested | None]):
    """Makes a request by itself; answers with it as it was made first."""

    def __init__(self, question: Question) -> None:
        super().__init__(f"request {question.id}", None)
        self._question = question
        self._origin = NOWHERE._replace(traceparent=current_traceparent())  # The store's thread knows none.

    def run(self, tx: HomeTransaction) -> None:
        """Make it."""
        self.answer = self._question.ask(tx, self._origin, is_awaited=True)


class SyncRequests:
    """Requests for plain functions; a part of ``SyncTx``."""

    _local: LocalTransaction
    _codec: Codec
    _origin: Origin

    def request(self, topic: str, question: Any, *, id: str, within: timedelta, key: str = "") -> None:
        """Ask whoever reacts to *topic*, in this very commit; ``node.answer(id, …)`` awaits what it says.

        The same id with the same input asks once, however often the transaction is run.

        Args:
            id: By which the answer is asked for.
            within: When an answer counts no more, from now on; a day at most.
            key: Events of one key keep their order.

        Raises:
            InputMismatch: The id is taken by something else.
            DefinitionError: This is not the home store, or the topic has no name that every broker could
                carry.
        """
        Question(self._codec, topic, question, key, within, id).ask(
            self._local, self._origin, is_awaited=False
        )


class AsyncRequests(TxPart):
    """Requests for ``async`` functions; a part of ``Tx``."""

    _codec: Codec
    _origin: Origin

    async def request(self, topic: str, question: Any, *, id: str, within: timedelta, key: str = "") -> None:
        """Ask whoever reacts to *topic*, in this very commit. See ``SyncTx.request``.

        Raises:
            InputMismatch: The id is taken by something else.
            DefinitionError: This is not the home store, or the topic has no name that every broker could
                carry.
        """
        asked = Question(self._codec, topic, question, key, within, id)
        origin = self._origin._replace(traceparent=self._origin.traceparent or current_traceparent())
        await self._call(lambda local: asked.ask(local, origin, is_awaited=False))
