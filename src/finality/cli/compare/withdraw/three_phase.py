"""Three-phase commit: bank and provider are services, whose agents can end it without a coordinator."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import finality
from finality.cli.compare.place import Place
from finality.cli.compare.tally import Tally
from finality.cli.compare.way import SILENCE, Death, Services
from finality.cli.compare.withdraw.rules import MoneyHold, Order, PaymentHold
from finality.cli.compare.withdraw.withdrawal import Withdrawal
from finality.ports.environment import PRE_COMMIT_AFTER, PREPARE_AFTER, Environment

TOKEN = "known to everybody on this machine"  # noqa: S105 - the services live as long as the comparison
KINDS: dict[str, type[finality.Reservation[Any]]] = {"bank": MoneyHold, "provider": PaymentHold}


class ThreePhase(Withdrawal):
    """Takes services that run agents, and a network that never splits."""

    name = "three-phase"
    title = "three-phase commit"
    finished = Death((PRE_COMMIT_AFTER, PRE_COMMIT_AFTER), "when both are pre-committed")
    isolation = "the money set aside"
    worst = Death((PREPARE_AFTER, PREPARE_AFTER), "both voted yes, nothing decided")
    extra = ("http", "aiohttp")

    @contextlib.asynccontextmanager
    async def services(self, place: Place, tally: Tally) -> AsyncIterator[Services]:
        """Run both services on loopback, each with an agent and a store of its own."""
        from finality.cli.compare.serving import served
        from finality.http import participant

        async with contextlib.AsyncExitStack() as stack:
            urls = {}
            for name, kind in KINDS.items():
                node = finality.open_async(place.url(name), environment=tally.environment())
                await stack.enter_async_context(node)
                app = participant(
                    node, reservations=[kind], tokens=[TOKEN], agents_token=TOKEN, silence=SILENCE
                )
                stack.push_async_callback(app.close)
                urls[name] = await stack.enter_async_context(served(app))
            yield urls

    def node(self, place: Place, services: Services, environment: Environment) -> finality.AsyncNode:
        """Return a node that knows the services."""
        return finality.open_async(
            place.url("home"),
            participants=[finality.service(services[name], name=name, token=TOKEN) for name in KINDS],
            environment=environment,
            lease=self.lease,
        )

    async def withdraw(self, node: finality.AsyncNode, order: Order, *, deadline: timedelta) -> None:
        """Hold at the one and at the other; their agents vote, pre-commit and commit."""
        there: dict[str, Any] = {each.name: each for each in node.settings.participants}
        async with node.transaction(deadline=deadline, protocol=finality.THREE_PHASE) as tx:
            for name, kind in KINDS.items():
                await tx.reserve(kind(order), at=there[name])  # type: ignore[call-arg]  # each kind is of an order
