"""Calls a reaction for an event, once: its effect, its answers and the inbox's witness are one commit.

```
              home store                    another store
   def        one turn                      a look at home, then one turn there
   async def  a look, then a scope          a look at both, then a scope there
```
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError, Refused
from finality.core.ids import Json
from finality.ports.environment import REACTION_AFTER, REACTION_BEFORE
from finality.ports.events import Published
from finality.ports.store import LocalTransaction, Scope
from finality.runtime.asked import Asked
from finality.runtime.context import Context
from finality.runtime.definition import Style
from finality.runtime.inbox import Arrived, Standing, Verdict, admit, conclude, settle, standing
from finality.runtime.reaction import ReactionCode
from finality.runtime.request import refusal
from finality.runtime.sourcing import personal
from finality.runtime.tracing import caused_in, span_of_reaction
from finality.runtime.within import within


@dataclass(frozen=True, slots=True)
class Kit:
    """What reactions need of the layers above.

    Attributes:
        turn_tx: Makes the ``tx`` of a plain function: what it publishes follows from that event.
        scope_tx: Makes the ``tx`` of an ``async`` one likewise.
        published: Makes an answer what is put into the outbox.
    """

    context: Context
    turn_tx: Callable[[LocalTransaction, Envelope], Any]
    scope_tx: Callable[[Scope, Envelope], Any]
    published: Callable[[ReactionCode, Envelope, Any], Published]


Looked = list[tuple[Verdict | None, Standing]]
Runs = Sequence[tuple[Arrived, Standing]]


class Overtaken(Exception):
    """Somebody else has dealt with an event while its function ran: nothing of this call may remain."""


class LookTurn(Asked[Looked]):
    """Asks the home store, or the store of the effect, whether events may run."""

    def __init__(self, kit: Kit, code: ReactionCode, arrived: Sequence[Arrived], *, is_home: bool) -> None:
        super().__init__(f"inbox of {code.consumer}", [])
        self._kit, self._code, self._arrived, self._is_home = kit, code, arrived, is_home

    def run(self, tx: LocalTransaction) -> None:
        """Look."""
        code, is_effect_here = self._code, (self._code.store is None) == self._is_home
        now = self._kit.context.environment.now()
        for each in self._arrived:
            verdict = admit(tx, code, each, now) if self._is_home else None
            there = Standing()
            if verdict is None and is_effect_here:
                there = standing(tx, code, each, is_home=self._is_home)
            self.answer.append((verdict, there))

    def forget(self) -> None:
        """Look anew."""
        self.answer = []


class ReactTurn(Asked[list[Verdict]]):
    """Runs a plain function in a turn of its store."""

    def __init__(self, kit: Kit, code: ReactionCode, arrived: Sequence[Arrived]) -> None:
        super().__init__(f"reaction {code.name} of {code.consumer}", [])
        self._kit, self._code, self._arrived = kit, code, arrived

    def run(self, tx: LocalTransaction) -> None:
        """Run what is to run, and leave its witnesses."""
        kit, code, is_home = self._kit, self._code, self._code.store is None
        now = kit.context.environment.now()
        verdicts: list[Verdict | None] = []
        runs: list[tuple[Arrived, Standing]] = []
        for each in self._arrived:
            verdict = admit(tx, code, each, now) if is_home else None
            if verdict is None:
                there = standing(tx, code, each, is_home=is_home)
                verdict = there.verdict
                if verdict is None:
                    runs.append((each, there))
                elif verdict is Verdict.LATE:
                    settle(tx, code.consumer, each, is_home=is_home)
            verdicts.append(verdict)
        if runs:
            kit.context.environment.reach(REACTION_BEFORE)
            with span_of_reaction(kit.context, code, [each.envelope for each, _ in runs]) as span:
                cause = caused_in(span, runs[0][0].envelope)
                if code.is_raw:
                    answer = code.function(tx, cause)
                else:
                    answer = code.function(kit.turn_tx(tx, cause), *arguments(kit, code, runs))
                leave(tx, kit, code, runs, cause, answer)
            kit.context.environment.reach(REACTION_AFTER)
        self.answer = [Verdict.DONE if verdict is None else verdict for verdict in verdicts]

    def forget(self) -> None:
        """Run again."""
        self.answer = []


class AnswerTurn(Asked[None]):
    """Ends the scope of an ``async`` function with its answers and witnesses."""

    def __init__(self, kit: Kit, code: ReactionCode, runs: Runs, cause: Envelope, answer: Any) -> None:
        super().__init__(f"reaction {code.name} of {code.consumer}", None)
        self._kit, self._code, self._runs, self._cause, self._answer = kit, code, runs, cause, answer

    def run(self, tx: LocalTransaction) -> None:
        """Leave them.

        Raises:
            Overtaken: It is not any more as it was when the function began.
        """
        code, is_home = self._code, self._code.store is None
        now = self._kit.context.environment.now()
        for each, there in self._runs:
            if is_home and admit(tx, code, each, now) is not None:
                raise Overtaken
            if standing(tx, code, each, is_home=is_home) != there:
                raise Overtaken
        leave(tx, self._kit, code, self._runs, self._cause, self._answer)


class RefuseTurn(Asked[list[Verdict]]):
    """Answers a request that its function has refused: nothing of the call remains but this."""

    def __init__(self, kit: Kit, code: ReactionCode, arrived: Arrived, because: str) -> None:
        super().__init__(f"refusal of reaction {code.name} of {code.consumer}", [])
        self._kit, self._code, self._arrived, self._because = kit, code, arrived, because

    def run(self, tx: LocalTransaction) -> None:
        """Publish the refusal, unless the request was dealt with meanwhile."""
        code, arrived, is_home = self._code, self._arrived, self._code.store is None
        verdict = admit(tx, code, arrived, self._kit.context.environment.now()) if is_home else None
        verdict = verdict or standing(tx, code, arrived, is_home=is_home).verdict
        if verdict is None:
            reply = code.reply(arrived.envelope)
            assert reply is not None, "only a request has somebody to hear of a refusal"
            tx.publish(refusal(arrived.envelope, reply, self._because))
            conclude(tx, code, arrived, None, is_home=is_home)
        self.answer = [verdict or Verdict.DONE]


def arguments(kit: Kit, code: ReactionCode, runs: Runs) -> list[Any]:
    """Return what a function is called with, behind ``tx``."""
    if code.is_batch:
        return [[each.value for each, _ in runs]]
    [(each, there)] = runs
    if not code.takes_answer:
        return [each.value]
    return [each.value, _undone(kit, code, there)]


def _undone(kit: Kit, code: ReactionCode, there: Standing) -> Any:
    assert code.against is not None, "only what undoes another takes its answer"
    if there.undoes is None:
        return None
    name, _, text = there.undoes.partition(" ")
    if name not in code.takes_answer:
        return None
    return kit.context.codec.decode(Json(text), code.against[1].answers[name])


def leave(
    tx: LocalTransaction, kit: Kit, code: ReactionCode, runs: Runs, cause: Envelope, answer: Any
) -> None:
    """Publish what a function has answered, and leave the witnesses of its events.

    Raises:
        DefinitionError: It has answered what its annotation does not say.
    """
    events = answers_of(code, answer)
    kept = None
    with personal.at(kit.context.codec, tx):
        for event in events:
            tx.publish(kit.published(code, cause, event))
        if events and code.is_answered_once:
            kept = Json(f"{type(events[0]).__name__} {kit.context.codec.encode(events[0])}")
    for each, _ in runs:
        conclude(tx, code, each, kept, is_home=code.store is None)


def answers_of(code: ReactionCode, answer: Any) -> list[Any]:
    """Return the events that a function has answered.

    Raises:
        DefinitionError: It has answered what its annotation does not say.
    """
    events = [] if answer is None else answer if isinstance(answer, list) else [answer]
    for event in events:
        if type(event) is not code.answers.get(type(event).__name__):
            said = " | ".join(code.answers) or "None"
            raise DefinitionError(
                f"reaction {code.name!r} returned a {type(event).__name__}, and its annotation says {said}: "
                "say all that it may return; nothing of it remains"
            )
    if not events and not code.may_be_silent:
        raise DefinitionError(
            f"reaction {code.name!r} returned nothing, and its annotation does not say None: add | None; "
            "nothing of it remains"
        )
    return events


class Reacting:
    """Calls reactions."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def react(self, code: ReactionCode, arrived: Sequence[Arrived]) -> list[Verdict]:
        """Call the reaction for events of one lane that have not run yet; return what became of each.

        Raises:
            Exception: Whatever the function raises; nothing of it remains.
        """
        if code.style is Style.TURN and code.store is None:
            return await self._or_refused(code, arrived, self._turn(code, arrived))
        looked = await self._look(code, arrived, is_home=True)
        verdicts = [verdict or there.verdict for verdict, there in looked]
        open_ = [place for place, verdict in enumerate(verdicts) if verdict in (None, Verdict.LATE)]
        runs = [arrived[place] for place in open_]
        if runs:
            running = self._run(code, runs, [looked[place] for place in open_])
            ran = await self._or_refused(code, runs, running)
            for place, verdict in zip(open_, ran, strict=True):
                verdicts[place] = verdict
        if code.store is not None:  # What ran there is parked or moved here still.
            await self._settle(code, [each for each in runs if each.place or each.moved], is_home=True)
        return [verdict for verdict in verdicts if verdict is not None]

    async def _or_refused(
        self, code: ReactionCode, arrived: Sequence[Arrived], running: Awaitable[list[Verdict]]
    ) -> list[Verdict]:
        """Return what became of events; what refuses a request is told to whoever has made it."""
        try:
            return await running
        except Refused as error:
            if code.reply(arrived[0].envelope) is None:
                raise
            turn = RefuseTurn(self._kit, code, arrived[0], error.because)
        self._kit.context.store_of(code.store).submit(turn)
        return await turn.done

    async def _run(self, code: ReactionCode, runs: Sequence[Arrived], looked: Looked) -> list[Verdict]:
        if code.style is Style.TURN:
            return await self._turn(code, runs)
        if code.store is not None:
            looked = await self._look(code, runs, is_home=False)
        return await self._scope(code, runs, [there for _, there in looked])

    async def _turn(self, code: ReactionCode, arrived: Sequence[Arrived]) -> list[Verdict]:
        turn = ReactTurn(self._kit, code, arrived)
        self._kit.context.store_of(code.store).submit(turn)
        verdicts = await turn.done
        if code.heard is not None:
            code.heard(arrived)
        return verdicts

    async def _scope(
        self, code: ReactionCode, arrived: Sequence[Arrived], found: Sequence[Standing]
    ) -> list[Verdict]:
        kit, reach = self._kit, self._kit.context.environment.reach
        pairs = list(zip(arrived, found, strict=True))
        late = [each for each, there in pairs if there.verdict is Verdict.LATE]
        await self._settle(code, late, is_home=code.store is None)
        runs = [(each, there) for each, there in pairs if there.verdict is None]
        if runs:
            scope = kit.context.store_of(code.store).scope(f"reaction {code.name} of {code.consumer}")
            try:
                reach(REACTION_BEFORE)
                with span_of_reaction(kit.context, code, [each.envelope for each, _ in runs]) as span:
                    cause = caused_in(span, runs[0][0].envelope)
                    tx = kit.scope_tx(scope, cause)
                    work = code.function(tx, *arguments(kit, code, runs))
                    answer = await within(code.timeout_seconds, work)
                    reach(REACTION_AFTER)
                    await scope.commit(AnswerTurn(kit, code, runs, cause, answer))
            except BaseException:
                await asyncio.shield(scope.abort())
                raise
        return [there.verdict or Verdict.DONE for _, there in pairs]

    async def _look(self, code: ReactionCode, arrived: Sequence[Arrived], *, is_home: bool) -> Looked:
        turn = LookTurn(self._kit, code, arrived, is_home=is_home)
        self._kit.context.store_of(None if is_home else code.store).submit(turn)
        return await turn.done

    async def _settle(self, code: ReactionCode, arrived: Sequence[Arrived], *, is_home: bool) -> None:
        """Say that events are done with, in the store of the effect or at home."""
        if arrived:
            turn = SettleTurn(code.consumer, arrived, is_home=is_home)
            self._kit.context.store_of(None if is_home else code.store).submit(turn)
            await turn.done


class SettleTurn(Asked[None]):
    """Says of events that they are done with."""

    def __init__(self, consumer: str, arrived: Sequence[Arrived], *, is_home: bool) -> None:
        super().__init__(f"inbox of {consumer}", None)
        self._consumer, self._arrived, self._is_home = consumer, arrived, is_home

    def run(self, tx: LocalTransaction) -> None:
        """Say so."""
        for each in self._arrived:
            settle(tx, self._consumer, each, is_home=self._is_home)
