"""The PostgreSQL server of the test kit: what outlives it and what it leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from finality.testing import PostgresServer, ServerFailed, postgres

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def test_what_is_committed_and_what_is_prepared_outlives_a_kill() -> None:
    with postgres() as server:
        server.database("shop")
        server.sql("CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)", database="shop")
        server.sql("BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'mine'", database="shop")
        url = server.url
        server.kill()
        with pytest.raises(ServerFailed, match="refused"):
            server.sql("SELECT 1")
        server.start()

        assert server.url == url
        assert server.sql("SELECT a FROM t", database="shop") == [["1"]]
        assert server.sql("SELECT gid FROM pg_prepared_xacts") == [["mine"]]


@pytest.mark.parametrize("bin", DEBIAN, ids=str)
def test_it_runs_from_another_installation(bin: Path) -> None:
    with postgres(bin=bin, settings={"fsync": "on"}) as server:
        version = server.sql("SHOW server_version")[0][0]

        assert version.startswith(f"{bin.parent.name}.")
        assert server.sql("SHOW fsync") == [["on"]]


def test_it_goes_with_the_process_that_started_it() -> None:
    code = (
        "import os, finality.testing\n"
        "server = finality.testing.postgres().__enter__()\n"
        "print(server.folder, flush=True)\n"
        "os._exit(9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    log = Path(ended.stdout.strip()) / "log"
    # The guard of the dead process removes the folder last.
    gone = subprocess.run(
        ["/bin/sh", "-c", 'for _ in $(seq 500); do [ -e "$0" ] || exit 0; sleep 0.01; done; exit 1', log]
    )

    assert gone.returncode == 0


def test_a_folder_without_binaries_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="initdb"), postgres(bin=tmp_path):
        raise AssertionError("it started")


def test_a_database_of_one_name_is_empty_again(finality_postgres: PostgresServer) -> None:
    finality_postgres.database("again")
    finality_postgres.sql("CREATE TABLE t (a int)", database="again")
    finality_postgres.database("again")

    assert finality_postgres.sql(
        "SELECT count(*) FROM pg_tables WHERE tablename = 't'", database="again"
    ) == [["0"]]
