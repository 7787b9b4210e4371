"""Known mistakes of an adapter, planted: the suites here catch each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase

from finality.adapters.batch import Batches
from finality.adapters.memory.engine import MemoryEngine
from finality.adapters.memory.home_transaction import MemoryHomeTransaction
from finality.adapters.memory.table import Table
from finality.adapters.memory.transaction import MemoryTransaction
from finality.adapters.sqlite import home_transaction as sqlite_home
from finality.adapters.sqlite.guard import Guard
from finality.adapters.sqlite.rows import Names
from finality.adapters.sqlite.transaction import SqliteTransaction
from tests.conformance import test_crash
from tests.conformance import test_home as a_home
from tests.conformance import test_home_nodes as a_home_nodes
from tests.conformance import test_journal as a_journal
from tests.conformance import test_store as a_store
from tests.conformance import test_store_scopes as a_store_scopes
from tests.conformance import test_store_sql as a_store_sql
from tests.conformance.lives import Lives
from tests.conformance.test_interleavings import check_interleavings
from tests.conformance.worlds import MEMORY, SQLITE_INLINE, World

Patch = pytest.MonkeyPatch
Test = Callable[[World], None]


def no_fence(patch: Patch) -> None:
    """An append that takes whatever version it finds."""
    ignore_the_version(patch, sqlite_home.SqliteHomeTransaction)


def no_fence_in_memory(patch: Patch) -> None:
    ignore_the_version(patch, MemoryHomeTransaction)


def ignore_the_version(patch: Patch, kind: Any) -> None:
    real = kind.append

    def append(self: Any, key: int, events: Any, *, expected: Any, summary: Any = None) -> None:
        real(self, key, events, expected=self.head(key).version, summary=summary)

    patch.setattr(kind, "append", append)


def no_undo(patch: Patch) -> None:
    """A turn that failed, and whose writes stay."""

    def undo_turn(self: Any) -> bool:
        self.keep_turn()
        return True

    patch.setattr(sqlite_home.SqliteHomeTransaction, "undo_turn", undo_turn)


def no_undo_in_memory(patch: Patch) -> None:
    patch.setattr(MemoryTransaction, "undo_turn", lambda self: self.keep_turn() or True)


def no_savepoint(patch: Patch) -> None:
    """Turns without a savepoint of their own, undone as if they had one."""
    patch.setattr(SqliteTransaction, "_guard", lambda self: None)
    patch.setattr(sqlite_home.SqliteHomeTransaction, "undo_turn", lambda self: True)


def statements_after_an_abort(patch: Patch) -> None:
    """A turn goes on after one of its statements has aborted the transaction, each by itself."""
    patch.setattr(SqliteTransaction, "_lose", lambda self: None)


def commits_from_the_cache(patch: Patch) -> None:
    """The user's COMMIT is found in the statement cache, as the one that we ran."""

    def execute(self: Any, run: Any, sql: str, parameters: Any) -> Any:
        self._is_user = True
        try:
            return run(sql, parameters).fetchall()
        finally:
            self._is_user = False

    patch.setattr(Guard, "execute", execute)


def neighbours_fail_together(patch: Patch) -> None:
    """One error for the whole batch whose commit failed."""

    def halve(self: Any, outcomes: Any, problem: BaseException) -> None:
        self.abort()
        self._settle([(turn, problem) for turn, _ in outcomes])

    patch.setattr(Batches, "_halve", halve)


def nothing_forgotten(patch: Patch) -> None:
    """Turns run again without having taken back what they changed in memory."""
    patch.setattr("finality.adapters.batch._forget", lambda outcomes: None)


def one_commit_a_turn(patch: Patch) -> None:
    """No group commit."""
    patch.setattr(Batches, "_next", lambda self: [self.turns.popleft()])


def names_of_undone_rows(patch: Patch) -> None:
    """Short names stay in memory although their rows are gone."""
    patch.setattr(Names, "forget", lambda self, connection: None)


def dirty_reads(patch: Patch) -> None:
    """Readers in memory see what is not committed."""

    def put(self: Any, key: Any, row: Any) -> None:
        self.committed[key] = row
        real(self, key, row)

    real = Table.put
    patch.setattr(Table, "put", put)


