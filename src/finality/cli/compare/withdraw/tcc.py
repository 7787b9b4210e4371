"""TCC: the money is held and the payment authorized, then both are confirmed or cancelled."""

from __future__ import annotations

from datetime import timedelta

import finality
from finality.cli.compare.place import Place
from finality.cli.compare.way import Death, Services
from finality.cli.compare.withdraw.rules import MoneyHold, Order, PaymentHold
from finality.cli.compare.withdraw.withdrawal import Withdrawal
from finality.ports.environment import FINISH_BEFORE, PREPARE_AFTER, Environment


class Tcc(Withdrawal):
    """Takes a domain that can hold things, and any store."""

    name = "tcc"
    title = "TCC"
    finished = Death((FINISH_BEFORE,), "with the decision, in the coordinator's journal")
    isolation = "the money set aside"
    worst = Death((PREPARE_AFTER, PREPARE_AFTER), "both held, nothing decided")

    def node(self, place: Place, services: Services, environment: Environment) -> finality.AsyncNode:
        """Return a node with two stores that can be reserved in."""
        return finality.open_async(
            place.url("home"),
            stores={name: place.url(name) for name in ("bank", "provider")},
            reservations=[MoneyHold, PaymentHold],
            environment=environment,
            lease=self.lease,
        )

    async def withdraw(self, node: finality.AsyncNode, order: Order, *, deadline: timedelta) -> None:
        """Hold at the one and at the other; the end of the block confirms both."""
        async with node.transaction(deadline=deadline) as tx:
            await tx.reserve(MoneyHold(order), at="bank")
            await tx.reserve(PaymentHold(order), at="provider")
