"""Banks in several databases, random transfers between them, and an audit by means of their own.

Each bank has one balance, which may not go below zero, and a ledger with a row for each transaction
that took effect there. Both are changed in one branch, so they agree; the banks must agree as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import finality
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import Unavailable
from finality.node.opening import participant_at
from finality.testing import MariaDbServer, PostgresServer
from tests.integration.atomicity.service import OPENED_WITH, TOKEN, BankService
from tests.integration.forks import PROCESSES

TABLES = (
    "CREATE TABLE balance (id integer PRIMARY KEY, cents integer NOT NULL CHECK (cents >= 0))",
    "CREATE TABLE ledger (tx varchar(64) PRIMARY KEY, cents integer NOT NULL)",
    f"INSERT INTO balance VALUES (1, {OPENED_WITH})",
)
AUDIT = ("SELECT cents FROM balance", "SELECT tx, cents FROM ledger")
SWEEP_SECONDS = 0.1  # Who has died holds locks that everybody else waits for.
LATER_SECONDS = 3_600.0  # Whoever recovers does so when every deadline has passed.
COMMITTED, ABORTED, UNKNOWN = "committed", "aborted", "unknown"


@dataclass(frozen=True)
class Bank:
    """A bank's database, as somebody outside of Finality sees it."""

    name: str
    url: str
    server: PostgresServer | MariaDbServer | BankService | None = None

    def create(self) -> None:
        """Create its tables."""
        self.sql(*TABLES)

    def sql(self, *statements: str) -> list[list[Any]]:
        """Run statements by the database's own means; return the rows of the last one."""
        if self.server is not None:
            return [[*row] for row in self.server.sql(*statements, database=self.url.rpartition("/")[2])]
        connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
        try:
            return [[*row] for row in [connection.execute(each) for each in statements][-1].fetchall()]
        finally:
            connection.close()

    def prepared(self) -> int:
        """Return how many branches its database holds in doubt."""
        match self.server:
            case PostgresServer():
                return int(
                    self.sql("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()")[0][
                        0
                    ]
                )
            case MariaDbServer():
                return len(self.sql("XA RECOVER"))
            case BankService():
                return 0  # What it still holds is missing in its balance.
            case _:
                return int(self.sql("SELECT count(*) FROM finality_intent")[0][0])


def audit(banks: Sequence[Bank], told: Sequence[tuple[str, str]]) -> dict[str, int]:
    """See that all banks agree on every transaction, and with what the clients were *told*.

    Raises:
        AssertionError: They do not.
    """
    ledgers: dict[str, dict[str, int]] = {}
    total = 0
    for bank in banks:
        [[cents]] = bank.sql(AUDIT[0])
        ledgers[bank.name] = {tx: int(moved) for tx, moved in bank.sql(AUDIT[1])}
        assert int(cents) == OPENED_WITH + sum(ledgers[bank.name].values()), (
            f"{bank.name} disagrees with itself"
        )
        assert bank.prepared() == 0, f"{bank.name} holds a branch in doubt"
        total += int(cents)
    assert total == OPENED_WITH * len(banks), f"{total} cents are there"
    effects: dict[str, list[int]] = {}
    for ledger in ledgers.values():
        for tx, moved in ledger.items():
            effects.setdefault(tx, []).append(moved)
    halves = {tx: moved for tx, moved in effects.items() if sum(moved) != 0}
    assert halves == {}, "these took effect at some banks only"
    for tx, outcome in told:
        if outcome == COMMITTED:
            assert tx in effects, f"{tx} was told to be committed, and left nothing"
        if outcome == ABORTED:
            assert tx not in effects, f"{tx} was told to be aborted, and took effect"
    outcomes = [outcome for _, outcome in told]
    return {each: outcomes.count(each) for each in (COMMITTED, ABORTED, UNKNOWN)} | {"effects": len(effects)}


class Dying(SystemEnvironment):
    """Dies as kill -9 does when it reaches a crash point for the n-th time, once it is armed."""

    def __init__(self, point: str, times: int, ahead_seconds: float) -> None:
        super().__init__()
        self.point, self.left, self.is_armed = point, times, False
        self.now = lambda: time.time() + ahead_seconds

    def reach(self, point: str) -> None:
        """Pass the point, or die."""
        if self.is_armed and point == self.point:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), 9)


