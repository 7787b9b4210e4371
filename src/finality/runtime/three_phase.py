"""One transaction by three-phase commit, as its coordinator drives it.

```
    vote (all at once) ──▶ pre-commit (all at once) ──▶ record the outcome ──▶ finish
```

What is decided in ``core.three_phase`` is done here. Nothing is recorded before the outcome: if
this process dies, the agents end the transaction, and ``node.decision`` hears it from them.
"""

from __future__ import annotations

import asyncio
import logging

from finality.core.errors import (
    Conflict,
    DeadlinePassed,
    DefinitionError,
    FinalityError,
    HeuristicOutcome,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from finality.core.ids import TransactionId
from finality.core.protocol import fold
from finality.core.three_phase import coordinator as core
from finality.core.three_phase.standing import AskPreCommit, AskStanding
from finality.core.two_phase import Decided, Decision, Vote
from finality.ports.agent import Address, RunsAgent
from finality.ports.environment import PRE_COMMIT_AFTER, PREPARE_AFTER, PREPARE_BEFORE
from finality.ports.participant import Branch, Participant
from finality.ports.store import Scope
from finality.runtime.commitment import B, Commitment, Commitments

log = logging.getLogger("finality.three_phase")

ASK_SECONDS_MAX = 30.0  # For the agents to end it, once they have taken it out of our hands.
LOOK_SECONDS = 0.1


class ThreePhaseCommitment(Commitment):
    """Fulfils the block of one transaction."""

    takes_home_work = False

    def __init__(
        self, node: Commitments, id: TransactionId, deadline: float | None, *, silence: float
    ) -> None:
        super().__init__(node, id, deadline)
        self._silence = silence

    async def enlist(self, participant: Participant[B], *, is_new: bool = False) -> B:
        """Begin a branch at a participant that runs an agent.

        Raises:
            DefinitionError: It runs none.
        """
        if not isinstance(participant, RunsAgent) or await participant.agent_url() is None:
            raise DefinitionError(
                f"participant {participant.name!r} cannot take part in three-phase commit: it runs no agent "
                "to end the transaction when the coordinator is gone; use a service that has agents_token=, "
                "or two-phase commit"
            )
        return await super().enlist(participant, is_new=is_new)

    async def commit(self, scope: Scope | None) -> None:
        """Let all branches commit; raises as ``Commitment.commit``."""
        assert scope is None, "work in the home store is refused by its first statement"
        await self._look_at_branches()
        if not self._branches:
            return
        self._three = core.NEW
        self._called_at = self._node.environment.now()
        self._asking_since = 0.0
        try:
            self._line = [await self._address(branch) for branch in self._branches.values()]
            self._tell(core.Begin(tuple(self._branches)))
            await self._drive()
            await self._end()
        finally:
            self._node.under_way.discard(self.id)

    async def _look_at_branches(self) -> None:
        """Leave out what holds nothing, and give up if one is not sure of what it holds."""
        try:
            votes = {name: await branch.prepare() for name, branch in self._branches.items()}
        except FinalityError as error:
            self._fail(error)
            await self.abort(str(error))
            raise self._aborted() from error
        self._branches = {name: self._branches[name] for name, vote in votes.items() if vote is Vote.YES}

    async def _address(self, branch: Branch) -> Address:
        url = await self._agent(branch.id.name).agent_url()
        if url is None:
            raise Unavailable(f"participant {branch.id.participant} runs no agent any more")
        return Address(branch.id.name, url, str(branch.id))

    def _agent(self, name: str) -> RunsAgent:
        participant = self._node.participants[self._branches[name].id.participant]
        assert isinstance(participant, RunsAgent), f"{name} was enlisted"
        return participant

    def _tell(self, signal: core.CoordinatorSignal) -> None:
        self._three = fold(core.evolve, self._three, core.decide(self._three, signal))

    async def _drive(self) -> None:
        while self._three.decision is None:
            commands = core.outstanding(self._three)
            await asyncio.gather(*map(self._obey, commands))
            if any(isinstance(command, AskStanding) for command in commands):
                self._see_that_it_ends()
            if core.outstanding(self._three) == commands:
                await asyncio.sleep(LOOK_SECONDS)

    def _see_that_it_ends(self) -> None:
        now = self._node.environment.now()
        self._asking_since = self._asking_since or now
        if now - self._asking_since > ASK_SECONDS_MAX:
            raise self._unknown(Unavailable("its agents have to end it, and have not"))

    def _seconds_of_silence(self) -> float:
        return self._node.environment.now() - self._called_at

    async def _obey(self, command: core.CoordinatorCommand) -> None:
        match command:
            case core.Prepare(name):
                await self._vote(name)
            case AskPreCommit(name):
                await self._stand(name, is_pre_commit=True)
            case AskStanding(name):
                await self._stand(name, is_pre_commit=False)

    async def _vote(self, name: str) -> None:
        environment = self._node.environment
        environment.reach(PREPARE_BEFORE)
        try:
            async with asyncio.timeout(self._seconds_left()):
                vote = await self._agent(name).vote(self._branches[name].id, self._line)
        except TimeoutError:
            self._fail(DeadlinePassed(f"{name} did not vote in time"))
            self._tell(core.GiveUp(f"{name} did not vote in time"))
            return
        except FinalityError as error:
            self._fail(error)
            self._tell(core.GiveUp(str(error)))
            return
        environment.reach(PREPARE_AFTER)
        if vote is Vote.NO:
            self._fail(Refused("it holds nothing any more", branch=name))
        self._tell(core.Heard(name, vote, f"{name} voted no"))

    async def _stand(self, name: str, *, is_pre_commit: bool) -> None:
        agent, id = self._agent(name), self._branches[name].id
        try:
            report = await (agent.pre_commit(id) if is_pre_commit else agent.standing(id))
        except Unavailable as error:
            log.info("agent %s does not answer: %s", name, error)
            if is_pre_commit and self._seconds_of_silence() > self._silence:
                self._tell(core.Silence(name))
            return
        if is_pre_commit:
            self._node.environment.reach(PRE_COMMIT_AFTER)
        self._called_at = self._node.environment.now()
        self._tell(core.Answered(name, report))

    # ── The outcome ─────────────────────────────────────────────────────────────────────────

    async def _end(self) -> None:
        if self._three.decision is Decision.ABORT:
            await self._tell_all(Decision.ABORT)
            await self._record(Decided(Decision.ABORT, (), self._three.because))
            self._fail(Conflict(self._three.because))
            raise self._aborted()
        names = tuple(self._branches)
        if not await self._record(Decided(Decision.COMMIT, names)):
            await self._tell_all(Decision.COMMIT)
            return
        known = await self._node.decisions.find(self.id)
        assert known is not None, f"transaction {self.id} is recorded"
        if known.state.decision is not Decision.COMMIT:
            raise HeuristicOutcome(
                f"transaction {self.id} is committed by its agents, and a person has decided to abort it: "
                f"{known.state.because}; put the data right (`finality transaction explain {self.id}`)",
                transaction_id=self.id,
                did=dict.fromkeys(names, "committed"),
            )
        heard = await self._node.finisher.tell(known)
        self._node.recording.later(known, heard)
        self._check_agree(known, heard)

    async def _record(self, decided: Decided) -> bool:
        """Record the outcome, which holds without a record, too; say whether that worked."""
        try:
            await self._node.decisions.decide(self.id, decided)
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("the outcome of transaction %s could not be recorded: %s", self.id, error)
            return False
        return True

    async def _tell_all(self, decision: Decision) -> None:
        """Tell every agent; one that does not hear will ask the others."""

        async def tell(name: str) -> None:
            try:
                await self._agent(name).conclude(self._branches[name].id, decision)
            except Unavailable as error:
                log.info("agent %s has not heard the outcome: %s", name, error)

        await asyncio.gather(*map(tell, self._branches))
