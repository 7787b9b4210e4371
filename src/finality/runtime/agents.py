"""The agents of the branches in one store: they vote, wait, and end a three-phase commit if need be.

```
    vote ──▶ look around, again and again ──▶ concluded ──▶ the branch does it
               │ the coordinator calls: it lives
               └ nobody calls, nobody answers: core.three_phase says what follows
```

What an agent must not forget stands in the witness of its branch before anybody hears of it. One
process at a time runs the agents of a store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from finality.core.errors import FinalityError, Refused, Unavailable
from finality.core.ids import Json, TransactionId
from finality.core.protocol import fold
from finality.core.reservation import Stage
from finality.core.three_phase import agent as core
from finality.core.three_phase.standing import COORDINATOR, AskPreCommit, AskStanding, Report, Standing
from finality.core.two_phase import Decision, Vote
from finality.ports.agent import Address
from finality.ports.codec import Codec
from finality.ports.participant import BranchId
from finality.ports.store import LocalTransaction, Store
from finality.runtime.asked import Asked
from finality.runtime.reservations.participant import Reservations
from finality.runtime.reservations.rows import key_of, recorded

log = logging.getLogger("finality.three_phase")

SILENCE_SECONDS = 5.0  # Longer than any pause that is not a crash: a shorter one may cost two outcomes.
LOOK_SECONDS = 0.1  # Between two looks around; what is asked is small.

VOTE, PRE_COMMIT, OUTCOME = "vote", "pre-commit", "outcome"  # Operations of the witness.

Ask = Callable[[Address, str, int, str], Awaitable[Report]]


class Agents:
    """The agents of one store.

    Args:
        ask: Asks the agent at an address for its standing, or to pre-commit, in a term, by the asker's name.
    """

    def __init__(self, there: Reservations, store: Store, codec: Codec, ask: Ask, silence: float) -> None:
        self.there = there
        self.store = store
        self.codec = codec
        self.ask = ask
        self.silence = silence
        # One that has nothing left to do is forgotten: what it knew is in the witness.
        self._agents: WeakValueDictionary[BranchId, _Agent] = WeakValueDictionary()

    async def wake(self) -> None:
        """Go on with whatever was open when the process ended."""
        for doubt in await self.there.holds():
            await self._agent(doubt.branch)

    async def close(self) -> None:
        """Look around no more."""
        for agent in list(self._agents.values()):
            await agent.close()

    async def vote(self, branch: BranchId, line: Sequence[Address]) -> Vote:
        """Vote yes if the branch holds what it has tried, and was not asked for its standing before."""
        agent = await self._agent(branch)
        try:
            state = await agent.hear(core.VoteYes(branch.name, tuple(each.name for each in line)), line)
        except Refused:
            return Vote.NO
        return Vote.NO if state.standing is Standing.ABORTED else Vote.YES

    async def pre_commit(self, branch: BranchId, term: int, *, by: str = COORDINATOR) -> Report:
        """Pre-commit for whoever is in charge in *term*; return where the branch stands then."""
        agent = await self._agent(branch)
        if agent.state.standing is None:
            return await self.standing(branch, term, by=by)
        return (await agent.hear(core.PreCommitAsked(term), by=by)).report

    async def standing(self, branch: BranchId, term: int, *, by: str = COORDINATOR) -> Report:
        """Return where the branch stands, for somebody in *term*."""
        return (await (await self._agent(branch)).hear(core.StandingAsked(term), by=by)).report

    async def conclude(self, branch: BranchId, decision: Decision) -> Decision:
        """End the branch as whoever knows says; return what it has done."""
        agent = await self._agent(branch)
        await agent.hear(core.Outcome(decision))
        return await agent.finish()

    async def finish(self, branch: BranchId, decision: Decision) -> Decision:
        """Finish a branch as two-phase commit asks for it; a presumed abort is none of its business.

        Raises:
            Unavailable: Its agents have not ended it yet.
        """
        agent = await self._agent(branch)
        if agent.state.standing is None:
            return await agent.without_vote(decision)
        if agent.state.is_open and decision is Decision.ABORT:
            raise Unavailable(f"branch {branch} is ended by the agents of its transaction; ask again")
        return await self.conclude(branch, decision)

    def runs(self, branch: BranchId) -> bool:
        """Say whether a branch has voted here, so that no sweep needs to see to it."""
        agent = self._agents.get(branch)
        return agent is not None and agent.state.standing is not None

    async def _agent(self, branch: BranchId) -> _Agent:
        agent = self._agents.get(branch)
        if agent is None:
            agent = self._agents[branch] = _Agent(self, branch)
        await agent.load()
        return agent


class _Agent:
    """One branch's agent."""

    def __init__(self, agents: Agents, branch: BranchId) -> None:
        self.state = core.NEW
        self._agents = agents
        self._branch = branch
        self._addresses: dict[str, Address] = {}
        self._heard_at: dict[str, float] = {}
        self._lock = asyncio.Lock()
        self._is_loaded = False
        self._looking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def load(self) -> None:
        """Read what was kept; whatever is open then was open when the process ended."""
        async with self._lock:
            if self._is_loaded:
                return
            kept = (VOTE, PRE_COMMIT, OUTCOME)
            vote, pre_commit, outcome = await self._turn(
                lambda tx: [tx.witness(*self._key, operation) for operation in kept]
            )
            self._is_loaded = True
            events: list[core.AgentEvent] = []
            if vote is not None:
                events.append(self._voted(self._agents.codec.decode(Json(vote), tuple[Address, ...])))
            if pre_commit is not None:
                events.append(core.PreCommitted())
            if outcome is not None:
                events.append(core.Concluded(Decision(outcome)))
            self.state = fold(core.evolve, core.NEW, events)
            self._move(core.decide(self.state, core.ComeBack()))

    def _voted(self, line: Sequence[Address]) -> core.VotedYes:
        self._addresses = {each.name: each for each in line}
        return core.VotedYes(self._branch.name, tuple(self._addresses))

    async def hear(
        self, signal: core.AgentSignal, line: Sequence[Address] = (), *, by: str | None = COORDINATOR
    ) -> core.AgentState:
        """Take in *signal*; what must not be forgotten is durable on return.

        Args:
            by: Who has called; None if nobody has.
        """
        async with self._lock:
            if by == COORDINATOR or by in self._addresses:
                self._heard_at[by] = self._agents.there.now()
            events = core.decide(self.state, signal)
            rows = [row for event in events for row in self._row(event, line)]
            if rows:
                await self._turn(lambda tx: self._keep(tx, rows))
            if any(isinstance(event, core.VotedYes) for event in events):
                self._addresses = {each.name: each for each in line}
            self._move(events)
        return self.state

    def _row(self, event: core.AgentEvent, line: Sequence[Address]) -> list[tuple[str, str]]:
        match event:
            case core.VotedYes():
                return [(VOTE, self._agents.codec.encode(tuple(line)))]
            case core.PreCommitted():
                return [(PRE_COMMIT, "")]
            case core.Concluded(decision):
                return [(OUTCOME, decision.value)]
            case _:
                return []

    def _keep(self, tx: LocalTransaction, rows: list[tuple[str, str]]) -> None:
        for operation, answer in rows:
            if operation == VOTE and recorded(tx, self._branch).stage is not Stage.TRIED:
                raise Refused("it holds nothing any more")
            # It is there already if the store has lost an answer.
            if tx.witness(*self._key, operation) is None:
                tx.testify(*self._key, operation, answer)

    def _move(self, events: tuple[core.AgentEvent, ...]) -> None:
        self.state = fold(core.evolve, self.state, events)
        if self._looking is None and core.outstanding(self.state):
            now = self._agents.there.now()
            self._heard_at = dict.fromkeys((COORDINATOR, *self.state.line), now)
            self._looking = asyncio.ensure_future(self._look())

    async def without_vote(self, decision: Decision) -> Decision:
        """Finish a branch that has never voted, while it cannot do so."""
        async with self._lock:
            return await self._agents.there.finish(self._branch, decision)

    async def finish(self) -> Decision:
        """Let the branch do what was concluded; return what it has done."""
        assert self.state.standing is not None, "only what has voted concludes"
        decision = self.state.standing.decision
        assert decision is not None, f"branch {self._branch} is open"
        did = await self._agents.there.finish(self._branch, decision)
        if did is not decision:
            log.error("branch %s did %s, and the outcome is %s", self._branch, did.value, decision.value)
        await self.hear(core.Finish(), by=None)
        return did

    # ── Looking around ──────────────────────────────────────────────────────────────────────

    async def _look(self) -> None:
        """Do what is outstanding, until nothing is."""
        while commands := core.outstanding(self.state):
            await asyncio.gather(*map(self._obey, commands))
            if core.outstanding(self.state) == commands:
                await asyncio.sleep(LOOK_SECONDS)

    async def _obey(self, command: core.AgentCommand) -> None:
        try:
            match command:
                case core.FinishBranch():
                    await self.finish()
                case AskStanding(peer, term):
                    await self._ask(peer, "standing", term)
                case AskPreCommit(peer, term):
                    await self._ask(peer, "pre-commit", term)
        except FinalityError as error:
            log.warning("the agent of branch %s tries again: %s", self._branch, error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, peer: str, what: str, term: int) -> None:
        """Ask another agent; the coordinator cannot be asked, it calls."""
        if peer != COORDINATOR:
            try:
                report = await self._agents.ask(self._addresses[peer], what, term, self.state.me)
            except Unavailable as error:
                log.info("agent %s does not answer: %s", peer, error)
            else:
                self._heard_at[peer] = self._agents.there.now()
                await self.hear(core.Answered(peer, report), by=None)
                return
        if self._agents.there.now() - self._heard_at[peer] > self._agents.silence:
            await self.hear(core.Silence(peer), by=None)

    @property
    def _key(self) -> tuple[TransactionId, str]:
        return key_of(self._branch)

    async def _turn(self, work: Callable[[LocalTransaction], Any]) -> Any:
        turn = _KeepTurn(f"agent of branch {self._branch}", work)
        self._agents.store.submit(turn)
        return await turn.done


class _KeepTurn(Asked[Any]):
    """Reads or keeps what an agent must not forget."""

    def __init__(self, name: str, work: Callable[[LocalTransaction], Any]) -> None:
        super().__init__(name, answer=None)
        self._work = work

    def run(self, tx: LocalTransaction) -> None:
        """Do it."""
        self.answer = self._work(tx)
