"""By event sourcing: the account is its events, and whoever reads them goes on with what they owe."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import finality
from finality.cli.compare.place import Place
from finality.cli.compare.way import Death, Services
from finality.cli.compare.withdraw import account as events
from finality.cli.compare.withdraw.account import Account, Deposited
from finality.cli.compare.withdraw.rules import ACCOUNT, Order, pay_once
from finality.cli.compare.withdraw.withdrawal import LOOK_AT_PAYMENTS, START_CENTS, Money, Withdrawal
from finality.node import AsyncNode
from finality.ports.environment import COMMIT_AFTER, Environment

LOOK_AT_EVENTS = (
    "SELECT e.version, e.type, e.data FROM finality_event AS e JOIN finality_stream AS s "  # noqa: S608 - our own constant
    f"ON s.stream = e.stream WHERE s.name = 'Account/{ACCOUNT}' AND e.version > {{}} ORDER BY e.version"
)


class EventSourced(Withdrawal):
    """Takes a domain that remembers, and a provider who knows a request again by its id."""

    name = "event-sourcing"
    title = "event sourcing"
    finished = Death((COMMIT_AFTER, COMMIT_AFTER), "with the payment's commit")
    isolation = "the money deducted, until it is paid or back"
    worst = Death((COMMIT_AFTER,), "money deducted, nothing paid")
    databases = ("home", "provider")
    bank = "home"
    remark = "nobody goes on by itself with what is owed: the account's next withdrawal does, here at once"

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, Account]] = {}

    async def found(self, place: Place) -> None:
        """Open an account: its first event."""
        async with finality.open_async(place.url(self.bank)) as node:
            await node.decide(Account, ACCOUNT, lambda account: Deposited(START_CENTS))
        await self.found_payments(place)

    async def books(self, place: Place) -> Money:
        """Fold the events, and ask the provider."""
        account = await self._account(place)
        [at_provider] = await place.execute(self.provider, LOOK_AT_PAYMENTS)
        return Money(account.cents, 0, *at_provider)

    async def open(self, place: Place) -> set[str]:
        """Return what the account owes."""
        return set((await self._account(place)).orders)

    async def _account(self, place: Place) -> Account:
        """Return the account that the events in the journal make: those that are new, on what was seen."""
        before, account = self._seen.get(place.spec, (0, Account()))
        rows = await place.execute(self.bank, LOOK_AT_EVENTS.format(before))
        for _, kind, data in rows:
            account = account.evolve(_event(kind, json.loads(data)))
        self._seen[place.spec] = before + len(rows), account
        return account

    def node(self, place: Place, services: Services, environment: Environment) -> AsyncNode:
        """Return a node whose journal holds the account."""
        return finality.open_async(
            place.url(self.bank),
            stores={"provider": place.url("provider")},
            environment=environment,
            lease=self.lease,
        )

    async def withdraw(self, node: AsyncNode, order: Order, *, deadline: timedelta) -> None:
        """Request, check and deduct; then go on with whatever the account owes."""
        account = await node.decide(Account, order.account, lambda account: account.withdraw(order))
        for owed in account.orders.values():
            account = await _go_on(node, owed, deadline)
        if because := account.closed[order.id]:
            raise finality.Refused(because)


async def _go_on(node: AsyncNode, order: Order, deadline: timedelta) -> Account:
    """Pay what was deducted, and note what came of it; return the account with that."""
    try:
        async with node.transaction(at="provider", deadline=deadline) as tx:
            await pay_once(tx.execute, order)
    except finality.Refused as refused:
        because = refused.because
        return await node.decide(Account, order.account, lambda account: account.refused(order.id, because))
    return await node.decide(Account, order.account, lambda account: account.paid(order.id))


def _event(kind: str, data: dict[str, Any]) -> Any:
    """Return the event that a row of the journal is."""
    if "order" in data:
        data = {"order": Order(**data["order"])}
    return getattr(events, kind)(**data)
