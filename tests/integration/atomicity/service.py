"""A bank that is a service: what comes in is credited at the confirm, what goes out is held by the try."""

from __future__ import annotations

import socket
import sqlite3
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import finality
import finality.http
from tests.integration.forks import PROCESSES

TOKEN = "only for this test"
START_SECONDS_MAX = 30.0
OPENED_WITH = 1_000


@dataclass(frozen=True)
class Move(finality.Reservation[int]):
    """Cents that come in, or go out if they are negative."""

    tx: str
    cents: int

    def try_(self, tx: finality.SyncTx) -> int:
        """Hold what goes out."""
        out = min(self.cents, 0)
        tx.add("balance", {"id": 1}, cents=out, at_least=0)
        return out

    def confirm(self, tx: finality.SyncTx, held: int) -> None:
        """Credit what comes in, and write it down."""
        tx.add("balance", {"id": 1}, cents=self.cents - held)
        tx.execute("INSERT INTO ledger VALUES (?, ?)", self.tx, self.cents)

    def cancel(self, tx: finality.SyncTx, held: int | None) -> None:
        """Give back what was held."""
        tx.add("balance", {"id": 1}, cents=-(held or 0))


def serve(path: str, port: int) -> None:
    """Be the service."""
    import uvicorn

    node = finality.open_async(f"sqlite:///{path}")
    app: Any = finality.http.participant(node, reservations=[Move], tokens=[TOKEN])
    uvicorn.run(app, port=port, log_level="error")


class BankService:
    """The service's process: killed and started like the servers of the other banks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: BaseProcess | None = None
        with finality.open(f"sqlite:///{path}") as node:
            node.run(create)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = PROCESSES.Process(target=serve, args=(str(self.path), self.port), daemon=True)
        self._process.start()
        give_up = time.monotonic() + START_SECONDS_MAX
        while not self._listens():
            assert time.monotonic() < give_up, "the service does not listen"
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def sql(self, *statements: str, database: str = "") -> list[list[Any]]:
        """Look into its file."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return [[*row] for row in [connection.execute(each) for each in statements][-1].fetchall()]
        finally:
            connection.close()


def create(tx: finality.SyncTx) -> None:
    """Create the bank's tables."""
    tx.execute("CREATE TABLE balance (id integer PRIMARY KEY, cents integer NOT NULL)")
    tx.execute("CREATE TABLE ledger (tx text PRIMARY KEY, cents integer NOT NULL)")
    tx.execute("INSERT INTO balance VALUES (1, ?)", OPENED_WITH)
