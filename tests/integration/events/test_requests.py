"""Requests between services with homes of their own: answered once, refused, or over; never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.cli.command_line import run_command_line
from finality.core.envelope import Envelope
from finality.testing import PostgresServer
from tests.integration.events.kit import own_broker, stored
from tests.integration.kit import MovedClock, effects, eventually, names, put, table, url_of, within

SOON, LONG = timedelta(seconds=0.3), timedelta(minutes=5)


@dataclass(frozen=True)
class GetQuote:
    who: str


@dataclass(frozen=True)
class Quote:
    who: str
    price: int


@finality.react("quotes", by="pricing")
def price(tx: finality.SyncTx, asked: GetQuote) -> Quote:
    put(tx, asked.who)
    if asked.who == "bob":
        raise finality.Refused("bob owes us")
    return Quote(asked.who, 3)


@finality.react("quotes", by="pricing")
async def price_async(tx: finality.Tx, asked: GetQuote) -> Quote:
    await tx.execute("INSERT INTO effect VALUES (?)", asked.who)
    if asked.who == "bob":
        raise finality.Refused("bob owes us")
    return Quote(asked.who, 3)


@finality.react("quotes", by="pricing", at="books")
def price_elsewhere(tx: finality.SyncTx, asked: GetQuote) -> Quote:
    return price(tx, asked)


class Place:
    """A shop that asks and a pricing service that answers, each with a home, on one broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = own_broker()
        self.clock = MovedClock()

    @asynccontextmanager
    async def open(self, name: str, **settings: Any) -> AsyncIterator[finality.AsyncNode]:
        broker = MemoryBroker(self.broker.topics)
        url = url_of(self.folder, name)
        async with finality.open_async(url, broker=broker, environment=self.clock, **settings) as node:
            await table(node)
            yield node

    def shop(self, **settings: Any) -> Any:
        """Open a node of the home that asks."""
        return self.open("shop", **settings)

    def pricing(self, reaction: Any = price) -> Any:
        """Open a node of the home that answers."""
        return self.open("pricing", reactions=[reaction], stores={"books": url_of(self.folder, "books")})

    async def events(self, topic: str) -> list[Envelope]:
        return await stored(self.broker, topic)

    async def replies(self) -> list[Envelope]:
        """Return all that has come as an answer."""
        [request, *_] = await self.events("quotes")
        return await self.events(request.extensions["replyto"])


def ask(node: finality.AsyncNode, who: str = "ada", id: str | None = "q-1", wait: timedelta = LONG) -> Any:
    """Ask for a quote."""
    return within(node.request("quotes", GetQuote(who), answer=Quote, within=wait, id=id))


async def status_of(node: finality.AsyncNode, id: str = "q-1") -> str:
    return next(head.status for head in await node.transactions() if head.id == id)


@pytest.mark.slow
@pytest.mark.parametrize("reaction", [price, price_async, price_elsewhere], ids=lambda r: r.__name__)
def test_a_request_is_answered_or_refused_by_what_reacts_to_it(tmp_path: Path, reaction: Any) -> None:
    async def story() -> None:
        place = Place(tmp_path)
        async with place.shop() as shop, place.pricing(reaction) as pricing:
            at = reaction.code.store
            await table(pricing, at=at)
            assert await ask(shop) == Quote("ada", 3)
            with pytest.raises(finality.Refused, match="bob owes us"):
                await ask(shop, "bob", "q-2")
            asked, _ = sorted(await place.events("quotes"), key=lambda event: event.correlation_id or "")
            answer, refusal = sorted(await place.replies(), key=lambda event: event.correlation_id or "")

            assert await effects(pricing, at=at) == ["ada"], "what refuses leaves nothing"
            assert (answer.correlation_id, answer.causation_id, answer.type) == ("q-1", asked.id, "Quote")
            assert (refusal.correlation_id, refusal.type) == ("q-2", "finality.refused")
            assert [await status_of(shop, id) for id in ("q-1", "q-2")] == ["answered", "refused"]
            assert await pricing.inbox.parked() == []

    asyncio.run(story())


@pytest.mark.slow
def test_an_id_asks_once_and_what_is_delivered_twice_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path)
        async with place.shop() as shop, place.pricing() as pricing:
            assert [await ask(shop), await ask(shop)] == [Quote("ada", 3)] * 2
            with pytest.raises(finality.InputMismatch, match="taken by another request"):
                await ask(shop, "eve")
            with pytest.raises(finality.InputMismatch, match="answered with a Quote, which is read"):
                await shop.answer("q-1", GetQuote)
            [asked], [answer] = await place.events("quotes"), await place.replies()
            twin = answer._replace(id="twin", data=b'{"who":"ada","price":9}')
            await place.broker.publish([asked, answer, twin, answer._replace(id="x", correlation_id="x")])

            async def is_quiet() -> bool:
                both = [(await node.health()).lags for node in (shop, pricing)]
                return not any(lag for lags in both for lag in lags.values())

            await eventually(is_quiet)
            assert await effects(pricing) == ["ada"]
            assert await names(shop, "q-1") == ["Requested", "Answered"]
            assert await shop.answer("q-1", Quote) == Quote("ada", 3)

    asyncio.run(story())


