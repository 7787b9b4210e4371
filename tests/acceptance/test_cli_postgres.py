"""The commands on a store that is on a server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

import finality
from finality.testing import PostgresServer
from tests.acceptance.command_line import Terminal
from tests.integration.kit import eventually

MIGRATIONS = Path(finality.__file__).parent / "adapters" / "postgres" / "migrations"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]


@dataclass(frozen=True)
class Greeting(finality.Saga):
    name: str

    @finality.step
    def said(self, tx: finality.SyncTx) -> str:
        return f"hello {self.name}"


@pytest.fixture
def url(finality_postgres: PostgresServer) -> str:
    return finality_postgres.database()


def test_every_face_of_a_store_is_there_on_a_server(tmp_path: Path, url: str) -> None:
    async def greet() -> None:
        async with finality.open_async(url, sagas=[Greeting]) as node:
            await (await node.start(Greeting("Ann"), id="g")).outcome()

    asyncio.run(greet())
    shell = Terminal(tmp_path, FINALITY_STORE=url)
    listed = shell.type("transaction", "list", "--json").json
    told = [
        json.loads(line) for line in shell.type("journal", "tail", "--after", "0", "--json").out.splitlines()
    ]
    behind = shell.type("journal", "tail", "--after", str(told[0]["position"]), "--json").out.splitlines()

    assert [item["id"] for item in listed] == ["g"]
    assert "said was done" in shell.type("transaction", "explain", "g").out
    assert [item["type"] for item in told if item["stream"] == "transaction/g"][-1] == "Completed"
    assert [json.loads(line) for line in behind] == told[1:]
    assert shell.type("journal", "tail", "-n", "1").out.rstrip().endswith("completed")
    assert shell.type("node", "list").status == 0
    doctor = shell.type("doctor")
    assert doctor.status == 1
    assert "fsync = off" in doctor.out  # As it is on the server of a test.


def test_a_store_is_migrated_by_many_at_once_and_looked_at_by_none(tmp_path: Path, url: str) -> None:
    shell = Terminal(tmp_path, FINALITY_STORE=url)
    before = shell.type("transaction", "list")
    with finality.open(f"sqlite:///{tmp_path}/shop.db"):
        pass
    beside = shell.type("projection", "list", "--at", f"reports={url}", FINALITY_STORE="sqlite:///shop.db")
    started = [shell.start("migrate") for _ in range(3)]
    said = [process.communicate(timeout=60) for process in started]

    assert before.status == 1
    assert "keeps no journal" in before.err
    assert "no node of Finality has worked" in beside.err
    assert {process.returncode for process in started} == {0}
    ran = [line for out, _ in said for line in out.splitlines() if line.startswith("ran ")]
    assert sorted(ran) == sorted(f"ran {script.stem}" for script in MIGRATIONS.glob("*_pre.sql"))
    assert shell.type("migrate", "--post").status == 0
    assert shell.type("transaction", "list").status == 0


GREETINGS = """
from dataclasses import dataclass
import finality

@dataclass(frozen=True)
class Greeting(finality.Saga):
    name: str

    @finality.step
    def said(self, tx: finality.SyncTx) -> None:
        tx.execute("INSERT INTO said VALUES ($1)", self.name)
"""
LINES = 400


def test_a_run_outlives_a_restart_of_its_server(
    tmp_path: Path, url: str, finality_postgres: PostgresServer
) -> None:
    database = url.rpartition("/")[2]
    (tmp_path / "hello.py").write_text(GREETINGS)
    names = "".join(json.dumps({"name": f"n{n}"}) + "\n" for n in range(LINES))
    (tmp_path / "names.jsonl").write_text(names)

    def said(what: str) -> int:
        return int(finality_postgres.sql(f"SELECT count({what}) FROM said", database=database)[0][0])

    finality_postgres.sql("CREATE TABLE said (name text)", database=database)
    run = Terminal(tmp_path, FINALITY_STORE=url).start("run", "hello.py:Greeting", "names.jsonl")
    asyncio.run(eventually(lambda: said("*") > 0))
    finality_postgres.kill()
    finality_postgres.start()
    run.communicate(timeout=90)

    assert run.returncode == 0
    assert (said("*"), said("DISTINCT name")) == (LINES, LINES)


def test_what_is_not_there_is_told_without_the_password(tmp_path: Path, url: str) -> None:
    secret = f"{url}{'&' if '?' in url else '?'}password=s3cret"
    shell = Terminal(tmp_path, FINALITY_STORE=secret)
    said = [shell.type("transaction", "list")]  # It is no store yet.
    shell.type("migrate")
    said += [shell.type("transaction", "show", "nobody"), shell.type("journal", "tail", "--type", "Nope")]

    assert [each.status for each in said] == [1, 1, 1]
    for each in said:
        assert "password=***" in each.err
        assert "s3cret" not in each.err + each.out


def test_a_server_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    said = Terminal(tmp_path).type("transaction", "list", "--store", "postgresql://nobody@127.0.0.1:9/none")

    assert said.status == 1
    assert "unavailable" in said.err
    assert "Traceback" not in said.err