def commit_before_the_checks(patch: Patch) -> None:
    """The Python rows are committed although the SQL beside them fails to."""
    real = MemoryEngine.commit

    def commit(self: Any) -> None:
        mine, database = self.transaction.has_begun_sql, self._database
        database.apply()
        assert mine == self.transaction.has_begun_sql
        real(self)

    patch.setattr(MemoryEngine, "commit", commit)


def refused_commit(world: World) -> None:
    a_store_sql.test_a_statement_that_would_break_a_promise_is_refused(world, "COMMIT")


PLANTED: list[tuple[str, Callable[[Patch], None], Test]] = [
    (SQLITE_INLINE, no_fence, a_home.test_an_append_at_another_version_changes_nothing),
    (SQLITE_INLINE, no_fence, a_home_nodes.test_the_fence_holds_off_the_node_that_was_taken_from),
    (MEMORY, no_fence_in_memory, a_home.test_an_append_at_another_version_changes_nothing),
    (SQLITE_INLINE, no_undo, a_store.test_a_turn_that_fails_leaves_nothing_and_hurts_no_neighbour),
    (MEMORY, no_undo_in_memory, a_store.test_a_turn_that_fails_leaves_nothing_and_hurts_no_neighbour),
    (SQLITE_INLINE, no_savepoint, a_store.test_a_turn_that_fails_leaves_nothing_and_hurts_no_neighbour),
    (SQLITE_INLINE, no_savepoint, a_journal.test_a_failed_append_leaves_no_event_that_a_reader_could_see),
    (
        SQLITE_INLINE,
        statements_after_an_abort,
        a_store.test_what_follows_a_statement_that_aborted_the_transaction_is_not_written_either,
    ),
    (SQLITE_INLINE, commits_from_the_cache, refused_commit),
    (
        SQLITE_INLINE,
        neighbours_fail_together,
        a_store.test_a_deferred_rule_that_is_broken_hurts_only_its_turn,
    ),
    (SQLITE_INLINE, nothing_forgotten, a_store.test_a_deferred_rule_that_is_broken_hurts_only_its_turn),
    (SQLITE_INLINE, one_commit_a_turn, a_journal.test_appends_that_wait_together_share_a_commit),
    (SQLITE_INLINE, names_of_undone_rows, a_home.test_names_learned_in_a_turn_that_failed_are_forgotten),
    (MEMORY, dirty_reads, a_home.test_nobody_sees_a_transaction_that_is_not_committed),
    (
        MEMORY,
        commit_before_the_checks,
        a_store_scopes.test_a_scope_that_breaks_a_deferred_rule_leaves_no_event,
    ),
]


@pytest.mark.parametrize("kind, plant, test", PLANTED, ids=[plant.__name__ for _, plant, _ in PLANTED])
def test_a_planted_mistake_is_caught(
    kind: str, plant: Callable[[Patch], None], test: Test, tmp_path: Path, monkeypatch: Patch
) -> None:
    test(World(kind, tmp_path / "sound"))
    plant(monkeypatch)

    with pytest.raises((Exception, pytest.fail.Exception)):
        test(World(kind, tmp_path / "planted"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, plant",
    [
        (SQLITE_INLINE, no_undo),
        (SQLITE_INLINE, neighbours_fail_together),
        (SQLITE_INLINE, nothing_forgotten),
        (MEMORY, no_undo_in_memory),
        (MEMORY, commit_before_the_checks),
    ],
)
def test_random_interleavings_catch_it_too(
    kind: str, plant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    plant(monkeypatch)

    with pytest.raises((Exception, pytest.fail.Exception)):
        check_interleavings(kind, 40, (Phase.generate,))  # It need not be the smallest example.


@pytest.mark.slow
def test_an_acknowledgement_before_the_commit_is_caught_by_kill_9(tmp_path: Path) -> None:
    def lives_and_dies(lives: Lives, dies_at: int) -> bool:
        path = tmp_path / str(dies_at) / "home.db"
        path.parent.mkdir()
        _, acknowledged = lives.live(path, dies_at, 0, 1)
        try:
            test_crash.check_left_behind(path, acknowledged)
        except AssertionError:
            return True
        return False

    with Lives("tests.conformance.test_crash") as lives:
        assert any(lives_and_dies(lives, dies_at) for dies_at in range(5, 12))
