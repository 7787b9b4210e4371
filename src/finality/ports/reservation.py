"""What a branch that reserves does once its try has answered: it votes, confirms and cancels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from finality.core.errors import (
    Conflict,
    DeadlinePassed,
    MethodFailed,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from finality.core.reservation import may_vote_yes
from finality.core.two_phase import Decision, Vote
from finality.ports.participant import BranchId

log = logging.getLogger("finality.reservation")

DECIDE_SECONDS = 60.0  # How long a block without a deadline may hold something before others give it up.


class Finishing(Protocol):
    """What such a branch needs of its participant."""

    async def finish(self, branch: BranchId, decision: Decision) -> Decision: ...


class HoldingBranch:
    """Fulfils ``ports.participant.Branch``; whoever extends it lets it reserve.

    Attributes:
        decided_by: Before it nobody presumes that the transaction is aborted.
        is_held: The try has answered that it holds something.
        is_unclear: Nobody knows whether it does.
        expires_at: Until when it is promised.
    """

    def __init__(
        self, id: BranchId, there: Finishing, now: Callable[[], float], deadline: float | None
    ) -> None:
        self.id = id
        self.decided_by = deadline or now() + DECIDE_SECONDS
        self.is_held = False
        self.is_unclear = False
        self.expires_at: float | None = None
        self._there = there
        self._now = now

    async def prepare(self) -> Vote:
        """Vote yes at once, since the try is committed; not if its hold has expired meanwhile.

        It is cancelled then as any branch is that nobody is sure of, when the block is over.
        """
        if self.is_unclear:
            raise Unavailable(f"nobody knows whether branch {self.id} holds something: its try was cut off")
        if not self.is_held:
            return Vote.READ_ONLY
        if not may_vote_yes(self.expires_at, self._now()):
            raise Unavailable(f"what branch {self.id} holds has expired")
        return Vote.YES

    async def commit(self) -> None:
        """Confirm: as the only branch, its confirm is the decision, and need not be tried for ever."""
        if self.is_unclear:
            raise OutcomeUnknown(f"branch {self.id} may hold something: its try was cut off")
        if not self.is_held:
            return
        try:
            await self._see_that_it_stands()
            did = await self._there.finish(self.id, Decision.COMMIT)
        except MethodFailed as failed:
            did = await self._cancelled(failed)
            if did is Decision.ABORT:
                raise Refused(str(failed), branch=self.id.name) from failed
        except Unavailable as lost:
            raise OutcomeUnknown(str(lost), transaction_id=self.id.transaction) from lost
        if did is Decision.ABORT:
            raise Conflict(f"branch {self.id} was given up before it was confirmed; run it again")

    async def abort(self) -> None:
        """Cancel what stands; what cannot be cancelled now is found in doubt."""
        if not self.is_held and not self.is_unclear:
            return
        try:
            await self._there.finish(self.id, Decision.ABORT)
        except Unavailable as error:
            log.warning("branch %s could not be cancelled yet: %s", self.id, error)

    async def _see_that_it_stands(self) -> None:
        # After decided_by others may presume an abort, and the journal would not know of our commit.
        if not may_vote_yes(self.expires_at, self._now()) or self._now() >= self.decided_by:
            await self._there.finish(self.id, Decision.ABORT)
            raise DeadlinePassed(f"what branch {self.id} holds has expired; nothing of it remains")

    async def _cancelled(self, failed: MethodFailed) -> Decision:
        try:
            return await self._there.finish(self.id, Decision.ABORT)
        except Unavailable as lost:
            raise OutcomeUnknown(f"{failed}; {lost}", transaction_id=self.id.transaction) from lost
