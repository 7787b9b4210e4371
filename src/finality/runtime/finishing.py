"""Tells branches what was decided, and records what they have really done."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from finality.core.errors import FinalityError, Unavailable
from finality.core.two_phase import (
    Decision,
    Finish,
    FinishBranch,
    outstanding,
)
from finality.ports.environment import FINISH_AFTER, FINISH_BEFORE, Environment
from finality.ports.participant import Branch, BranchId, Participant
from finality.runtime.decisions import Decisions, Known, heard_by
from finality.runtime.together import together

log = logging.getLogger("finality.two_phase")


class Finisher:
    """Finishes the branches of decided transactions; any number of nodes may do so at once."""

    def __init__(
        self,
        participants: Mapping[str, Participant[Branch]],
        decisions: Decisions,
        environment: Environment,
    ) -> None:
        self._participants = participants
        self._decisions = decisions
        self._environment = environment

    async def finish(self, known: Known) -> Known:
        """Tell every branch that has not heard, and record the answers; return what is known then.

        A branch whose participant is out of reach is left for the next sweep.
        """
        return await self.record(known, await self.tell(known))

    async def tell(self, known: Known) -> list[Finish]:
        """Tell every branch that has not heard; return the answers that came."""
        commands = [command for command in outstanding(known.state) if isinstance(command, FinishBranch)]
        if not commands:
            return []
        home = await self._decisions.identity()
        answers = await together(self._tell(home, known, command) for command in commands)
        return [answer for answer in answers if answer is not None]

    async def record(self, known: Known, heard: Sequence[Finish]) -> Known:
        """Record what branches have answered. What cannot be recorded now, a sweep asks again."""
        try:
            return await self._decisions.hear(known, heard)
        except FinalityError as error:
            log.warning("what became of transaction %s could not be recorded: %s", known.id, error)
            return heard_by(known, heard)[1]

    async def _tell(self, home: str, known: Known, command: FinishBranch) -> Finish | None:
        branch = BranchId.named(home, known.id, command.branch)
        participant = self._participants.get(branch.participant)
        if participant is None:
            log.warning(
                "branch %s of transaction %s waits for the decision %s: this node has no participant %r",
                command.branch, known.id, command.decision.value, branch.participant,
            )  # fmt: skip
            return None
        self._environment.reach(FINISH_BEFORE)
        try:
            did = await participant.finish(branch, command.decision)
        except Unavailable as error:
            log.warning("branch %s has not heard its decision yet: %s", branch, error)
            return None
        self._environment.reach(FINISH_AFTER)
        if did is not command.decision:
            log.error("%s", diverged(known, command.branch, command.decision, did))
        return Finish(command.branch, did)


def diverged(known: Known, branch: str, decision: Decision, did: Decision) -> str:
    """Say that somebody has finished a branch against the decision."""
    past = {Decision.COMMIT: "committed", Decision.ABORT: "aborted"}
    return (
        f"branch {branch} of transaction {known.id} is {past[did]}, and {decision.value} was decided: "
        "somebody has finished it by hand; put the data right, then "
        f'`finality transaction resolve {known.id} {decision.value} --because "…"`'
    )
