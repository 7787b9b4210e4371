"""Lost update.

Ann withdraws 30 while her salary of 50 comes in. Each saga reads the balance of 100, works out what
it will be, and writes that in a later step. Whoever writes last wins: with the salary written first,
100 − 30 = 70 overwrites it, and 50 are gone.

Countermeasure: a commutative update. Each saga says what changes, and the order no longer matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import finality
from tests.anomalies.stage import WAITS, Stage, play

GO = finality.signal("go")
ACCOUNT = (
    "CREATE TABLE accounts (id, balance)",
    "INSERT INTO accounts VALUES (1, 100), (2, 0), (2, 0), (3, NULL)",
)


@dataclass(frozen=True)
class Careless(finality.Saga):
    """Reads, computes, and writes what it computed."""

    amount: int

    @finality.step
    def balance(self, tx: finality.SyncTx) -> int:
        return int(tx.execute("SELECT balance FROM accounts WHERE id = 1").scalar())

    @finality.step(wait_for=GO)
    def change(self, tx: finality.SyncTx, balance: int) -> None:
        tx.execute("UPDATE accounts SET balance = ? WHERE id = 1", balance + self.amount)


@dataclass(frozen=True)
class Commutative(finality.Saga):
    """Says what changes; undone, it says the opposite."""

    amount: int
    is_refused: bool = False

    @finality.step
    def looked(self, tx: finality.SyncTx) -> int:
        return int(tx.execute("SELECT balance FROM accounts WHERE id = 1").scalar())

    @finality.step(wait_for=GO)
    def change(self, tx: finality.SyncTx, looked: int) -> None:
        tx.add("accounts", {"id": 1}, balance=self.amount, at_least=0)

    @change.compensate
    def change_back(self, tx: finality.SyncTx) -> None:
        tx.add("accounts", {"id": 1}, balance=-self.amount)

    @finality.pivot
    def paid(self, tx: finality.SyncTx, change: None) -> None:
        if self.is_refused:
            raise finality.Refused("the cash machine is empty")


@dataclass(frozen=True)
class CommutativeAsync(finality.Saga):
    """The same in an async step."""

    amount: int

    @finality.step(wait_for=GO)
    async def change(self, tx: finality.Tx) -> None:
        await tx.add("accounts", {"id": 1}, balance=self.amount, at_least=0)


async def both(stage: Stage, withdrawal: finality.Saga, salary: finality.Saga) -> int:
    await stage.prepare(*ACCOUNT)
    await stage.start(withdrawal, "withdrawal", until=WAITS)
    await stage.start(salary, "salary", until=WAITS)
    for outcome in await stage.go_on("salary", "withdrawal"):
        assert outcome == finality.COMPLETED, outcome
    return int(await stage.scalar("SELECT balance FROM accounts WHERE id = 1"))


def test_an_update_is_lost_when_what_was_read_is_written_back(url: str) -> None:
    async def main(stage: Stage) -> None:
        assert await both(stage, Careless(-30), Careless(50)) == 70

    play(url, main)


@pytest.mark.parametrize("saga", [Commutative, CommutativeAsync])
def test_no_update_is_lost_when_each_saga_says_what_changes(
    url: str, saga: type[Commutative] | type[CommutativeAsync]
) -> None:
    async def main(stage: Stage) -> None:
        assert await both(stage, saga(-30), saga(50)) == 120

    play(url, main)


def test_the_opposite_update_undoes_it_whatever_came_in_between(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(*ACCOUNT)
        await stage.start(Commutative(-30, is_refused=True), "withdrawal", until=WAITS)
        await stage.start(Commutative(50), "salary", until=WAITS)
        salary, withdrawal = await stage.go_on("salary", "withdrawal")

        assert (salary.status, withdrawal.status) == (finality.COMPLETED, finality.COMPENSATED)
        assert await stage.scalar("SELECT balance FROM accounts WHERE id = 1") == 150

    play(url, main)


def test_a_bound_that_would_be_broken_refuses_the_step(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(*ACCOUNT)
        await stage.start(Commutative(-101), "withdrawal")
        outcome = (await stage.go_on("withdrawal"))[0]

        assert outcome == finality.COMPENSATED
        assert outcome.because == "balance of accounts(id=1) is 100 and would become -1, below 0"
        assert await stage.scalar("SELECT balance FROM accounts WHERE id = 1") == 100

    play(url, main)


def test_an_upper_bound_holds_as_well(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(*ACCOUNT)
        with pytest.raises(finality.Refused, match="is 100 and would become 105, above 104"):
            await stage.node.run(lambda tx: tx.add("accounts", {"id": 1}, balance=5, at_most=104))

        await stage.node.run(lambda tx: tx.add("accounts", {"id": 1}, balance=5, at_least=0, at_most=105))

        assert await stage.scalar("SELECT balance FROM accounts WHERE id = 1") == 105

    play(url, main)


# fmt: off
UNUSABLE: list[tuple[str, dict[str, object], dict[str, int], type[Exception], str]] = [
    ("accounts",   {"id": 9},     {"balance": 1},  LookupError, r"accounts\(id=9\): there are 0 such rows"),
    ("accounts",   {"id": 2},     {"balance": 1},  LookupError, r"accounts\(id=2\): there are 2 such rows"),
    ("accounts",   {"id": 3},     {"balance": 1},  LookupError, "it is null; give it a number first"),
    ("accounts",   {"id": None},  {"balance": 1},  LookupError, r"\(id=None\): there are 0 such rows"),
    ("accounts",   {},            {"balance": 1},  ValueError,  "no column of accounts is named"),
    ("accounts",   {"id": 1},     {},              ValueError,  "no column of accounts is named"),
    ("a; DROP b",  {"id": 1},     {"balance": 1},  ValueError,  "table 'a; DROP b' is no plain name"),
    ("accounts",   {"id=id--": 1}, {"balance": 1}, ValueError,  "'id=id--' is no plain name"),
    ("accounts",   {"id": 1},     {'b"': 1},       ValueError,  "is no plain name"),
    ("accounts",   {"id": 1},     {"bälance": 1},  ValueError,  "is no plain name"),
    ("accounts\n", {"id": 1},     {"balance": 1},  ValueError,  "is no plain name"),
]
# fmt: on


@pytest.mark.parametrize("table, where, changes, error, message", UNUSABLE, ids=range(len(UNUSABLE)))
def test_what_names_no_single_row_changes_nothing(
    table: str, where: dict[str, object], changes: dict[str, int], error: type[Exception], message: str
) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(*ACCOUNT)
        before = await stage.node.query("SELECT * FROM accounts")
        with pytest.raises(error, match=message):
            await stage.node.run(lambda tx: tx.add(table, where, **changes))

        assert await stage.node.query("SELECT * FROM accounts") == before

    play("memory://", main)
