"""One reservation under way, in the hands of the transaction's block."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from finality.core.errors import Conflict, DeadlinePassed, OutcomeUnknown, Refused, Unavailable
from finality.core.reservation import Stage, may_vote_yes
from finality.core.two_phase import Decision, Vote
from finality.ports.participant import BranchId

if TYPE_CHECKING:
    from finality.runtime.reservations.participant import Reservations

log = logging.getLogger("finality.reservation")


class MethodFailed(Unavailable):
    """A confirm or a cancel has raised: nothing of it remains, and it is asked again until it works."""

    code = "method_failed"


class ReservationBranch:
    """Fulfils ``ports.participant.Branch``.

    Its try may be refused without harm to the block: the branch holds nothing then, and drops out at
    the vote.
    """

    def __init__(self, id: BranchId, participant: Reservations, decided_by: float) -> None:
        self.id = id
        self._participant = participant
        self._decided_by = decided_by
        self._stage = Stage.NEVER_TRIED
        self._is_unclear = False
        self._expires_at: float | None = None

    async def reserve(self, kind: str, reservation: Any, /, *, returns: Any = Any) -> Any:
        """Run the try; return what it holds. Durable: it stands until the decision.

        Raises:
            Refused: It says no, and the branch holds nothing.
            NotFound: The node does not know this kind of reservation.
            Unavailable: The store is out of reach; nothing was recorded.
            OutcomeUnknown: It may hold; the transaction will not commit.
            Exception: Whatever the try raises; nothing of it remains.
        """
        there = self._participant
        try:
            reserved, self._expires_at = await there.try_(
                self.id, kind, reservation, decided_by=self._decided_by
            )
        except (OutcomeUnknown, asyncio.CancelledError):
            self._is_unclear = True
            raise
        self._stage = reserved.stage
        if reserved.did is not None or reserved.held is None:
            because = reserved.because or "a branch of this name was confirmed before; choose another id"
            raise Refused(because, branch=self.id.name, transaction_id=self.id.transaction)
        return there.decoded(reserved.held, returns)

    async def prepare(self) -> Vote:
        """Vote yes at once, since the try is committed; not if its hold has expired meanwhile.

        It is cancelled as any branch is that nobody is sure of, when the home store is free for it.
        """
        if self._is_unclear:
            raise Unavailable(f"nobody knows whether branch {self.id} holds something: its try was cut off")
        if self._stage is not Stage.TRIED:
            return Vote.READ_ONLY
        if self._has_expired():
            raise Unavailable(f"what branch {self.id} holds has expired")
        return Vote.YES

    async def commit(self) -> None:
        """Confirm: as the only branch, its confirm is the decision, and need not be tried for ever."""
        if self._is_unclear:
            raise OutcomeUnknown(f"branch {self.id} may hold something: its try was cut off")
        if self._stage is not Stage.TRIED:
            return
        there = self._participant
        try:
            if self._has_expired() or there.now() >= self._decided_by:
                # Others may presume an abort by now, and the journal would not know of our commit.
                await there.finish(self.id, Decision.ABORT)
                raise DeadlinePassed(f"what branch {self.id} holds has expired; nothing of it remains")
            did = await there.finish(self.id, Decision.COMMIT)
        except MethodFailed as failed:
            did = await self._settled(failed)
            if did is Decision.ABORT:
                raise Refused(
                    str(failed), branch=self.id.name, transaction_id=self.id.transaction
                ) from failed
        except Unavailable as lost:
            raise OutcomeUnknown(str(lost), transaction_id=self.id.transaction) from lost
        if did is Decision.ABORT:
            raise Conflict(f"branch {self.id} was given up before it was confirmed; run it again")

    async def abort(self) -> None:
        """Cancel what stands; what cannot be cancelled now is found in doubt."""
        if self._stage is not Stage.TRIED and not self._is_unclear:
            return
        try:
            await self._participant.finish(self.id, Decision.ABORT)
        except Unavailable as error:
            log.warning("reservation %s could not be cancelled yet: %s", self.id, error)

    def _has_expired(self) -> bool:
        return not may_vote_yes(self._expires_at, self._participant.now())

    async def _settled(self, failed: MethodFailed) -> Decision:
        try:
            return await self._participant.settle(self.id)
        except Unavailable as lost:
            raise OutcomeUnknown(f"{failed}; {lost}", transaction_id=self.id.transaction) from lost
