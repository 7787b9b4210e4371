"""Requests at the node: something is asked of whoever reacts to a topic, and the answer is awaited."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from finality.core import request as r
from finality.core.errors import DeadlinePassed, InputMismatch, OutcomeUnknown, Refused
from finality.core.ids import TransactionId
from finality.node.life import Life
from finality.patterns.request import Question, RequestTurn
from finality.ports.codec import DecodeError
from finality.runtime.request import state_of
from finality.runtime.restraint import check_not_projecting

A = TypeVar("A")


class Requesting(Life):
    """What a node does with requests."""

    async def request(
        self,
        topic: str,
        question: Any,
        *,
        answer: type[A],
        within: timedelta,
        key: str = "",
        id: str | None = None,
    ) -> A:
        """Ask whoever reacts to *topic* and return the answer, which is an event of the class *answer*.

        It is durable before it is sent: if this process dies, ``answer`` awaits what it says, at any
        node of the same home. The same id with the same input asks once, and returns the same answer.
        Do not await it inside a transaction, which would hold the store meanwhile: ``tx.request`` asks there.

        Args:
            within: When an answer counts no more, from now on; a day at most.
            key: Events of one key keep their order.
            id: Chosen by the caller to ask once; by default a new UUID.

        Raises:
            Refused: Whoever was asked has said no; ``because`` says why.
            DeadlinePassed: There was no answer in time. Whoever was asked may have acted all the same.
            InputMismatch: The id is taken by something else, or the answer is none of *answer*.
            DefinitionError: The node has no broker, or *within* is no time to wait.
            LimitExceeded: The question is too large; nothing was asked.
            Unavailable: The store is out of reach, and nothing was asked; or the node was closed meanwhile.
            OutcomeUnknown: It may have been asked; ask for the answer by its id.
        """
        check_not_projecting("make a request")
        if not self._is_open:
            await self.opened()
        requests, tracing = self._insides.requests, self.settings.tracing
        asked = Question(self._codec, topic, question, key, within, id or self._new_id())
        if not self.settings.is_observer:  # Else another node of the home does.
            await requests.listen()
        with tracing.request(topic, asked.id):
            turn = RequestTurn(asked)
            self._context.home.submit(turn)
            try:
                first = await turn.done
            except OutcomeUnknown as error:
                raise OutcomeUnknown(str(error), transaction_id=asked.id) from error
            assert first is not None, f"request {asked.id} was made"
            requests.begun(first.deadline)
            return await self._answered(asked.id, answer)

    async def answer(self, id: str, answer: type[A]) -> A:
        """Await the answer to a request that was made before, by this node or another one of its home.

        Raises:
            NotFound: No request has this id.
            Refused: Whoever was asked has said no.
            DeadlinePassed: There was no answer in time.
            InputMismatch: The answer is none of *answer*.
            Unavailable: The store is out of reach, or the node was closed: ask again.
        """
        await self.opened()
        return await self._answered(TransactionId(id), answer)

    async def _answered(self, id: TransactionId, answer: type[A]) -> A:
        views, waiting = self._views, self._coordinator.waiting
        while not (head := await views.request(id)).has_ended:
            ended = waiting.future(id)
            if not (await views.request(id)).has_ended:
                await ended
        state = state_of([recorded.event for recorded in await views.history(head)])
        topic = state.requested.topic
        match state.end:
            case r.Answered(type_, value, _):
                try:
                    if type_ != answer.__name__:
                        raise DecodeError("it is of another type")
                    found: A = self._codec.decode(value, answer)
                    return found
                except DecodeError as error:
                    raise InputMismatch(
                        f"request {id} to {topic} was answered with a {type_}, which is read as no "
                        f"{answer.__name__}: {error}; ask for it with `node.answer({id!r}, {type_})`",
                        transaction_id=id,
                    ) from error
            case r.Refused(because, _):
                raise Refused(because, branch=topic, transaction_id=id)
            case _:
                raise DeadlinePassed(
                    f"request {id} to {topic} has no answer: its deadline passed; whoever reacts to {topic} "
                    "may have acted all the same, so ask again under another id only if that does no harm "
                    f"(`finality transaction explain {id}` says more)",
                    transaction_id=id,
                )
