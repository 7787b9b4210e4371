"""A SQLite file as its participant uses it: one connection that writes and one that looks; on one thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from finality.adapters.sqlite import intent as intents
from finality.adapters.sqlite.connection import connect, explain, health_of, identity
from finality.adapters.sqlite.log import WriteAheadLog
from finality.adapters.sqlite.schema import STORE, migrate, migrations
from finality.adapters.sqlite.tables import tables_of
from finality.adapters.sqlite.work import Work, commit, give_back_turn, take_turn
from finality.core.two_phase import Decision
from finality.ports.participant import BranchId, InDoubt


class SqliteFile:
    """One open file.

    Attributes:
        work: The branch that works in it.
    """

    def __init__(self, path: Path, reach: Callable[[str], None]) -> None:
        self._path = path
        self._reach = reach
        self._connection = connect(path)
        try:
            migrate(self._connection, migrations(STORE))
            self._reader = connect(path, is_reader=True)
        except BaseException:
            self._connection.close()
            raise
        self._connection.set_busy_timeout(0)  # Whoever asks waits by itself.
        self._log = WriteAheadLog(self._connection, path)
        self._identity = identity(path)
        self.work = Work(self._connection, self._log, reach)

    @property
    def is_usable(self) -> bool:
        """Say whether it is still the file of its name, and can be written."""
        return not self.work.is_broken and identity(self._path) == self._identity

    def finish(self, branch: BranchId, decision: Decision, at: float) -> Decision:
        """Do what was decided; return what the branch has done.

        Raises:
            Held: Somebody else writes just now.
            Unavailable: The disk failed, or somebody has changed the file in spite of the triggers.
        """
        try:
            is_in_doubt, did = intents.found(self._reader, branch)
            if did is not None and not is_in_doubt:
                return did
            return self._write(lambda: intents.finish(self._connection, branch, decision, at))
        except apsw.Error as error:
            raise explain(error) from error

    def settle(self, branch: BranchId, at: float) -> Decision:
        """Say what became of a one-phase commit, and keep it so.

        Raises:
            Held: Somebody writes just now: perhaps the branch itself.
            Unavailable: The disk failed.
        """
        try:
            return self._write(lambda: intents.settle(self._connection, branch, at))
        except apsw.Error as error:
            raise explain(error) from error

    def _write(self, do: Callable[[], Decision]) -> Decision:
        take_turn(self._connection)
        self._log.begun()
        try:
            did = do()
            commit(self._connection, self._log, self._reach)
        except BaseException:
            self.work.is_broken = not give_back_turn(self._connection)
            raise
        return did

    def in_doubt(self, participant: str, now: float) -> list[InDoubt]:
        """Return the participant's branch that is in doubt, if one is."""
        holds = f"every write to {self._path.name}"
        return [
            InDoubt(branch, max(now - intent.at, 0.0), holds)
            for intent in intents.kept(self._reader)
            if (branch := BranchId.parse(intent.branch)) is not None and branch.participant == participant
        ]

    def health(self) -> list[tuple[str, bool, str]]:
        """Return what the doctor wants to know of the file."""
        tables = tables_of(self._reader).by_name.values()
        refusals = [table.refusal for table in tables if table.refusal]
        finding = f"{len(tables)} tables, {len(refusals)} of which no branch may write"
        return [*health_of(self._reader), ("tables", True, "; ".join([finding, *refusals]))]

    def close(self) -> None:
        """Let go of the file; what is not committed is gone."""
        self._reader.close()
        self._connection.close()
