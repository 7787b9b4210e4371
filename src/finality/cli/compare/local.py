"""A local transaction: accounts and payments are in one database."""

from __future__ import annotations

from datetime import timedelta

import finality
from finality.cli.compare.place import Place
from finality.cli.compare.way import Death, Services, Way
from finality.cli.compare.withdrawal import Order, pay, take
from finality.ports.environment import COMMIT_BEFORE, Environment


class Local(Way):
    """Needs one database for everything, which is why there are other ways."""

    name = "local"
    title = "local transaction"
    finished = "with the database's one commit"
    isolation = "full: nobody sees it before it is finished"
    worst = Death(COMMIT_BEFORE, 1, "written, not committed")
    bank = provider = "home"

    def node(
        self, place: Place, services: Services, environment: Environment, *, lease: timedelta
    ) -> finality.AsyncNode:
        """Return a node on the database."""
        return finality.open_async(place.url("home"), environment=environment, lease=lease)

    async def withdraw(self, node: finality.AsyncNode, order: Order, *, deadline: timedelta) -> None:
        """Take and pay in one commit."""
        async with node.transaction(deadline=deadline) as tx:
            await take(tx.execute, order)
            await pay(tx.execute, order)
