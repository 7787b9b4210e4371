"""One transaction under way: its branches vote, the decision is written, and every branch hears it.

```
    enlist … enlist ──▶ end ──▶ prepare (all at once) ──▶ decide (one durable record) ──▶ finish
                          │
                          ├─ one branch, nothing at home:  it commits alone, in one phase
                          └─ work in the home store:       the decision is in its very commit
```

What is decided in ``core.two_phase`` is done here; recovery is ``runtime.recovery``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from finality.core.errors import (
    Conflict,
    DeadlinePassed,
    FinalityError,
    HeuristicOutcome,
    NotFound,
    OutcomeUnknown,
    Refused,
    TransactionAborted,
    Unavailable,
)
from finality.core.ids import TransactionId
from finality.core.two_phase import (
    NEW,
    BranchState,
    CommitAlone,
    Decided,
    Decision,
    EndWork,
    Enlist,
    Finish,
    GiveUp,
    Heard,
    TwoPhaseSignal,
    Vote,
    decide,
    evolve,
    outstanding,
)
from finality.ports.environment import PREPARE_AFTER, PREPARE_BEFORE, Environment
from finality.ports.participant import Branch, BranchId, Participant
from finality.ports.store import Scope
from finality.runtime.decisions import DecideTurn, Decisions, Known, heard_by
from finality.runtime.finishing import Finisher
from finality.runtime.gathering import Gathering
from finality.runtime.recording import Recording
from finality.runtime.together import together
from finality.runtime.unbroken import unbroken

log = logging.getLogger("finality.two_phase")

B = TypeVar("B", bound=Branch)

HOME = "home"  # The work in the home store votes with the decision itself; no participant has this name.


class Commitments:
    """What the transactions of one node share.

    Attributes:
        under_way: The transactions whose blocks have not ended.
    """

    def __init__(
        self,
        participants: Mapping[str, Participant[Branch]],
        decisions: Decisions,
        environment: Environment,
    ) -> None:
        self.participants = participants
        self.decisions = decisions
        self.environment = environment
        self.finisher = Finisher(participants, decisions, environment)
        self.under_way: set[TransactionId] = set()
        self.recording = Recording(decisions, self.finisher)
        self.gathering = Gathering(decisions, self.recording, self.under_way)

    def drives(self, id: TransactionId) -> bool:
        """Say whether this process is about to finish a transaction, so that no sweep needs to."""
        return id in self.under_way or id in self.recording


class Commitment:
    """Fulfils the block of one transaction.

    Attributes:
        takes_home_work: Its decision may be one commit with work in the home store.
    """

    takes_home_work = True

    def __init__(self, node: Commitments, id: TransactionId, deadline: float | None) -> None:
        self.id = id
        self._node = node
        self._deadline = deadline
        self._state = NEW
        self._branches: dict[str, Branch] = {}
        self._numbers: dict[str, int] = {}
        self._prepared: set[str] = set()
        self._failure: Exception | None = None

    def participant(self, name: str) -> Participant[Branch] | None:
        """Return the node's participant of that name."""
        return self._node.participants.get(name)

    @property
    def has_branches(self) -> bool:
        """Say whether any participant takes part."""
        return bool(self._branches)

    @property
    def is_late(self) -> bool:
        """Say whether its deadline has passed."""
        return self._seconds_left() == 0

    def late(self) -> DeadlinePassed:
        """Return what the caller hears of a transaction that is late."""
        return DeadlinePassed(
            f"transaction {self.id} is aborted: it was not decided in time; nothing of it remains",
            transaction_id=self.id,
        )

    async def enlist(self, participant: Participant[B], *, is_new: bool = False) -> B:
        """Begin a branch, or return the one that the participant has already.

        Args:
            is_new: Begin another one even so.

        Raises:
            NotFound: The node was not told of the participant, so it could not recover the branch.
            Unavailable: It is out of reach; nothing has begun.
        """
        name = participant.name
        if self._node.participants.get(name) is not participant:
            raise NotFound(
                f"participant {name!r} is not known to this node, which could not recover its branch: "
                f"open it with participants=[…]"
            )
        number = self._numbers.get(name, -1) + 1 if is_new else 0
        # At once: others may enlist while this one waits.
        self._numbers[name] = max(number, self._numbers.get(name, 0))
        id = BranchId(await self._node.decisions.identity(), self.id, name, number)
        branch_name = id.name
        if branch_name in self._branches:
            return cast(B, self._branches[branch_name])
        self._node.under_way.add(self.id)
        branch = await participant.begin(id, deadline=self._deadline)
        self._branches[branch_name] = branch
        self._hear(Enlist(branch_name))
        return branch

    async def commit(self, scope: Scope | None) -> None:
        """Let all branches commit, and the work in *scope* with them; durable on return.

        Args:
            scope: The work in the home store; None if there is none.

        Raises:
            TransactionAborted: Nothing of it remains, at no branch: Refused, Conflict, DeadlinePassed.
            OutcomeUnknown: It may have happened; ``node.decision`` tells by its id.
            HeuristicOutcome: A branch was finished by hand against the decision.
        """
        if scope is not None:
            self._hear(Enlist(HOME))
        if self.is_late:
            self._fail(self.late())
            self._hear(GiveUp("its deadline has passed"))
        self._hear(EndWork())
        try:
            match outstanding(self._state):
                case _ if self._state.decision is not None:
                    await self._finish(scope)
                case (CommitAlone(branch),):
                    await self._commit_alone(branch)
                case commands:
                    await together(self._prepare(command.branch) for command in commands)  # type: ignore[union-attr]  # undecided, so all are Prepare
                    await self._finish(scope)
        finally:
            self._node.under_way.discard(self.id)

    async def abort(self, because: str) -> None:
        """Leave nothing of any branch; the block failed."""
        self._hear(GiveUp(because))
        try:
            if self._branches:
                await self._undo()
        finally:
            self._node.under_way.discard(self.id)

    def _hear(self, signal: TwoPhaseSignal) -> None:
        for event in decide(self._state, signal):
            self._state = evolve(self._state, event)

    # ── Voting ──────────────────────────────────────────────────────────────────────────────

    async def _prepare(self, name: str) -> None:
        if name == HOME:
            self._hear(Heard(HOME, Vote.READ_ONLY))  # It needs no decision: it is the decision.
            return
        environment = self._node.environment
        environment.reach(PREPARE_BEFORE)
        try:
            vote = await self._vote_of(self._branches[name])
        except TimeoutError:
            self._fail(DeadlinePassed(f"{name} did not vote in time"))
            self._hear(GiveUp(f"{name} did not vote in time"))
            return
        except FinalityError as error:
            self._fail(error)
            # A participant that says no has nothing left; one that could not be heard may be prepared.
            is_no = isinstance(error, TransactionAborted)
            self._hear(Heard(name, Vote.NO, str(error)) if is_no else GiveUp(str(error)))
            return
        environment.reach(PREPARE_AFTER)
        if vote is Vote.YES:
            self._prepared.add(name)
        self._hear(Heard(name, vote))

    async def _vote_of(self, branch: Branch) -> Vote:
        if self._deadline is None:
            return await branch.prepare()  # The end of a block runs where nobody cancels it.
        async with asyncio.timeout(self._seconds_left()):
            return await unbroken(branch.prepare())

    def _seconds_left(self) -> float | None:
        if self._deadline is None:
            return None
        return max(self._deadline - self._node.environment.now(), 0.0)

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error

    async def _commit_alone(self, name: str) -> None:
        branch = self._branches[name]
        try:
            await branch.commit()
        except OutcomeUnknown as lost:
            await self._settle(branch, lost)

    async def _settle(self, branch: Branch, lost: OutcomeUnknown) -> None:
        """Ask what became of a commit whose answer was lost."""
        participant = self._node.participants[branch.id.participant]
        try:
            did = await participant.settle(branch.id)
        except Unavailable:
            raise self._unknown(lost) from lost
        if did is Decision.ABORT:
            raise Conflict(
                f"transaction {self.id} is aborted: {lost}; run it again", transaction_id=self.id
            ) from lost

    def _unknown(self, lost: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"transaction {self.id} may have committed: {lost}; ask `node.decision({self.id!r})`",
            transaction_id=self.id,
        )

    # ── The decision, and what follows ──────────────────────────────────────────────────────

    async def _finish(self, scope: Scope | None) -> None:
        if self._state.decision is not Decision.COMMIT:
            if scope is not None:
                await scope.abort()
            await self._undo()
            raise self._aborted()
        try:
            known = await self._decide(scope)
        except OutcomeUnknown:
            raise
        except Exception as error:  # The home store says that nothing was decided there.
            await self._give_up(error)
            raise self._aborted() from error
        if known is None:
            return
        if known.state.decision is Decision.ABORT:
            await self._give_up(Conflict(f"another node has given it up: {known.state.because}"))
            raise self._aborted()
        heard = await self._node.finisher.tell(known)
        self._node.recording.later(known, heard)
        self._check_agree(known, heard)

    async def _decide(self, scope: Scope | None) -> Known | None:
        """Write the decision; None if there is nobody to tell."""
        prepared = self._state.prepared
        decided = Decided(Decision.COMMIT, prepared)
        decisions = self._node.decisions
        if scope is None:
            if not prepared:
                return None
            return await self._node.gathering.decide(self.id, decided)
        if not prepared:
            await scope.commit()
            return None
        turn = DecideTurn(self.id, decided, is_last=True)
        try:
            await scope.commit(turn)
        except OutcomeUnknown:
            log.warning("the home store lost its answer to the decision of transaction %s", self.id)
        return await decisions.answer(turn)

    async def _give_up(self, error: Exception) -> None:
        """Abort what has voted yes, and is not committed after all."""
        self._fail(error)
        decided = Decided(Decision.ABORT, self._state.prepared, str(error))
        self._state = evolve(self._state, decided)
        await self._undo()

    async def _undo(self) -> None:
        """Abort every branch that may still stand, and keep for the audit trail why."""
        names = tuple(name for name in self._branches if self._state.branches[name] is not BranchState.LEFT)
        are_undone = await asyncio.gather(*map(self._undo_branch, names))
        left = tuple(name for name, is_undone in zip(names, are_undone, strict=True) if not is_undone)
        try:
            because = str(self._failure or self._state.because)
            await self._node.decisions.decide(self.id, Decided(Decision.ABORT, left, because))
        except FinalityError as error:
            # What is in doubt and has no decision is aborted by the next sweep: presumed abort.
            log.warning("the abort of transaction %s could not be recorded: %s", self.id, error)

    async def _undo_branch(self, name: str) -> bool:
        """Abort one branch; say whether it has heard."""
        branch = self._branches[name]
        if name not in self._prepared:
            await branch.abort()
        if not self._state.is_voting:
            return True
        try:
            did = await self._node.participants[branch.id.participant].finish(branch.id, Decision.ABORT)
        except Unavailable as error:
            log.warning("branch %s could not be aborted yet: %s", branch.id, error)
            return False
        # What somebody has committed by hand is told again, and recorded, by the sweep.
        return did is Decision.ABORT

    def _aborted(self) -> Exception:
        """Return what the caller hears: why nothing of it remains."""
        failure = self._failure
        because = str(failure) if failure is not None else self._state.because
        match failure:
            case Refused():
                return Refused(failure.because, branch=failure.branch, transaction_id=self.id)
            case DeadlinePassed():
                return self.late()
            case Conflict():
                return Conflict(
                    f"transaction {self.id} is aborted: {because}; nothing of it remains, run it again",
                    transaction_id=self.id,
                )
            case _:
                return TransactionAborted(
                    f"transaction {self.id} is aborted: {because}; nothing of it remains, run it again",
                    transaction_id=self.id,
                )

    def _check_agree(self, known: Known, heard: Sequence[Finish]) -> None:
        """See that no branch has done anything else than what was decided.

        Raises:
            HeuristicOutcome: One has.
        """
        diverged = [each.branch for each in heard if each.did is not known.state.decision]
        if diverged:
            did = heard_by(known, heard)[1].state.did
            raise HeuristicOutcome(
                f"transaction {self.id} was decided to commit, and {', '.join(diverged)} was aborted by hand "
                f"({', '.join(f'{name}: {what}' for name, what in did.items())}); put the data right "
                f"(`finality transaction explain {self.id}`)",
                transaction_id=self.id,
                did=did,
            )