@pytest.mark.slow
def test_nothing_is_run_after_the_deadline_and_a_late_answer_is_seen(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path)
        async with place.shop() as shop:
            with pytest.raises(finality.DeadlinePassed, match="its deadline passed; whoever"):
                await ask(shop, wait=SOON)
            [asked] = await place.events("quotes")
            async with place.pricing() as pricing:

                async def is_known() -> Any:
                    said = "SELECT answer FROM finality_witness WHERE branch = 'pricing'"
                    return await pricing.query(said)

                assert await eventually(is_known) == [("expired",)]
                assert await effects(pricing) == []
                assert await place.replies() == []
            late = Envelope(
                "late", "pricing", "Quote", asked.extensions["replyto"], b'{"who":"ada","price":3}',
                correlation_id="q-1",
            )  # fmt: skip
            await place.broker.publish([late])

            async def is_late() -> bool:
                return (await names(shop, "q-1"))[-1] == "AnsweredLate"

            await eventually(is_late)
            assert await status_of(shop) == "expired"
            with pytest.raises(finality.DeadlinePassed):
                await shop.answer("q-1", Quote)

    asyncio.run(story())


@pytest.mark.slow
@pytest.mark.parametrize("is_async", [False, True])
def test_a_request_in_a_transaction_commits_or_vanishes_with_it(tmp_path: Path, is_async: bool) -> None:
    async def both(shop: finality.AsyncNode, id: str, because: str | None) -> None:
        """Put something and ask for something, and perhaps fail."""

        def plainly(tx: finality.SyncTx) -> None:
            put(tx, id)
            tx.request("quotes", GetQuote(id), id=id, within=LONG, key="k")
            if because is not None:
                raise RuntimeError(because)

        if not is_async:
            return await shop.run(plainly)
        async with shop.transaction() as tx:
            await tx.execute("INSERT INTO effect VALUES (?)", id)
            await tx.request("quotes", GetQuote(id), id=id, within=LONG, key="k")
            if because is not None:
                raise RuntimeError(because)

    async def story() -> None:
        place = Place(tmp_path)
        async with place.shop() as shop, place.shop() as other, place.pricing():
            with pytest.raises(RuntimeError):
                await both(shop, "q-1", "no")
            await both(shop, "q-2", None)
            await both(shop, "q-2", None)

            assert await within(other.answer("q-2", Quote)) == Quote("q-2", 3), "an id asks later, anywhere"
            assert await effects(shop) == ["q-2"] * 2
            assert [event.key for event in await place.events("quotes")] == ["k"]
            with pytest.raises(finality.NotFound):
                await shop.answer("q-1", Quote)

    asyncio.run(story())


@pytest.mark.slow
def test_a_node_that_ends_leaves_its_requests_to_another_of_its_home(tmp_path: Path) -> None:
    """One is answered while nobody of the home is there; the deadline of the other passes meanwhile."""

    async def story() -> None:
        place = Place(tmp_path)
        async with place.shop() as shop:
            waiting = [
                asyncio.ensure_future(shop.request(topic, GetQuote("a"), answer=Quote, within=LONG, id=topic))
                for topic in ("quotes", "void")
            ]

            async def are_sent() -> bool:
                return bool(await place.events("quotes") and await place.events("void"))

            await eventually(are_sent)
        for each in waiting:
            with pytest.raises(finality.Unavailable, match="ask again by id"):
                await each
        async with place.pricing():
            await eventually(place.replies)
        async with place.shop() as shop:
            assert await within(shop.answer("quotes", Quote)) == Quote("a", 3)
            place.clock.move(minutes=5)
            with pytest.raises(finality.DeadlinePassed):
                await within(shop.answer("void", Quote))

    asyncio.run(story())


def test_what_cannot_be_asked_is_said(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path)
        async with place.shop(stores={"books": url_of(tmp_path, "books")}) as shop:
            with pytest.raises(finality.DefinitionError, match="more than zero"):
                await ask(shop, wait=timedelta(0))
            with pytest.raises(finality.DefinitionError, match="make what takes longer a saga"):
                await ask(shop, wait=timedelta(days=2))
            with pytest.raises(finality.DefinitionError, match="its answer is awaited in the home store"):
                await shop.run(
                    lambda tx: tx.request("quotes", GetQuote("ada"), id="q-1", within=LONG), at="books"
                )
            await shop.run(lambda tx: tx.request("quotes", GetQuote("ada"), id="q-1", within=LONG))
            with pytest.raises(finality.NotFound, match="no saga but a request"):
                await shop.outcome("q-1")

    asyncio.run(story())


@pytest.mark.slow
def test_in_a_postgresql_home_it_is_the_same(
    finality_postgres: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both sides in one home; what its operators see of it."""
    url, broker = finality_postgres.database(), own_broker()

    async def story() -> None:
        async with finality.open_async(url, broker=broker, reactions=[priced]) as node:
            asked = [ask(node, who, who) for who in ("ada", "bob", "ada")]
            ada, bob, again = await asyncio.gather(*asked, return_exceptions=True)
            await node.run(lambda tx: tx.request("quotes", GetQuote("eve"), id="eve", within=LONG))

            assert (ada, again) == (Quote("ada", 3), Quote("ada", 3))
            assert isinstance(bob, finality.Refused)
            assert await within(node.answer("eve", Quote)) == Quote("eve", 3)

    asyncio.run(story())

    run_command_line(["transaction", "list", "--status", "refused", "--store", url])
    run_command_line(["transaction", "show", "ada", "--store", url])
    told = capsys.readouterr().out
    assert [line.split()[:3] for line in told.splitlines()[1:2]] == [["bob", "request", "refused"]]
    assert "requested" in told
    assert '{"who": "ada", "price": 3}' in told


@finality.react("quotes", by="pricing")
def priced(tx: finality.SyncTx, asked: GetQuote) -> Quote:
    if asked.who == "bob":
        raise finality.Refused("bob owes us")
    return Quote(asked.who, 3)
