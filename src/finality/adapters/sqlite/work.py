"""The work of one branch, from the write turn to the vote; on the participant's thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import apsw

from finality.adapters.sqlite import intent as intents
from finality.adapters.sqlite.branch_guard import BranchGuard
from finality.adapters.sqlite.connection import explain
from finality.adapters.sqlite.intent import Intent, Misfit, Ours, apply, sequences_of, shapes_of
from finality.adapters.sqlite.keep_out import has_triggers, holder_of, make_triggers
from finality.adapters.sqlite.log import WriteAheadLog
from finality.adapters.sqlite.tables import quoted, schema_version, tables_of
from finality.core.errors import Conflict, OutcomeUnknown, Refused, Unavailable
from finality.core.two_phase import Decision, Vote
from finality.ports.environment import COMMIT_AFTER, COMMIT_BEFORE
from finality.ports.participant import BranchId
from finality.ports.store import Rows, StatementRefused

log = logging.getLogger("finality.store")

CHANGESET_BYTES_MAX = 64 * 1024 * 1024  # It is held in memory, and written once more than other changes.
STOP_STEPS = 10_000  # Of SQLite's machine: below a millisecond.
SURELY_NOTHING = (apsw.BusyError, apsw.FullError)  # Found before the commit record is written.


class Held(Exception):
    """Somebody else has the file just now; says who."""


class Before(NamedTuple):
    """What there was of a branch when a savepoint began."""

    failure: str
    ours: Ours


class Work:
    """Fulfils what a branch promises, one branch after another, on one connection.

    Attributes:
        is_broken: The connection has failed in a way that only another one mends.
    """

    def __init__(self, connection: apsw.Connection, log: WriteAheadLog, reach: Callable[[str], None]) -> None:
        self._connection = connection
        self._log = log
        self._reach = reach
        self._guard = BranchGuard(connection)
        self._session: apsw.Session | None = None
        self._has_triggers = False
        self._branch: BranchId | None = None
        self._failure = ""
        self._ours: Ours = ()
        self.is_broken = False
        # Not Connection.interrupt(), which a statement that is about to run does not notice.
        self._is_stopped = False
        connection.set_progress_handler(lambda: self._is_stopped, STOP_STEPS)

    # ── Work ────────────────────────────────────────────────────────────────────────────────

    def begin(self, branch: BranchId) -> None:
        """Take the write turn, and look at everything that is written from now on.

        Raises:
            Held: Somebody else has it.
        """
        take_turn(self._connection)
        self._log.begun()
        try:
            holder = holder_of(self._connection)
            if holder is not None:
                raise Held(f"transaction {holder.transaction} is in doubt and holds it")
            if schema_version(self._connection) != self._guard.tables.version:
                self._guard.tables = tables_of(self._connection)
                self._has_triggers = has_triggers(self._connection, self._guard.tables)
            self._branch, self._failure, self._ours = branch, "", ()
            self._guard.touched.clear()
            self._connection.execute("SAVEPOINT finality_branch")
            self._session = apsw.Session(self._connection, "main")
            self._session.attach()
        except BaseException:
            self.abort()
            raise

    def execute(self, branch: BranchId, sql: str, parameters: tuple[Any, ...]) -> Rows:
        """Run one statement of the user's own.

        Raises:
            StatementRefused: It would end the branch, or cannot be prepared.
            Refused: It breaks a constraint, or the branch is aborted.
        """
        if not self._is_at_work(branch):
            raise self._lost(branch)
        try:
            return self._guard.run(sql, parameters)
        except StatementRefused:
            raise
        except Exception as error:
            # Other databases let nothing pass after a failure; one that is swallowed comes up at the vote.
            self._failure = str(error)
            if isinstance(error, apsw.ConstraintError):
                raise no(branch, str(error)) from error
            raise explain(error) from error.__cause__

    def write_ours(self, branch: BranchId, sql: str, values: Sequence[Any]) -> int:
        """Write a table of Finality's in the branch, and again when it commits; return how many rows.

        Raises:
            Refused: The branch is aborted.
        """
        if not self._is_at_work(branch) or self._session is None:
            raise self._lost(branch)
        self._session.enabled = False
        try:
            self._connection.execute(sql, values)
        except apsw.Error as error:
            self._failure = str(error)
            raise explain(error) from error
        finally:
            self._session.enabled = True
        rows = self._connection.changes()
        if rows:
            self._ours = (*self._ours, (sql, values))
        return rows

    def enter_savepoint(self, number: int) -> Before:
        """Begin a savepoint; return what there was before it."""
        self._connection.execute(f"SAVEPOINT finality_{number}")
        return Before(self._failure, self._ours)

    def leave_savepoint(self, number: int, *, back_to: Before | None) -> None:
        """End a savepoint; undo it, and what failed in it, if it is said what there was before."""
        if not self._connection.in_transaction:
            return
        if back_to is not None:
            self._connection.execute(f"ROLLBACK TO finality_{number}")
            self._failure, self._ours = back_to
        self._connection.execute(f"RELEASE finality_{number}")

    @property
    def _has_written(self) -> bool:
        return bool(self._guard.touched or self._ours)

    def _is_at_work(self, branch: BranchId) -> bool:
        return self._branch == branch and self._connection.in_transaction

    def _lost(self, branch: BranchId) -> Refused:
        return no(branch, f"branch {branch} is aborted: {self._failure or 'its connection has failed'}")

    # ── Its end ─────────────────────────────────────────────────────────────────────────────

    def prepare(self, branch: BranchId, at: float) -> Vote:
        """Vote; after YES the intent is durable and holds the file.

        Raises:
            Refused: It cannot be prepared; nothing of it remains.
            Unavailable: The disk failed.
        """
        try:
            self._check_whole(branch)
            intent = self._intent(branch, at) if self._has_written else None
            if intent is None:
                self.abort()
                return Vote.READ_ONLY
            self._try_out(branch, intent)
            if not self._has_triggers:
                make_triggers(self._connection, self._guard.tables)
            intents.keep(self._connection, intent)
            commit(self._connection, self._log, self._reach)
        except apsw.Error as error:
            self.abort()
            raise Unavailable(
                f"branch {branch} may be prepared or not: {error}; abort it by its id"
            ) from error
        except BaseException:
            self.abort()
            raise
        return Vote.YES

    def _check_whole(self, branch: BranchId) -> None:
        if not self._is_at_work(branch):
            raise self._lost(branch)
        if self._failure:
            raise no(
                branch,
                f"a statement of branch {branch} has failed: {self._failure}; "
                "run what may fail in a branch.savepoint()",
            )
        violated, _ = self._connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)
        if violated:
            raise no(branch, self._broken_key())
        _, did = intents.found(self._connection, branch)
        if did is not None:
            raise Conflict(
                f"branch {branch} came too late: it was given up, or its id was used before; begin a new one",
                transaction_id=branch.transaction,
            )

    def _broken_key(self) -> str:
        """Return which deferred foreign key does not hold."""
        for name in sorted(self._guard.touched):
            for table, row, parent, _ in self._connection.execute(
                f"PRAGMA foreign_key_check({quoted(name)})"
            ):
                return f"row {row} of {table} refers to no row of {parent}"
        return "a deferred foreign key does not hold"

    def _intent(self, branch: BranchId, at: float) -> Intent | None:
        """Undo the branch, and return what would do it again; None if it has changed nothing."""
        assert self._session is not None, f"branch {branch} has begun"
        changeset = self._session.changeset()
        self._close_session()
        if len(changeset) > CHANGESET_BYTES_MAX:
            raise no(
                branch,
                f"its changes take {len(changeset)} bytes, more than {CHANGESET_BYTES_MAX}; "
                "change less at once",
            )
        self._refuse_null_keys(branch)
        after = sequences_of(self._connection)
        self._connection.execute("ROLLBACK TO finality_branch")
        self._refuse_null_keys(branch)
        before = sequences_of(self._connection)
        advanced = {table: number for table, number in after.items() if before.get(table) != number}
        if not changeset and not advanced and not self._ours:
            return None
        shapes = shapes_of(self._guard.tables, self._guard.touched)
        return Intent(str(branch), changeset, advanced, shapes, self._ours, at)

    def _refuse_null_keys(self, branch: BranchId) -> None:
        """A session overlooks rows without a key, so there may be none, before or after."""
        for name in self._guard.touched:
            table = self._guard.tables.by_name.get(name)
            nullable = table.nullable_key if table else ()
            if not nullable:
                continue
            where = " OR ".join(f"{quoted(column)} IS NULL" for column in nullable)
            keyless = f"SELECT 1 FROM {quoted(name)} WHERE {where} LIMIT 1"  # noqa: S608 - names are quoted
            if self._connection.execute(keyless).fetchall():
                raise no(
                    branch,
                    f"table {name} has a row whose primary key is null, so SQLite cannot record its changes; "
                    "declare the key NOT NULL",
                )

    def _try_out(self, branch: BranchId, intent: Intent) -> None:
        """See that the changes can be repeated: a yes is a promise."""
        try:
            apply(self._connection, intent.changeset)
        except Misfit as misfit:
            raise no(branch, f"its changes cannot be repeated from their record: {misfit}") from misfit
        self._connection.execute("ROLLBACK TO finality_branch")

    def commit(self, branch: BranchId, at: float) -> None:
        """Commit in one phase.

        Raises:
            Refused: Nothing of it remains. Conflict: likewise, since it was given up.
            OutcomeUnknown: The disk failed.
        """
        try:
            self._check_whole(branch)
            if not self._has_written:
                self.abort()
                return
            self._close_session()
            intents.testify(self._connection, branch, Decision.COMMIT, at)
            commit(self._connection, self._log, self._reach)
        except SURELY_NOTHING as error:
            self.abort()
            raise no(branch, f"nothing was written: {error}") from error
        except apsw.Error as error:
            self.abort()
            raise OutcomeUnknown(
                f"nobody knows yet whether branch {branch} has committed: {error}; ask for the "
                "transaction by its id",
                transaction_id=branch.transaction,
            ) from error
        except BaseException:
            self.abort()
            raise

    def stop(self) -> None:
        """Break off what runs or is about to, from any thread; only an abort may follow."""
        self._is_stopped = True

    def abort(self) -> None:
        """Leave nothing of the branch, and give the write turn back."""
        self._is_stopped = False
        self._close_session()
        self.is_broken = not give_back_turn(self._connection)

    def _close_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def no(branch: BranchId, why: str) -> Refused:
    """Return a branch's no, with the reason."""
    return Refused(
        f"{branch.participant} says no: {why}", branch=branch.name, transaction_id=branch.transaction
    )


def take_turn(connection: apsw.Connection) -> None:
    """Begin to write.

    Raises:
        Held: Another connection writes.
        Unavailable: The file is out of reach.
    """
    if connection.in_transaction:
        raise Held("another branch is at work in this process")
    try:
        connection.execute("BEGIN IMMEDIATE")
    except apsw.BusyError as error:
        raise Held("somebody else writes to it") from error
    except apsw.Error as error:
        raise explain(error) from error


def give_back_turn(connection: apsw.Connection) -> bool:
    """Undo what is not committed; False when even that fails."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except apsw.Error:
        log.exception("a SQLite connection could not undo its transaction, and is replaced")
        return False
    return True


def commit(connection: apsw.Connection, log: WriteAheadLog, reach: Callable[[str], None]) -> None:
    """Make everything durable."""
    reach(COMMIT_BEFORE)
    connection.execute("COMMIT")
    reach(COMMIT_AFTER)
    log.shorten()
