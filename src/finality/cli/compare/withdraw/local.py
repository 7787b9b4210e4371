"""A local transaction: accounts and payments are in one database."""

from __future__ import annotations

from datetime import timedelta

import finality
from finality.cli.compare.place import Place
from finality.cli.compare.way import Death, Services
from finality.cli.compare.withdraw.rules import Order, pay, take
from finality.cli.compare.withdraw.withdrawal import Withdrawal
from finality.ports.environment import COMMIT_BEFORE, Environment


class Local(Withdrawal):
    """Needs one database for everything, which is why there are other ways."""

    name = "local"
    title = "local transaction"
    finished = Death((), "with the database's one commit")
    isolation = "nothing"
    worst = Death((COMMIT_BEFORE,), "written, not committed")
    databases = ("home",)
    bank = provider = "home"

    def node(self, place: Place, services: Services, environment: Environment) -> finality.AsyncNode:
        """Return a node on the database."""
        return finality.open_async(place.url("home"), environment=environment, lease=self.lease)

    async def withdraw(self, node: finality.AsyncNode, order: Order, *, deadline: timedelta) -> None:
        """Take and pay in one commit."""
        async with node.transaction(deadline=deadline) as tx:
            await take(tx.execute, order)
            await pay(tx.execute, order)
