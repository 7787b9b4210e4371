"""One decision for all kinds of participants: reservations, PostgreSQL, MariaDB, a service and the home."""

from __future__ import annotations

from pathlib import Path

import pytest

import finality
from finality.testing import MariaDbServer, PostgresServer
from tests.integration.http_kit import app_of, play, seats, seats_node, served, service
from tests.integration.kit import url_of
from tests.integration.reservation_kit import SEATS, AsyncHold, Hold, becomes

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]

TABLE = "CREATE TABLE payment (booking INTEGER PRIMARY KEY)"


def test_all_kinds_of_participants_do_the_same(
    tmp_path: Path, finality_postgres: PostgresServer, finality_mariadb: MariaDbServer
) -> None:
    bank_url, shop_url = finality_postgres.database(), finality_mariadb.database("mixed")
    finality_postgres.sql(TABLE, database=bank_url.rpartition("/")[2])
    finality_mariadb.sql(TABLE, database="mixed")

    async def story() -> None:
        async with seats_node("memory://") as there, served(app_of(there)) as url:
            bank, shop = finality.postgres(bank_url, name="bank"), finality.mariadb(shop_url, name="shop")
            airline = service(url)
            async with finality.open_async(
                url_of(tmp_path), participants=[bank, shop, airline], reservations=[Hold, AsyncHold]
            ) as node:
                for statement in (*SEATS, TABLE):
                    await node.run(lambda tx, statement=statement: tx.execute(statement))  # type: ignore[misc]  # mypy infers no default

                async def book(number: int, *, fails: bool = False) -> None:
                    async with node.transaction() as tx:
                        await tx.reserve(AsyncHold(str(number)))
                        await tx.reserve(Hold(str(number)), at=airline)
                        await (await tx.enlist(bank)).execute("INSERT INTO payment VALUES ($1)", number)
                        await (await tx.enlist(shop)).execute(f"INSERT INTO payment VALUES ({number})")
                        await tx.execute("INSERT INTO payment VALUES (?)", number)
                        if fails:
                            raise LookupError

                async def paid() -> list[list[int]]:
                    query = "SELECT booking FROM payment"
                    async with node.transaction() as tx:
                        rows = [
                            await tx.execute(query),
                            await (await tx.enlist(bank)).execute(query),
                            await (await tx.enlist(shop)).execute(query),
                        ]
                    return [[n for (n,) in each] for each in rows]

                await book(1)
                with pytest.raises(LookupError):
                    await book(2, fails=True)
                with pytest.raises(finality.Refused, match="seat 1 is sold"):
                    await book(1)

                assert (await seats(node), await seats(there)) == ("sold free free", "sold free free")
                assert await paid() == [[1], [1], [1]]
                await becomes(lambda: doubts(node), 0)

    play(story(), 60)


async def doubts(node: finality.AsyncNode) -> int:
    """Return how many branches wait for a decision."""
    return len(await node.in_doubt())
