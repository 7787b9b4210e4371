"""Known mistakes of requests, planted into ours: the simulation must catch every one of them.

python -m tests.sim.planted_requests        prints the table of docs/internals/planted-bugs.md
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from finality.core.request import AnswerCame, RefusalCame, decide
from finality.core.saga.events import TakenOver
from finality.patterns import request as patterns_request
from finality.runtime import reacting, request
from finality.runtime.asked import Asked
from finality.runtime.reacting import Reacting
from finality.runtime.request import KeepTurn
from tests.sim.planted_relay import Patch, print_table
from tests.sim.requests import simulate


def late_answer_counts(patch: Patch) -> None:
    """An answer counts that comes after the deadline, if nobody has recorded that one yet."""

    def lenient(state: Any, signal: Any) -> Any:
        is_answer = isinstance(signal, AnswerCame | RefusalCame)
        return decide(state, replace(signal, now=-math.inf) if is_answer else signal)

    patch.setattr(request, "decide", lenient)


def answered_behind_the_commit(patch: Patch) -> None:
    """The effect of a request is committed first, and its answer in a transaction of its own behind it."""
    leave, react = reacting.leave, Reacting.react
    unsent: dict[tuple[int, str], Any] = {}

    class SendTurn(Asked[None]):
        def __init__(self, event: Any) -> None:
            super().__init__("an answer behind its effect", None)
            self._event = event

        def run(self, tx: Any) -> None:
            tx.publish(self._event)

    def leave_effect(tx: Any, kit: Any, code: Any, runs: Any, cause: Any, answer: Any) -> None:
        if answer is not None:
            unsent[id(kit), cause.id] = kit.published(code, cause, answer)
            code = replace(code, may_be_silent=True)
        leave(tx, kit, code, runs, cause, None)

    async def react_and_answer(self: Reacting, code: Any, arrived: Any) -> Any:
        verdicts = await react(self, code, arrived)
        for each in arrived:
            if (event := unsent.pop((id(self._kit), each.envelope.id), None)) is not None:
                turn = SendTurn(event)
                self._kit.context.store_of(code.store).submit(turn)
                await turn.done
        return verdicts

    patch.setattr(reacting, "leave", leave_effect)
    patch.setattr(Reacting, "react", react_and_answer)


def deadline_dies_with_who_asked(patch: Patch) -> None:
    """A node that takes requests over from a dead one leaves their deadlines to that one."""
    real = KeepTurn.run

    def run(self: KeepTurn, tx: Any) -> None:
        own = [key for key in self._keys if all(type(each.event) is not TakenOver for each in tx.read(key))]
        self._keys = own
        real(self, tx)

    patch.setattr(KeepTurn, "run", run)


def asked_again_is_sent_again(patch: Patch) -> None:
    """A request that is made again under its id is sent again."""
    real = request.begin

    def begin(tx: Any, id: Any, requested: Any, event: Any, **named: Any) -> Any:
        if tx.witness(id, *request.BRANCH) is not None:
            tx.publish(event)
        return real(tx, id, requested, event, **named)

    patch.setattr(patterns_request, "begin", begin)


PLANTED = (
    late_answer_counts,
    answered_behind_the_commit,
    deadline_dies_with_who_asked,
    asked_again_is_sent_again,
)


if __name__ == "__main__":
    print_table(PLANTED, simulate)
