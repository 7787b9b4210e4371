"""A person is forgotten: wherever their data was kept, nobody reads it any more."""

from __future__ import annotations

from pathlib import Path

import pytest

import finality
from finality.core.errors import DefinitionError
from finality.core.sourcing import aggregate_stream
from tests.core.people import Customer, Joined, Moved
from tests.integration.kit import eventually, url_of
from tests.integration.test_aggregates import play, url  # noqa: F401 - the fixture of every kind of home

ADA, BOB = finality.Personal("Ada Lovelace", of="c7"), finality.Personal("Bob", of="c8")
KEY = finality.new_secret_key()


async def settle(node: finality.AsyncNode) -> None:
    """Keep personal data in events, in a snapshot and in the outbox."""
    async with node.transaction() as tx:
        await tx.append(await tx.load(Customer, "7"), Joined(ADA))
        await tx.publish("joined", Joined(ADA))
    for n in range(2):
        city = finality.Personal({"city": f"Paris {n}"}, of="c7")
        await node.append(await node.load(Customer, "7"), Moved(city))
    await node.decide(Customer, "8", lambda customer: Joined(BOB))


def written(folder: Path) -> bytes:
    """Return all that is in the files of a store."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


def test_a_person_is_forgotten_in_events_snapshots_and_the_outbox(url: str) -> None:  # noqa: F811
    async def story(node: finality.AsyncNode) -> None:
        await settle(node)
        home = (await node.opened()).home
        assert (await node.load(Customer, "7")).name == ADA

        async with finality.open_async(url, secret_key=KEY) as other:
            await other.forget("c7")

        there = await home.sources.find(aggregate_stream("Customer", "7"))
        assert there is not None
        assert there.snapshot is not None
        forgotten = await node.load(Customer, "7")
        assert forgotten.name is not None
        assert (forgotten.name.is_erased, forgotten.moves) == (True, 2)
        assert [repr(each.event) for each in await node.events(Customer, "7")] == [
            "Joined(name=Personal(erased))",
            "Moved(city=Personal(erased))",
            "Moved(city=Personal(erased))",
        ]
        assert (await node.load(Customer, "8")).name == BOB
        with pytest.raises(finality.Erased):
            await node.decide(Customer, "7", lambda customer: Joined(ADA))
        async with node.transaction() as tx:
            customer = await tx.load(Customer, "7")
            assert customer.name is not None
            assert customer.name.is_erased

    play(url, story, secret_key=KEY)


def test_what_is_kept_and_published_is_sealed(tmp_path: Path) -> None:
    async def story(node: finality.AsyncNode) -> None:
        await settle(node)
        [(payload,)] = await node.query("SELECT payload FROM finality_outbox")
        context = await node.opened()

        assert b"Lovelace" not in payload
        assert context.codec.subjects_in([payload]) == {"c7"}
        assert not any(text in written(tmp_path) for text in (b"Lovelace", b"Paris"))
        arrived = context.codec.decode(payload, Joined)
        async with node.transaction() as tx:
            assert await tx.reveal(arrived.name) == "Ada Lovelace"
        await node.forget("c7")
        async with node.transaction() as tx:
            with pytest.raises(finality.Erased, match="the person was forgotten"):
                await tx.reveal(arrived.name)

    play(url_of(tmp_path), story, secret_key=KEY)


def test_what_a_failed_transaction_has_kept_leaves_no_key(url: str) -> None:  # noqa: F811
    async def story(node: finality.AsyncNode) -> None:
        async def fail(tx: finality.Transaction) -> None:
            await tx.append(await tx.load(Customer, "7"), Joined(ADA))
            raise LookupError

        with pytest.raises(LookupError):
            await node.run(fail)

        assert await (await node.opened()).home.sources.subject_keys(["c7"]) == {}
        await settle(node)
        assert (await node.load(Customer, "7")).name == ADA

    play(url, story, secret_key=KEY)


def test_personal_data_needs_a_key_and_the_home_store(tmp_path: Path) -> None:
    async def without_key(node: finality.AsyncNode) -> None:
        with pytest.raises(DefinitionError, match="no key to seal it"):
            await node.decide(Customer, "7", lambda customer: Joined(ADA))

    async def elsewhere(node: finality.AsyncNode) -> None:
        async with node.transaction(at="ledger") as tx:
            with pytest.raises(DefinitionError, match="their key is in the home store"):
                await tx.publish("joined", Joined(ADA))

    play("memory://", without_key, secret_key="")
    play("memory://", elsewhere, secret_key=KEY, stores={"ledger": url_of(tmp_path)})


def test_a_reaction_reveals_what_came_sealed_and_answers_with_it_sealed(tmp_path: Path) -> None:
    welcomed: list[str] = []

    @finality.react("joined", by="mailing", publish="welcomed")
    async def welcome(tx: finality.Tx, joined: Joined) -> Moved:
        welcomed.append(f"{joined.name} {await tx.reveal(joined.name)}")
        return Moved(finality.Personal({"city": "Paris"}, of="c7"))

    async def story(node: finality.AsyncNode) -> None:
        await node.run(lambda tx: tx.publish("joined", Joined(ADA)))
        await eventually(lambda: node.query("SELECT 1 FROM finality_outbox WHERE type = 'Moved'"))

        assert welcomed == ["Personal(sealed) Ada Lovelace"]
        [(payload,)] = await node.query("SELECT payload FROM finality_outbox WHERE type = 'Moved'")
        assert b"Paris" not in payload

    play(url_of(tmp_path), story, secret_key=KEY, reactions=[welcome])
