"""PostgreSQL and MariaDB as participants, beyond what all participants promise."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

import finality
from finality.adapters.mariadb import health as mariadb_health
from finality.adapters.postgres import health as postgres_health
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import Conflict, DefinitionError, Refused, Unavailable
from finality.core.two_phase import Decision, Vote
from finality.testing import MariaDbServer, PostgresServer, postgres
from tests.conformance.participants.worlds import id_of, run


def bad(findings: list[tuple[str, bool, str]]) -> dict[str, str]:
    """Return what is not good."""
    return {check: found for check, is_good, found in findings if not is_good}


@pytest.mark.slow
def test_postgresql_says_what_its_promises_lack_and_refuses_without_harm() -> None:
    async def story(url: str) -> None:
        bank = finality.postgres(url, name="bank")
        await bank.open(SystemEnvironment())
        findings = bad(await bank.health())

        assert findings.keys() == {"prepared transactions", "fsync", "synchronous_commit"}
        assert "set it to max_connections" in findings["prepared transactions"]

        branch = await bank.begin(id_of("t1"))
        await branch.execute("CREATE TABLE item (n integer)")
        with pytest.raises(Refused, match="max_prepared_transactions"):
            await branch.prepare()
        assert await bank.finish(id_of("t1"), Decision.ABORT) is Decision.ABORT
        alone = await bank.begin(id_of("t2"))
        await alone.execute("CREATE TABLE item (n integer)")
        await alone.commit()  # One phase needs no vote.
        await bank.close()

    settings = {"max_prepared_transactions": "0", "synchronous_commit": "off"}
    with postgres(settings=settings) as server:
        run(story(server.url))

        assert server.sql("SELECT count(*) FROM item") == [["0"]]


@pytest.mark.slow
def test_a_server_that_comes_later_is_found_then() -> None:
    async def story(server: PostgresServer) -> None:
        bank = finality.postgres(server.url, name="bank")
        with pytest.raises(Unavailable, match="participant bank"):
            await bank.open(SystemEnvironment())
        with pytest.raises(Unavailable):
            await bank.begin(id_of("t1"))
        with pytest.raises(Unavailable):
            await bank.health()
        await asyncio.to_thread(server.start)
        branch = await bank.begin(id_of("t1"))
        await branch.execute("CREATE TABLE item (n integer)")

        assert await branch.prepare() is Vote.YES
        assert await bank.finish(id_of("t1"), Decision.COMMIT) is Decision.COMMIT
        await bank.close()
        with pytest.raises(Unavailable, match="closed"):
            await bank.begin(id_of("t2"))

    with postgres() as server:
        server.stop()
        run(story(server))


def test_a_serialization_failure_is_a_conflict_at_the_vote(finality_postgres: PostgresServer) -> None:
    """Write skew: each reads what the other writes, so that one of them is turned away."""

    async def story(url: str) -> list[Any]:
        bank = finality.postgres(url, name="bank", isolation="serializable")
        await bank.open(SystemEnvironment())
        first, second = await bank.begin(id_of("t1")), await bank.begin(id_of("t2"))
        for branch in (first, second):
            await branch.execute("SELECT count(*) FROM on_call")
        await first.execute("DELETE FROM on_call WHERE name = 'ann'")
        await second.execute("DELETE FROM on_call WHERE name = 'bob'")
        votes = [await first.prepare()]
        try:
            votes.append(await second.prepare())
        except Conflict as error:
            votes.append(error)  # type: ignore[arg-type]  # an error stands for the vote
        await bank.finish(id_of("t1"), Decision.COMMIT)
        await bank.close()
        return votes

    url = finality_postgres.database("hospital")
    finality_postgres.sql(
        "CREATE TABLE on_call (name text PRIMARY KEY)",
        "INSERT INTO on_call VALUES ('ann'), ('bob')",
        database="hospital",
    )
    first, second = run(story(url))

    assert first is Vote.YES
    assert isinstance(second, Conflict)
    assert finality_postgres.sql("SELECT name FROM on_call", database="hospital") == [["bob"]]


def test_a_branch_finds_its_witness_whatever_its_search_path(finality_postgres: PostgresServer) -> None:
    async def story(url: str) -> None:
        bank = finality.postgres(url, name="bank")
        await bank.open(SystemEnvironment())
        branch = await bank.begin(id_of("t1"))
        await branch.execute("CREATE SCHEMA tenant")
        await branch.execute("SET LOCAL search_path = tenant")
        await branch.execute("CREATE TABLE item (n integer)")
        await branch.commit()

        assert await bank.settle(id_of("t1")) is Decision.COMMIT
        await bank.close()

    run(story(finality_postgres.database("tenants")))


def test_mariadb_says_what_its_promises_lack(finality_mariadb: MariaDbServer) -> None:
    async def story(url: str) -> dict[str, str]:
        stock = finality.mariadb(url, name="stock")
        await stock.open(SystemEnvironment())
        findings = bad(await stock.health())
        await stock.close()
        return findings

    url = finality_mariadb.database("health")

    assert run(story(url)) == {}

    finality_mariadb.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    finality_mariadb.sql("CREATE TABLE t (a int)", "XA START 'a', 'b'", "INSERT INTO t VALUES (1)",
                         "XA END 'a', 'b'", "XA PREPARE 'a', 'b'", database="health")  # fmt: skip
    try:
        findings = run(story(url))
    finally:
        finality_mariadb.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1", "XA ROLLBACK 'a', 'b'")

    assert findings.keys() == {"durability", "orphans"}
    assert "set it to 1" in findings["durability"]


def test_settings_are_judged() -> None:
    assert mariadb_health._binlog(has_binlog=True, sync=1)[1]
    assert not mariadb_health._binlog(has_binlog=True, sync=0)[1]
    assert mariadb_health._version("10.11.19-MariaDB-0+deb12u1")[1]
    assert not mariadb_health._version("10.4.2-MariaDB")[1]
    assert mariadb_health._version("8.0.36")[1]
    assert not mariadb_health._version("5.7.44")[1]
    assert postgres_health._version(14, "14.1")[1]
    assert not postgres_health._version(13, "13.9")[1]
    assert not postgres_health._prepared(81, 100)[1]
    assert not postgres_health._others(1, "theirs")[1]
    assert postgres_health.holds(["RowExclusiveLock a", "RowShareLock a", "ShareLock b"]) == (
        "row locks on a, ShareLock on b"
    )


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: finality.postgres("postgresql://h/b", name="a:b"), "cannot be called 'a:b'"),
        (lambda: finality.postgres("postgresql://h/b", name="x" * 33), "cannot be called"),
        (lambda: finality.postgres("postgresql://h/b", name="a", isolation="snapshot"), "'snapshot'"),
        (lambda: finality.mariadb("mariadb://h/b", name=""), "cannot be called ''"),
        (lambda: finality.mariadb("mariadb://h/b", name="a", isolation="none"), "'none'"),
        (lambda: finality.mariadb("mariadb://host", name="a"), "names no MariaDB database"),
        (lambda: finality.mariadb("postgresql://h/b", name="a"), "names no MariaDB database"),
        (lambda: finality.mariadb("mariadb://h/b?charset=x", name="a"), "names no MariaDB database"),
    ],
)
def test_what_cannot_be_a_participant_is_said_at_once(make: Any, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        make()


@pytest.mark.parametrize(
    "url", ["mariadb://nobody:wrong@127.0.0.1:{port}/stock", "mariadb://root@127.0.0.1:1/b"]
)
def test_a_server_that_lets_nobody_in_is_out_of_reach(finality_mariadb: MariaDbServer, url: str) -> None:
    async def story() -> None:
        stock = finality.mariadb(url.format(port=finality_mariadb.port), name="stock")
        with pytest.raises(Unavailable, match="participant stock"):
            await stock.open(SystemEnvironment())
        await stock.close()

    run(story())


@pytest.mark.slow
@pytest.mark.parametrize("name, package", [("postgres", "asyncpg"), ("mariadb", "asyncmy")])
def test_a_package_that_is_missing_is_named_with_what_to_install(name: str, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; import finality; finality.{name}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert ended.returncode == 1
    assert f"pip install finality[{name}]" in ended.stderr.splitlines()[-1]
