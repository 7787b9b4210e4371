"""Banks in real databases, one set for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from finality.testing import MariaDbServer, PostgresServer
from tests.integration.atomicity.bank import Bank
from tests.integration.atomicity.service import BankService


@pytest.fixture
def banks(
    tmp_path: Path, finality_postgres: PostgresServer, finality_mariadb: MariaDbServer
) -> Iterator[list[Bank]]:
    """One bank in PostgreSQL, one in MariaDB, one in a SQLite file, and one that is a service over HTTP."""
    service = BankService(tmp_path / "service.db")
    made = [
        Bank("postgres", finality_postgres.database(), finality_postgres),
        Bank("mariadb", finality_mariadb.database(), finality_mariadb),
        Bank("sqlite", f"sqlite:///{tmp_path}/bank.db"),
    ]
    for bank in made:
        bank.create()
    service.start()
    yield [*made, Bank("service", service.url, service)]
    service.kill()
