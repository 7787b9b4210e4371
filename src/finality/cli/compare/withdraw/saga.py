"""A saga: the money is taken, then paid; if the payment is refused, it is given back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import finality
from finality.cli.compare.place import Place
from finality.cli.compare.way import SILENCE, Death, Services
from finality.cli.compare.withdraw.rules import Order, give_back, pay, take
from finality.cli.compare.withdraw.withdrawal import Withdrawal
from finality.ports.environment import COMMIT_AFTER, STEP_AFTER, STEP_BEFORE, Environment


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


class AsSaga(Withdrawal):
    """Takes a domain that can undo things, and any store."""

    name = "saga"
    title = "saga"
    finished = Death((STEP_AFTER, STEP_AFTER, COMMIT_AFTER), "with the payment's commit")
    lease = SILENCE
    isolation = "each step that is done"
    worst = Death((STEP_BEFORE, STEP_BEFORE), "money taken, nothing paid")

    def node(self, place: Place, services: Services, environment: Environment) -> finality.AsyncNode:
        """Return a node with two stores for the steps."""
        return finality.open_async(
            place.url("home"),
            stores={name: place.url(name) for name in ("bank", "provider")},
            sagas=[Withdraw],
            environment=environment,
            lease=self.lease,
        )

    async def withdraw(self, node: finality.AsyncNode, order: Order, *, deadline: timedelta) -> None:
        """Start the saga and wait for its end."""
        handle = await node.start(Withdraw(order), id=order.id)
        await handle.result()