async def transfer(node: finality.AsyncNode, banks: Sequence[Any], amounts: Sequence[int], told: Path) -> str:
    """Move cents between banks in one transaction; return what the caller was told, and write it down."""
    id = ""
    try:
        async with node.transaction() as tx:
            id = tx.id
            for bank, cents in zip(banks, amounts, strict=True):
                await work(await tx.enlist(bank), tx.id, cents)
        outcome = COMMITTED
    except finality.OutcomeUnknown:
        outcome = UNKNOWN
    except finality.TransactionAborted:
        outcome = ABORTED
    except Unavailable:
        outcome = ABORTED if id else ""  # A branch could not be begun or worked in: nothing was decided.
    if id:
        with told.open("a") as file:
            file.write(json.dumps([id, outcome]) + "\n")
    return outcome


async def work(branch: Any, tx: str, cents: int) -> None:
    """Do a bank's part."""
    if branch.id.participant == "service":
        await branch.reserve("Move", {"tx": tx, "cents": cents})
        return
    one, two = ("$1", "$2") if branch.id.participant == "postgres" else ("?", "?")
    await branch.execute(f"UPDATE balance SET cents = cents + {one} WHERE id = 1", cents)
    await branch.execute(f"INSERT INTO ledger VALUES ({one}, {two})", tx, cents)


def split(dice: random.Random, parties: int) -> list[int]:
    """Return what each party gets; it sums to nothing, and is now and then more than somebody has."""
    amounts = [dice.randint(-400, 400) for _ in range(parties - 1)]
    return [*amounts, -sum(amounts)]


async def recover(node: finality.AsyncNode, seconds: float) -> None:
    """Sweep until nothing is in doubt and nothing is open."""
    recovery = node._insides.recovery
    give_up = asyncio.get_running_loop().time() + seconds
    while True:
        await recovery.sweep()
        is_open = await node.transactions(is_open=True)
        doubts = await node.in_doubt()
        if not (is_open or doubts or node.unreachable):
            return
        assert asyncio.get_running_loop().time() < give_up, f"left: {is_open} {doubts} {node.unreachable}"
        await asyncio.sleep(0.01)


async def act(order: dict[str, Any]) -> None:
    """Be a process of a bank's client: transfer at random, or recover, and die where it is told to."""
    environment = Dying(order["point"], order["times"], LATER_SECONDS if order["is_recovering"] else 0.0)
    banks: list[Any] = [
        finality.service(url, name=name, token=TOKEN) if name == "service" else participant_at(name, url)
        for name, url in order["banks"].items()
    ]
    dice = random.Random(order["seed"])
    async with finality.open_async(order["home"], participants=banks, environment=environment) as node:
        recovery = node._insides.recovery
        recovery.grace_seconds, recovery.sweep_seconds = order["grace"], SWEEP_SECONDS
        if order["is_recovering"]:
            environment.is_armed = True
            await recover(node, 30.0)
            return
        environment.is_armed = True

        async def client(dice: random.Random) -> None:
            for _ in range(order["transfers"]):
                some = dice.sample(banks, order["parties"] or dice.randint(2, len(banks)))
                # In one order, as who wants no deadlock between databases does: no server sees it.
                some.sort(key=lambda bank: str(bank.name))
                await transfer(node, some, split(dice, len(some)), Path(order["told"]))

        await asyncio.gather(*(client(random.Random(dice.random())) for _ in range(order["clients"])))


def _live(order: dict[str, Any]) -> None:
    """Do *order* in a process of its own."""
    try:
        asyncio.run(act(order))
    except BaseException:
        Path(order["errors"]).write_text(traceback.format_exc())
        raise SystemExit(1) from None


def start(folder: Path, banks: Sequence[Bank], **order: Any) -> BaseProcess:
    """Start a process that does *order*."""
    given = {
        "home": f"sqlite:///{folder}/home.db", "banks": {bank.name: bank.url for bank in banks},
        "told": str(folder / "told.jsonl"), "errors": str(folder / "errors"), "point": "", "times": 0,
        "seed": 0, "transfers": 1, "parties": 0, "clients": 1, "is_recovering": False, "grace": 0.0, **order,
    }  # fmt: skip
    process = PROCESSES.Process(target=_live, args=(given,), daemon=True)
    process.start()
    return process


def ended(folder: Path, process: BaseProcess, seconds: float = 60.0) -> int:
    """Wait for its end; return its status, which may only be good or a death by kill -9."""
    process.join(seconds)
    status = process.exitcode
    process.kill()
    process.join()
    errors = folder / "errors"
    assert status in (0, -9), errors.read_text() if errors.exists() else f"it ended with {status}"
    return status


def what_was_told(folder: Path) -> list[tuple[str, str]]:
    """Return what clients were told, by transaction."""
    path = folder / "told.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(tx, outcome) for tx, outcome in map(json.loads, lines)]
