"""How a SQLite file is opened, and what its errors mean to a caller."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

import apsw

from finality.core.errors import Unavailable

T = TypeVar("T")

OPEN_SECONDS_MAX = 30.0  # Another process may be creating or migrating; a larger wait means that it hangs.
OPEN_WAIT_SECONDS = 0.002
READ_BUSY_MILLISECONDS = 5_000  # A reader waits only while the file recovers after a crash.


# Kept here, for a connection that another thread uses cannot be asked.
_files: WeakKeyDictionary[apsw.Connection, tuple[int, int]] = WeakKeyDictionary()


def connect(path: Path | str, *, is_reader: bool = False) -> apsw.Connection:
    """Open a database so that a commit is on disk when it returns.

    Durable means a write-ahead log with ``synchronous=FULL``: it is flushed at each commit.

    Raises:
        Unavailable: The file cannot be opened, or is no database.
    """
    connection = None
    try:
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(READ_BUSY_MILLISECONDS)
        _use_write_ahead_log(connection, path)
        _files[connection] = identity(path)  # Now there is a file.
        connection.execute("PRAGMA synchronous = FULL")
        # Without this, a build with STAT4 plans a statement anew at each binding: 24 µs a look-up, not 5.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.execute("PRAGMA fullfsync = ON")  # A Mac's plain fsync leaves it in the disk's cache.
        connection.execute("PRAGMA foreign_keys = ON")
        if is_reader:
            connection.execute("PRAGMA query_only = ON")
    except (apsw.Error, Unavailable) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, Unavailable):
            raise
        raise Unavailable(
            f"cannot open {path}: {error}; check that its folder exists, that both may be "
            "written and that it is a SQLite database"
        ) from error
    return connection


def _use_write_ahead_log(connection: apsw.Connection, path: Path | str) -> None:
    # SQLite does not wait by itself here when several processes create one file.
    mode = patiently(lambda: connection.pragma("journal_mode", "wal"))
    if mode != "wal":
        raise Unavailable(
            f"cannot open {path}: it has journal mode {mode!r} and Finality needs a write-ahead log; "
            "use a file on a local disk"
        )


def patiently(ask: Callable[[], T]) -> T:
    """Return what *ask* does once no other process is in its way.

    Raises:
        Unavailable: One has been for longer than ``OPEN_SECONDS_MAX``.
    """
    give_up = time.monotonic() + OPEN_SECONDS_MAX
    while True:
        try:
            return ask()
        except (apsw.BusyError, apsw.LockedError) as error:
            if time.monotonic() > give_up:
                raise Unavailable(
                    f"the store is unavailable: another process has held it for {OPEN_SECONDS_MAX:.0f} "
                    "seconds; find the process that has the file open"
                ) from error
            time.sleep(OPEN_WAIT_SECONDS)


def is_open_here(path: str) -> bool:
    """Say whether this process has the file open through apsw."""
    return identity(path) in {_files.get(connection) for connection in apsw.connections()}


def identity(path: Path | str) -> tuple[int, int]:
    """Return what tells the file from another of its name; zeros when there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return status.st_dev, status.st_ino


def health_of(connection: apsw.Connection) -> list[tuple[str, bool, str]]:
    """Return (check, is_good, finding) about what durability rests on."""
    [(journal_mode,)] = connection.execute("PRAGMA journal_mode").fetchall()
    [(synchronous,)] = connection.execute("PRAGMA synchronous").fetchall()
    is_fixed = apsw.SQLITE_VERSION_NUMBER >= 3_051_003
    return [
        ("sqlite", is_fixed, f"SQLite {apsw.sqlite_lib_version()}"),
        ("journal mode", journal_mode == "wal", f"journal_mode = {journal_mode}"),
        ("durability", synchronous == 2, f"synchronous = {synchronous} (2 is FULL)"),
    ]


# What is wrong with the file or the disk rather than with the statement.
OUT_OF_REACH = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.IOError,
    apsw.NotADBError,
    apsw.PermissionsError,
    apsw.ReadOnlyError,
)


def explain(problem: BaseException) -> BaseException:
    """Return *problem*, or what it means to the caller if the file or the disk is at fault."""
    if not isinstance(problem, OUT_OF_REACH):
        return problem
    todo = "free some disk space" if isinstance(problem, apsw.FullError) else "check the file and its disk"
    unavailable = Unavailable(f"nothing was written: {problem}; {todo}, then try again")
    unavailable.__cause__ = problem
    return unavailable
