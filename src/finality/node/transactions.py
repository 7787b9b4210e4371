"""What a node knows of transactions with participants: it begins them, and ends what was left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from finality.core.backoff import Retry
from finality.core.errors import Conflict, InputMismatch, NotFound
from finality.core.ids import TransactionId, uuid7
from finality.core.sentences import ago
from finality.core.two_phase import Decided, Decision, PutRight
from finality.patterns.protocol import TWO_PHASE, CommitProtocol
from finality.patterns.scope import TransactionScope
from finality.patterns.transaction import Transaction
from finality.ports.participant import BranchId
from finality.runtime.commitment import Commitment, Commitments
from finality.runtime.context import Context
from finality.runtime.recovery import Doubt, Recovery
from finality.runtime.three_phase import ThreePhaseCommitment
from finality.runtime.unbroken import unbroken

T = TypeVar("T")

CONFLICT_RETRY = Retry(attempts=20, first_seconds=0.005, cap_seconds=1.0)  # About ten seconds in all.
ASKED = "somebody asked for the outcome, and there was no decision"


class Transactions:
    """The transactions of one open node."""

    def __init__(self, context: Context, commitments: Commitments, recovery: Recovery) -> None:
        self._context = context
        self._commitments = commitments
        self._recovery = recovery

    def begin(
        self,
        at: str | None,
        seconds: float | None,
        born: float | None = None,
        protocol: CommitProtocol = TWO_PHASE,
    ) -> Transaction:
        """Return the ``tx`` of a block.

        Args:
            born: When the first attempt at this transaction began; its id tells its age.
        """
        environment, codec = self._context.environment, self._context.codec
        now = environment.now()
        id = TransactionId(uuid7(int((born or now) * 1000), environment.random_bits(74)))
        deadline = None if seconds is None else now + seconds
        scope = self._context.store(at).scope(f"transaction {id}")
        if protocol == TWO_PHASE:
            return Transaction(scope, codec, Commitment(self._commitments, id, deadline), at)
        silence = protocol.silence.total_seconds()
        commitment = ThreePhaseCommitment(self._commitments, id, deadline, silence=silence)
        return Transaction(scope, codec, commitment, at)

    async def run(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        block: Callable[[float], TransactionScope],
        retry: Retry,
    ) -> T:
        """Run *work* in a block, again after each conflict, and never younger than it was."""
        environment = self._context.environment
        born, attempt = environment.now(), 1
        while True:
            try:
                async with block(born) as tx:
                    answer = await work(tx)
                return answer
            except Conflict:
                if retry.is_exhausted(attempt):
                    raise
            await asyncio.sleep(retry.delay_seconds(attempt, environment.chance()))
            attempt += 1

    async def decision(self, id: TransactionId) -> Decision:
        """Return how a transaction ended, and keep it so: what is not decided now is aborted."""
        return await unbroken(self._decision(id))

    async def _decision(self, id: TransactionId) -> Decision:
        decisions = self._commitments.decisions
        known = await decisions.find(id)
        if known is None and not any(d.found.branch.transaction == id for d in await self._recovery.doubts()):
            for participant in self._commitments.participants.values():
                branch = BranchId(await decisions.identity(), id, participant.name)
                # A transaction with one branch is decided by that branch's own commit.
                if await participant.settle(branch) is Decision.COMMIT:
                    return Decision.COMMIT
        if known is None:
            known = await decisions.decide(id, Decided(Decision.ABORT, (), ASKED))
        assert known.state.decision is not None, f"transaction {id} is decided"
        return known.state.decision

    async def held(self, id: str) -> dict[str, str]:
        """Return what each branch of a transaction that is in doubt holds, and for how long, by name."""
        now = self._context.environment.now()
        found = await self._recovery.doubts(says_holds=True)
        doubts = [doubt for doubt in found if doubt.found.branch.transaction == id]
        return {
            doubt.found.branch.name: f"is in doubt since {ago(now - doubt.since)} and holds "
            f"{doubt.found.holds or 'what it has changed'}"
            for doubt in doubts
        }

    async def in_doubt(self, older_than: timedelta) -> list[Doubt]:
        """Return the branches that have been in doubt for longer than *older_than*."""
        limit = self._context.environment.now() - older_than.total_seconds()
        return [doubt for doubt in await self._recovery.doubts(says_holds=True) if doubt.since <= limit]

    async def resolve(self, id: TransactionId, decision: Decision, *, because: str, by: str) -> bool:
        """Decide for a transaction in doubt, or accept that its branches have done different things."""
        return await unbroken(self._resolve(id, decision, because, by))

    async def _resolve(self, id: TransactionId, decision: Decision, because: str, by: str) -> bool:
        decisions = self._commitments.decisions
        known = await decisions.find(id)
        if known is None:
            doubts = [doubt.found.branch for doubt in await self._recovery.doubts()]
            identity = await decisions.found_identity()
            branches = tuple(b.name for b in doubts if b.transaction == id and b.home == identity)
            if not branches:
                raise NotFound(
                    f"no transaction has the id {id!r}, and no participant holds a branch of it in doubt",
                    transaction_id=id,
                )
            known = await decisions.decide(id, Decided(decision, branches, because, by))
            await self._commitments.finisher.finish(known)
            return known.state.decision is decision
        if known.state.decision is not decision:
            raise InputMismatch(
                f"transaction {id} cannot be resolved as {decision.value}: it was decided before, "
                f"{known.state.decision}; only its branches may still differ",
                transaction_id=id,
            )
        if not known.state.diverged:
            return False
        return (await decisions.hear(known, [PutRight(by, because)])).state.is_accepted
