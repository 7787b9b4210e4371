"""What a branch did before it was prepared is what committing it does: once, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from finality.adapters.sqlite import work
from finality.core.errors import Refused
from finality.core.two_phase import Decision
from finality.ports.store import StatementRefused
from tests.integration.sqlite_branches import Bank, committed, id_of, prepared, run, worked

ACCOUNT = "CREATE TABLE account (id TEXT PRIMARY KEY, n INTEGER)"
TWO = "INSERT INTO account VALUES ('a', 100), ('b', 0)"
OWNER = "CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"

# fmt: off
CASES = {
    "update":         ([ACCOUNT, TWO],
                       ["UPDATE account SET n = n - 30 WHERE id = 'a'",
                        "UPDATE account SET n = n + 30 WHERE id = 'b'"]),
    "key":            ([ACCOUNT, TWO],
                       ["UPDATE account SET id = 'c' WHERE id = 'a'", "DELETE FROM account WHERE id = 'b'"]),
    "replace":        ([OWNER, "INSERT INTO owner VALUES (1, 'ann'), (2, 'bob')"],
                       ["REPLACE INTO owner VALUES (3, 'ann')",
                        "INSERT INTO owner VALUES (2, 'eve') ON CONFLICT DO UPDATE SET name = 'eve'"]),
    "swap":           ([OWNER, "INSERT INTO owner VALUES (1, 'ann'), (2, 'bob')"],
                       ["UPDATE owner SET name = 'x' WHERE id = 1",
                        "UPDATE owner SET name = 'ann' WHERE id = 2",
                        "UPDATE owner SET name = 'bob' WHERE id = 1"]),
    "values":         (["CREATE TABLE v (id INTEGER PRIMARY KEY, x)"],
                       ["INSERT INTO v (x) VALUES (NULL), (1.5), (x'00ff'), ('é'), (9223372036854775807)"]),
    "without-rowid":  (["CREATE TABLE w (a TEXT, b INTEGER, c, PRIMARY KEY (b, a)) WITHOUT ROWID",
                        "INSERT INTO w VALUES ('x', 1, 'old')"],
                       ["UPDATE w SET c = 'new'", "INSERT INTO w VALUES ('y', 1, NULL)"]),
    "generated":      (["CREATE TABLE g (id INTEGER PRIMARY KEY, n INTEGER, twice INTEGER AS (n * 2) STORED, "
                        "thrice INTEGER AS (n * 3), m INTEGER)", "INSERT INTO g (n, m) VALUES (1, 7)"],
                       ["UPDATE g SET n = 5", "INSERT INTO g (n, m) VALUES (2, 8)"]),
    "strict":         (["CREATE TABLE s (id INTEGER PRIMARY KEY, t TEXT CHECK (t <> '')) STRICT"],
                       ["INSERT INTO s VALUES (4, 'x')"]),
    "autoincrement":  (["CREATE TABLE i (id INTEGER PRIMARY KEY AUTOINCREMENT, t)",
                        "INSERT INTO i (t) VALUES ('x')"],
                       ["INSERT INTO i (t) VALUES ('y'), ('z')", "DELETE FROM i WHERE t = 'z'"]),
    "only-a-number":  (["CREATE TABLE i (id INTEGER PRIMARY KEY AUTOINCREMENT, t)"],
                       ["INSERT INTO i (t) VALUES ('y')", "DELETE FROM i"]),
    "triggers":       ([ACCOUNT, TWO, "CREATE TABLE log (id INTEGER PRIMARY KEY, t TEXT)",
                        "CREATE TRIGGER t AFTER UPDATE ON account "
                        "BEGIN INSERT INTO log (t) VALUES (new.id); END",
                        "CREATE TRIGGER u AFTER INSERT ON log "
                        "BEGIN UPDATE log SET t = t || '!' WHERE id = new.id; END"],
                       ["UPDATE account SET n = n + 1"]),
    "cascades":       ([OWNER, "INSERT INTO owner VALUES (1, 'ann'), (2, 'bob')",
                        "CREATE TABLE pet (id INTEGER PRIMARY KEY, o INTEGER "
                        "REFERENCES owner ON DELETE CASCADE)",
                        "CREATE TABLE toy (id INTEGER PRIMARY KEY, p INTEGER "
                        "REFERENCES pet ON DELETE SET NULL)",
                        "INSERT INTO pet VALUES (1, 1), (2, 2)", "INSERT INTO toy VALUES (1, 1), (2, 2)"],
                       ["DELETE FROM owner WHERE id = 1"]),
    "deferred":       ([OWNER, "CREATE TABLE pet (id INTEGER PRIMARY KEY, o INTEGER REFERENCES owner "
                               "DEFERRABLE INITIALLY DEFERRED)"],
                       ["INSERT INTO pet VALUES (1, 9)", "INSERT INTO owner VALUES (9, 'late')"]),
    "view":           ([ACCOUNT, TWO, "CREATE VIEW rich AS SELECT * FROM account WHERE n > 50",
                        "CREATE TRIGGER r INSTEAD OF DELETE ON rich "
                        "BEGIN DELETE FROM account WHERE id = old.id; END"],
                       ["DELETE FROM rich"]),
    "names":          (['CREATE TABLE "a ""b"" c" ("select" TEXT PRIMARY KEY, "from" TEXT)'],
                       ['INSERT INTO "a ""b"" c" VALUES (\'x\', \'y\')']),
}
# fmt: on


@pytest.mark.parametrize("case", CASES)
def test_committing_does_what_the_branch_did(tmp_path: Path, case: str) -> None:
    """The oracle is the same statements in another SQLite, without us."""
    schema, statements = CASES[case]
    bank, plain = Bank(tmp_path / "bank.db", *schema), Bank(tmp_path / "plain.db", *schema)
    before = bank.dump()

    async def story() -> None:
        async with bank.opened() as participant:
            await prepared(participant, "t1", *statements)

            assert bank.dump() == before

            await participant.finish(id_of("t1"), Decision.ABORT)

            assert bank.dump() == before

            await committed(participant, "t2", *statements)

    run(story())
    plain.sql("BEGIN", *statements, "COMMIT")

    assert bank.dump() == plain.dump()
    assert bank.dump() != before


RANDOM_SCHEMA = (
    "CREATE TABLE owner (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, n INTEGER DEFAULT 0)",
    "CREATE TABLE pet (o INTEGER REFERENCES owner ON DELETE CASCADE ON UPDATE CASCADE, name TEXT, "
    "PRIMARY KEY (o, name)) WITHOUT ROWID",
    "CREATE TABLE log (id INTEGER PRIMARY KEY, t TEXT)",
    "CREATE TRIGGER a AFTER INSERT ON owner BEGIN INSERT INTO log (t) VALUES (new.name); END",
    "CREATE TRIGGER b AFTER DELETE ON pet BEGIN UPDATE owner SET n = n - 1 WHERE id = old.o; END",
    "CREATE TRIGGER c AFTER INSERT ON pet BEGIN UPDATE owner SET n = n + 1 WHERE id = new.o; END",
)


def random_statement(dice: random.Random) -> str:
    one, other, name = dice.randint(1, 8), dice.randint(1, 8), dice.choice("abcdef")
    return dice.choice(
        [
            f"INSERT OR IGNORE INTO owner (name) VALUES ('{name}')",
            f"INSERT OR REPLACE INTO owner (id, name) VALUES ({one}, '{name}')",
            f"UPDATE OR IGNORE owner SET name = '{name}' WHERE id = {one}",
            f"UPDATE OR IGNORE owner SET id = {other} WHERE id = {one}",
            f"DELETE FROM owner WHERE id = {one}",
            f"INSERT OR IGNORE INTO pet SELECT id, '{name}' FROM owner WHERE id = {one}",
            f"UPDATE OR IGNORE pet SET o = {other} WHERE o = {one} AND {other} IN (SELECT id FROM owner)",
            f"DELETE FROM pet WHERE name = '{name}'",
            "DELETE FROM log WHERE id % 2",
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_random_branches_do_what_they_did(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    bank, plain = Bank(tmp_path / "bank.db", *RANDOM_SCHEMA), Bank(tmp_path / "plain.db", *RANDOM_SCHEMA)

    async def story() -> None:
        async with bank.opened() as participant:
            for turn in range(15):
                statements = [random_statement(dice) for _ in range(dice.randint(1, 8))]
                branch = await worked(participant, f"t{turn}", *statements)
                await branch.prepare()
                decision = dice.choice([*Decision])
                await participant.finish(branch.id, decision)
                if decision is Decision.COMMIT:
                    plain.sql(*statements)

                found, expected = bank.dump(), plain.dump()
                # A key that was changed counts as one given out, so the next may be a later one.
                assert found.pop("sqlite_sequence", []) >= expected.pop("sqlite_sequence", [])
                assert found == expected, (turn, decision, statements)

    run(story())


# fmt: off
REFUSED_EARLY = {
    "no-key":       (["CREATE TABLE t (x)"], "INSERT INTO t VALUES (1)", "table t has no primary key"),
    "by-trigger":   ([ACCOUNT, "CREATE TABLE t (x)",
                      "CREATE TRIGGER a AFTER INSERT ON account BEGIN INSERT INTO t VALUES (1); END"],
                     "INSERT INTO account VALUES ('a', 1)", "table t has no primary key"),
    "by-cascade":   ([OWNER, "CREATE TABLE t (o INTEGER REFERENCES owner ON DELETE CASCADE)"],
                     "DELETE FROM owner", "table t has no primary key"),
    "virtual":      (["CREATE VIRTUAL TABLE f USING fts5 (t)"],
                     "INSERT INTO f VALUES ('x')", "f is a virtual table"),
    "schema":       ([ACCOUNT], "ALTER TABLE account ADD COLUMN x", "change the schema"),
    "table":        ([], "CREATE TABLE t (id INTEGER PRIMARY KEY)", "change the schema"),
    "temporary":    ([], "CREATE TEMP TABLE t (id INTEGER PRIMARY KEY)", "change the schema"),
    "drop":         ([ACCOUNT], "DROP TABLE account", "change the schema"),
    "attach":       ([], "ATTACH ':memory:' AS m", "change the schema"),
    "commit":       ([], "COMMIT", "would end the branch"),
    "setting":      ([], "PRAGMA synchronous = OFF", "change a setting"),
    "savepoint":    ([], "SAVEPOINT s", "branch.savepoint()"),
    "ours":         ([], "DELETE FROM finality_intent", "a table of Finality's"),
    "sequence":     (["CREATE TABLE i (id INTEGER PRIMARY KEY AUTOINCREMENT)"],
                     "UPDATE sqlite_sequence SET seq = 5", "sqlite_sequence"),
}
# fmt: on


@pytest.mark.parametrize("case", REFUSED_EARLY)
def test_what_cannot_be_prepared_is_refused_by_name_before_it_runs(tmp_path: Path, case: str) -> None:
    schema, statement, reason = REFUSED_EARLY[case]
    bank = Bank(tmp_path / "bank.db", *schema, "CREATE TABLE fine (id INTEGER PRIMARY KEY)")

    async def story() -> None:
        async with bank.opened() as participant:
            branch = await worked(participant, "t1", "INSERT INTO fine VALUES (1)")
            for _ in range(2):  # Also when the statement is known already.
                with pytest.raises(StatementRefused) as refusal:
                    await branch.execute(statement)

                assert reason in str(refusal.value)

            await branch.prepare()
            await participant.finish(branch.id, Decision.COMMIT)

    run(story())

    assert bank.dump()["fine"] == [(1,)]


# fmt: off
REFUSED_AT_THE_VOTE = {
    "deferred-key":  ([OWNER, "CREATE TABLE pet (id INTEGER PRIMARY KEY, o INTEGER REFERENCES owner "
                              "DEFERRABLE INITIALLY DEFERRED)"],
                      "INSERT INTO pet VALUES (1, 9)", "row 1 of pet refers to no row of owner"),
    "null-key":      ([ACCOUNT],
                      "INSERT INTO account VALUES (NULL, 1)", "account has a row whose primary key is null"),
    "null-key-gone": ([ACCOUNT, "INSERT INTO account VALUES (NULL, 1)"],
                      "DELETE FROM account", "table account has a row"),
    "null-in-key":   (["CREATE TABLE t (a, b, PRIMARY KEY (a, b))"],
                      "INSERT INTO t VALUES (1, NULL)", "table t has a row"),
    "too-large":     (["CREATE TABLE b (id INTEGER PRIMARY KEY, x BLOB)"],
                      "INSERT INTO b VALUES (1, zeroblob(2000))", "bytes, more than 1000"),
}
# fmt: on


@pytest.mark.parametrize("case", REFUSED_AT_THE_VOTE)
def test_what_cannot_be_promised_is_voted_down(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "CHANGESET_BYTES_MAX", 1_000)
    schema, statement, reason = REFUSED_AT_THE_VOTE[case]
    bank = Bank(tmp_path / "bank.db", *schema)
    before = bank.dump()

    async def story() -> None:
        async with bank.opened() as participant:
            branch = await worked(participant, "t1", statement)
            with pytest.raises(Refused, match=reason):
                await branch.prepare()

            assert list(await participant.in_doubt()) == []
            assert await participant.finish(branch.id, Decision.ABORT) is Decision.ABORT

    run(story())

    assert bank.dump() == before
