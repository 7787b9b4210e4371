"""One reservation in a store, in the hands of the transaction's block."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from finality.core.errors import OutcomeUnknown, Refused
from finality.ports.participant import BranchId
from finality.ports.reservation import HoldingBranch

if TYPE_CHECKING:
    from finality.runtime.reservations.participant import Reservations


class ReservationBranch(HoldingBranch):
    """Fulfils ``ports.participant.ReservingBranch``."""

    def __init__(self, id: BranchId, participant: Reservations, deadline: float | None) -> None:
        super().__init__(id, participant, participant.now, deadline)
        self._participant = participant

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
            reserved, self.expires_at = await there.try_(
                self.id, kind, reservation, decided_by=self.decided_by
            )
        except (OutcomeUnknown, asyncio.CancelledError):
            self.is_unclear = True
            raise
        if reserved.did is not None or reserved.held is None:
            because = reserved.because or "a branch of this name was confirmed before; choose another id"
            raise Refused(because, branch=self.id.name, transaction_id=self.id.transaction)
        self.is_held = True
        return there.decoded(reserved.held, returns)
