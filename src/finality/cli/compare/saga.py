"""A saga: the money is taken, then paid; if the payment is refused, it is given back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import finality
from finality.cli.compare.place import Place
from finality.cli.compare.way import Death, Services, Way
from finality.cli.compare.withdrawal import Order, give_back, pay, take
from finality.ports.environment import STEP_BEFORE, Environment


@dataclass(frozen=True)
class Withdraw(finality.Saga):
    """Two steps, each a commit of its own."""

    order: Order

    @finality.step(at="bank")
    async def money(self, tx: finality.Tx) -> None:
        """Take it."""
        await take(tx.execute, self.order)

    @money.compensate
    async def money_back(self, tx: finality.Tx) -> None:
        """Give it back."""
        await give_back(tx.execute, self.order)

    @finality.pivot(at="provider")
    async def payment(self, tx: finality.Tx, money: None) -> None:
        """Pay."""
        await pay(tx.execute, self.order)


class AsSaga(Way):
    """Takes a domain that can undo things, and any store."""

    name = "saga"
    title = "saga"
    finished = "with the payment's commit, behind which nothing is undone"
    isolation = "none: others see each step as soon as it is done"
    worst = Death(STEP_BEFORE, 2, "money taken, nothing paid")

    def node(
        self, place: Place, services: Services, environment: Environment, *, lease: timedelta
    ) -> finality.AsyncNode:
        """Return a node with two stores for the steps."""
        return finality.open_async(
            place.url("home"),
            stores={name: place.url(name) for name in ("bank", "provider")},
            sagas=[Withdraw],
            environment=environment,
            lease=lease,
        )

    async def withdraw(self, node: finality.AsyncNode, order: Order, *, deadline: timedelta) -> None:
        """Start the saga and wait for its end."""
        handle = await node.start(Withdraw(order), id=order.id)
        await handle.result()
