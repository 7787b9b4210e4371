"""Two-phase commit: bank and provider are two databases that vote."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import finality
from finality.cli.compare.place import Place
from finality.cli.compare.way import Death, Services
from finality.cli.compare.withdraw.rules import Order, pay, take
from finality.cli.compare.withdraw.withdrawal import Withdrawal
from finality.ports.environment import FINISH_BEFORE, PREPARE_AFTER, Environment


class TwoPhase(Withdrawal):
    """Takes databases that can prepare."""

    name = "two-phase"
    title = "two-phase commit"
    finished = Death((FINISH_BEFORE,), "with the decision, in the coordinator's journal")
    isolation = "locks; a plain read may fall between the two commits"
    worst = Death((PREPARE_AFTER, PREPARE_AFTER), "both voted yes, nothing decided")

    def node(self, place: Place, services: Services, environment: Environment) -> finality.AsyncNode:
        """Return a node with two participants."""
        participants = [place.participant(name) for name in ("bank", "provider")]
        return finality.open_async(
            place.url("home"), participants=participants, environment=environment, lease=self.lease
        )

    async def withdraw(self, node: finality.AsyncNode, order: Order, *, deadline: timedelta) -> None:
        """Take at the one and pay at the other; both commit, or neither."""
        there: dict[str, Any] = {each.name: each for each in node.settings.participants}
        async with node.transaction(deadline=deadline) as tx:
            at_bank, at_provider = await tx.enlist(there["bank"]), await tx.enlist(there["provider"])
            await take(at_bank.execute, order)
            await pay(at_provider.execute, order)
