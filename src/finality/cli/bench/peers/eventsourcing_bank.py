"""The same accounts by the `eventsourcing` library, at its fastest: kept in memory, saved as they change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

NAME = "eventsourcing"


class Account(Aggregate):
    """What a client deposits into."""

    @event("Opened")
    def __init__(self) -> None:
        self.balance = 0

    @event("Deposited")
    def deposit(self, amount: int) -> None:
        """Deposit."""
        self.balance += amount


class Bank(Application[UUID]):
    """Appends by threads, each with an account of its own."""

    def __init__(self, settings: dict[str, str]) -> None:
        super().__init__(settings)
        self.accounts: list[Account] = []

    def deposit(self, clients: int, size: int, stop: float) -> list[float]:
        """Let so many clients append *size* events at a time until *stop*; return how long each took."""
        latencies: list[float] = []
        threads = [
            threading.Thread(target=self._client, args=(size, stop, latencies)) for _ in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return latencies

    def _client(self, size: int, stop: float, latencies: list[float]) -> None:
        account = Account()
        self.save(account)
        clock = time.perf_counter
        while clock() < stop:
            begun = clock()
            for _ in range(size):
                account.deposit(1)
            self.save(account)
            latencies.append(clock() - begun)
        self.accounts.append(account)

    def check(self) -> None:
        """See that what was saved is there."""
        for account in self.accounts[:3]:
            kept: Any = self.repository.get(account.id)
            assert kept.balance == account.balance, f"{kept.balance} kept of {account.balance}"


@contextmanager
def opened(settings: dict[str, str]) -> Iterator[Bank]:
    """Give a bank on *settings*."""
    bank = Bank(settings)
    try:
        yield bank
    finally:
        bank.close()


def on_sqlite(path: Path) -> dict[str, str]:
    """Return the settings for a file; the library sets WAL and leaves synchronous at FULL."""
    return {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(path),
        "SQLITE_LOCK_TIMEOUT": "60",
    }


def on_postgres(host: str, port: int, user: str, database: str, clients: int) -> dict[str, str]:
    """Return the settings for a database, with a connection for each client."""
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": database,
        "POSTGRES_HOST": host,
        "POSTGRES_PORT": str(port),
        "POSTGRES_USER": user,
        "POSTGRES_PASSWORD": "none",
        "POSTGRES_POOL_SIZE": str(min(clients, 64)),
        "POSTGRES_MAX_OVERFLOW": "0",
    }
