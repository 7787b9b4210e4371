"""By outbox: the bank takes the money and publishes that it has; the provider pays when it hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import finality
from finality.cli.compare.place import Place
from finality.cli.compare.tally import Tally
from finality.cli.compare.way import SILENCE, Death, Services
from finality.cli.compare.withdraw.rules import ACCOUNT, Order, give_back, pay, take
from finality.cli.compare.withdraw.withdrawal import Withdrawal
from finality.core.placement import partition_of
from finality.node import AsyncNode
from finality.ports.broker import PARTITIONS
from finality.ports.environment import PUBLISH_BEFORE, REACTION_BEFORE, Environment
from finality.ports.events import SHARES
from finality.runtime.reaction import reader_of
from finality.runtime.relay import RELAY

LOOK_SECONDS = 0.002
ACCEPTED = "accepted"
ANSWERS = "answers"
ORDERS = (
    "CREATE TABLE withdrawal (id VARCHAR(64) PRIMARY KEY NOT NULL, state VARCHAR(8) NOT NULL, "
    "because VARCHAR(64) NOT NULL)"
)


@dataclass(frozen=True)
class Accepted:
    """The bank has taken the money."""

    order: Order


@dataclass(frozen=True)
class Paid:
    """The provider has paid."""

    order: Order


@dataclass(frozen=True)
class NotPaid:
    """The provider never will."""

    order: Order
    because: str


def key_of(account: str) -> str:
    """Return what keeps the events of an account in order.

    The upper half of all shares goes to whoever comes second. The account that is withdrawn from is
    there, in the outbox and among the answers: the coordinator that is killed comes second.
    """
    return f"account:{account}"


@finality.react(ACCEPTED, by="provider", publish=ANSWERS)
async def pay_card(tx: finality.Tx, accepted: Accepted) -> Paid | NotPaid:
    """Pay, or say why not; at the provider."""
    try:
        await pay(tx.execute, accepted.order)
    except finality.Refused as refused:
        return NotPaid(accepted.order, refused.because)
    return Paid(accepted.order)


@finality.react(ANSWERS, by="bank")
async def close(tx: finality.Tx, paid: Paid) -> None:
    """Note that it is paid; at the bank."""
    await _become(tx, paid.order, "paid")


@finality.react(ANSWERS, by="bank")
async def money_back(tx: finality.Tx, failed: NotPaid) -> None:
    """Give the money back, since it was not paid; at the bank."""
    await give_back(tx.execute, failed.order)
    await _become(tx, failed.order, "refused", failed.because)


async def _become(tx: finality.Tx, order: Order, state: str, because: str = "") -> None:
    await tx.execute("UPDATE withdrawal SET state = $1, because = $2 WHERE id = $3", state, because, order.id)


class ByOutbox(Withdrawal):
    """Takes a broker, a domain that can undo things, and a customer who is content with "accepted".

    The coordinator is a process of the bank, whose home store holds the accounts. The provider is a
    service beside it; neither ever calls the other.
    """

    name = "outbox"
    title = "outbox"
    finished = Death((REACTION_BEFORE,), "with the payment's commit")
    isolation = "the money taken, until it is paid or back"
    worst = Death((PUBLISH_BEFORE,), "money taken, event in the outbox")
    lease = SILENCE
    databases = ("home", "provider")
    bank = "home"
    remark = "the customer hears 'accepted' at the bank's commit; its times are until the bank knows the end"

    async def found(self, place: Place) -> None:
        """Open an account, and a list of what was accepted."""
        await super().found(place)
        await place.execute(self.bank, ORDERS)

    async def open(self, place: Place) -> set[str]:
        """Return what was accepted, and is neither paid nor refused."""
        accepted = await place.execute(self.bank, "SELECT id FROM withdrawal WHERE state = 'accepted'")
        return {id for (id,) in accepted}

    @contextlib.asynccontextmanager
    async def services(self, place: Place, tally: Tally) -> AsyncIterator[Services]:
        """Run the provider."""
        provider = finality.open_async(
            place.url("provider"), broker=place.broker, reactions=[pay_card], environment=tally.environment()
        )
        async with provider:
            await tally.watch(provider, place.silent)
            yield {}

    def node(self, place: Place, services: Services, environment: Environment) -> AsyncNode:
        """Return a process of the bank."""
        return finality.open_async(
            place.url(self.bank),
            broker=place.broker,
            reactions=[close, money_back],
            environment=environment,
            lease=self.lease,
        )

    async def ready(self, node: AsyncNode) -> None:
        """Wait until this process relays what it accepts, and is the one that hears of the answer.

        The bank's processes share outbox and answers by key. If another one had them, it would go on at
        once, and to die would do no harm.
        """
        home, me, key = (await node.opened()).home, node._insides.context.node, key_of(ACCOUNT)
        shares = {
            RELAY: partition_of(f"{ACCEPTED}/{key}", SHARES),
            reader_of("bank", ANSWERS): partition_of(key, PARTITIONS),
        }
        while shares:
            for reader, share in [*shares.items()]:
                if any(row.node == me and row.share == share for row in await home.progress(reader)):
                    del shares[reader]
            await asyncio.sleep(LOOK_SECONDS)

    async def withdraw(self, node: AsyncNode, order: Order, *, deadline: timedelta) -> float:
        """Take and publish in one commit, then wait until the end is known."""
        async with node.transaction(deadline=deadline) as tx:
            await take(tx.execute, order)
            await tx.execute("INSERT INTO withdrawal VALUES ($1, 'accepted', '')", order.id)
            await tx.publish(ACCEPTED, Accepted(order), key=key_of(order.account))
        accepted = time.perf_counter()
        async with asyncio.timeout(deadline.total_seconds()):
            while True:
                [(state, because)] = await node.query(
                    "SELECT state, because FROM withdrawal WHERE id = $1", order.id
                )
                if state == "refused":
                    raise finality.Refused(because)
                if state == "paid":
                    return accepted
                await asyncio.sleep(LOOK_SECONDS)
