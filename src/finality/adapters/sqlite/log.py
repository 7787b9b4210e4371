"""A database's write-ahead log: when it is copied into the database, and how long its own file is.

```
    ┌ frames ─────────────┬ zeros ────────┐      a flush in here writes the frames and nothing else;
    └─────────────────────┴───────────────┘      one that lets the file grow writes its new length as well
```

A file system keeps a file's length in a journal of its own, and a flush that has to wait for that journal
waits for everybody else's files, too: 4 ms instead of 0.2 beside other processes that write, and 0.4 on an
idle disk. SQLite takes zeros for no frame, as it does with what an earlier log has left behind its end.

Source: https://www.sqlite.org/fileformat2.html#the_write_ahead_log, sections 4.1 to 4.4.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import apsw

log = logging.getLogger("finality.store")

CHECKPOINT_PAGES = 4_000  # 16 MiB: fewer syncs of the main file than at 1,000.
RESTART_PAGES = 16_000  # 64 MiB: readers that overlap without a gap have kept it growing.
RESTART_MILLISECONDS = 100  # Our readers' looks are far shorter, so that one gap is enough.
AHEAD_BYTES = 1024 * 1024  # Small beside what a checkpoint writes, and enough for 60 lone commits.
SHORT_PAGES = 64  # A log that never gets longer than this belongs to a file that is hardly written.
FRAME_HEAD_BYTES = 24


class WriteAheadLog:
    """Looks after the log of a connection, between its commits."""

    def __init__(self, connection: apsw.Connection, database: Path | str) -> None:
        self._database = os.path.abspath(database)
        self._frame_bytes = int(connection.pragma("page_size")) + FRAME_HEAD_BYTES
        self._connection = connection
        self._pages = 0  # At our last commit.
        self.is_long = False
        self._enough_pages = SHORT_PAGES  # While the log has no more, its file is long enough.
        self._noted_pages = 2 * RESTART_PAGES
        connection.set_wal_hook(self._committed)

    def begun(self) -> None:
        """Put zeros behind the log if few are left; only for who has the write turn: nobody appends then.

        A full disk is left for SQLite to find, whose error says what it means.
        """
        if self._pages > self._enough_pages:
            try:
                self._enough_pages = self._lengthened()
            except OSError:
                self._enough_pages = sys.maxsize

    def _lengthened(self) -> int:
        wanted = self._pages * self._frame_bytes + AHEAD_BYTES
        descriptor = os.open(f"{self._database}-wal", os.O_WRONLY)
        try:
            size = os.fstat(descriptor).st_size
            if size < wanted:
                size += os.pwrite(descriptor, bytes(wanted - size), size)
        finally:
            os.close(descriptor)
        return (size - AHEAD_BYTES // 4) // self._frame_bytes

    def _committed(self, connection: apsw.Connection, database: str, pages: int) -> int:
        self._pages = pages
        self.is_long = pages >= CHECKPOINT_PAGES
        return apsw.SQLITE_OK

    def shorten(self) -> None:
        """Copy the log into the file if the last commit has made it long; outside of a transaction."""
        if not self.is_long:
            return
        self.is_long = False
        connection, pages = self._connection, self._pages
        try:
            if pages < RESTART_PAGES:
                connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_PASSIVE)
            else:
                connection.set_busy_timeout(RESTART_MILLISECONDS)
                connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_RESTART)
        except apsw.Error as error:
            # What was committed is durable all the same; whoever commits next tries again. That
            # somebody else is at it, or reads, is worth a word only when it goes on.
            if pages >= self._noted_pages or not isinstance(error, apsw.BusyError):
                self._noted_pages = 2 * pages
                log.warning(
                    "the write-ahead log of %s has %d pages: %s; look for a process that reads for long",
                    self._database, pages, error,
                )  # fmt: skip
        finally:
            connection.set_busy_timeout(0)  # Whoever writes waits by itself.
