"""Reservations in a store as the suite's surroundings: an item that is held is not there yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import apsw
import pytest

import finality
from finality.core.two_phase import Decision
from finality.patterns.reservation import code_of
from finality.ports.environment import Environment
from finality.ports.participant import BranchId
from finality.runtime.reservations.participant import Reservations
from finality.runtime.reservations.rows import key_of
from tests.conformance.participants.worlds import AnyBranch

HERE = "__import__('tests.conformance.participants.reservation_world', fromlist=['here'])"


@dataclass(frozen=True)
class Item(finality.Reservation[int]):
    """Holds an item, which may be there once."""

    n: int

    async def try_(self, tx: finality.Tx) -> int:
        state = (await tx.execute("SELECT state FROM item WHERE n = ?", self.n)).scalar()
        if state == "held":
            raise finality.Conflict(f"item {self.n} is held")
        if state == "there":
            raise finality.Refused(f"item {self.n} is there")
        await tx.execute("INSERT INTO item VALUES (?, 'held')", self.n)
        return self.n

    def confirm(self, tx: finality.SyncTx, held: int) -> None:
        tx.execute("UPDATE item SET state = 'there' WHERE n = ?", held)

    async def cancel(self, tx: finality.Tx, held: int) -> None:
        await tx.execute("DELETE FROM item WHERE n = ?", held)


class Standalone:
    """The participant of a node that does nothing else."""

    def __init__(self, path: str, name: str) -> None:
        self.name = name
        self._node = finality.open_async(f"sqlite:///{path}")
        self._there: Reservations

    async def open(self, environment: Environment) -> None:
        """Open the node."""
        context = await self._node.opened()
        self._there = Reservations(self.name, context, context.home, {"Item": code_of(Item)})

    async def close(self) -> None:
        """Close the node."""
        await self._node.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._there, name)


class ReservationWorld:
    """Fulfils ``World``: a SQLite store, and a connection of its own to look at it."""

    takes_statements = can_defer = can_die = can_cut = takes_more = False
    takes_several = can_commit_by_hand = recovers = True
    insert_code = f'branch.reserve("Item", {HERE}.Item(1))'
    refused: tuple[tuple[str, str], ...] = ()

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "bank.db")
        with finality.open(f"sqlite:///{self.path}") as node:
            node.run(lambda tx: tx.execute("CREATE TABLE item (n INTEGER PRIMARY KEY, state TEXT)"))

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        return cls(request.getfixturevalue("tmp_path"))

    def _sql(self, statement: str, *parameters: Any) -> list[Any]:
        connection = apsw.Connection(self.path)
        connection.set_busy_timeout(10_000)
        try:
            return connection.execute(statement, parameters).fetchall()
        finally:
            connection.close()

    def participant(self, name: str = "bank") -> Any:
        return Standalone(self.path, name)

    def code(self) -> str:
        return f"{HERE}.Standalone({self.path!r}, 'bank')"

    async def insert(self, branch: AnyBranch, n: int) -> None:
        await branch.reserve("Item", Item(n))

    async def look(self, branch: AnyBranch) -> list[int]:
        return [n for (n,) in self._sql("SELECT n FROM item ORDER BY n")]

    async def insert_late(self, branch: AnyBranch, n: int) -> None:
        raise NotImplementedError("a try votes at once")

    def items(self) -> list[int]:
        return [n for (n,) in self._sql("SELECT n FROM item WHERE state = 'there' ORDER BY n")]

    def prepared(self) -> list[str]:
        query = "SELECT transaction_id || ':' || branch FROM finality_witness WHERE operation = 'hold'"
        return [name for (name,) in self._sql(query)]

    def shows_holding(self, holds: str) -> bool:
        return holds == "Item"

    def prepare_foreign(self) -> str:
        self._sql("INSERT INTO finality_witness VALUES ('somebody', 'else', 'hold', '{}', 0)")
        return "somebody:else"

    def finish_by_hand(self, branch: BranchId, decision: Decision) -> None:
        key = key_of(branch)
        is_commit = decision is Decision.COMMIT
        finish = "UPDATE item SET state = 'there'" if is_commit else "DELETE FROM item"
        self._sql(finish)
        said = "confirmed " if is_commit else "cancelled by hand"
        self._sql("INSERT INTO finality_witness VALUES (?, ?, 'finish', ?, 0)", *key, said)
        held = "transaction_id = ? AND branch = ? AND operation = 'hold'"
        self._sql(f"DELETE FROM finality_witness WHERE {held}", *key)

    def hold_witnesses(self) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        raise NotImplementedError("a SQLite file has no server that could wait")

    def cut(self, branch: AnyBranch) -> None:
        raise NotImplementedError("what a try has held needs no session")

    def kill(self) -> None:
        raise NotImplementedError("a SQLite file has no server")

    def close(self) -> None:
        """The folder is the test's."""
