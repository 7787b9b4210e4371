"""The file of the write-ahead log, kept longer than the log is.

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

import os
import sys

AHEAD_BYTES = 1024 * 1024  # Small beside what a checkpoint writes, and enough for 60 lone commits.
SHORT_PAGES = 64  # A log that never gets longer than this belongs to a file that is hardly written.
FRAME_HEAD_BYTES = 24


class LogFile:
    """Lengthens the log's file of one database.

    Attributes:
        enough_pages: While the log has no more pages than these, nothing is to be done.
    """

    def __init__(self, database: str, page_bytes: int) -> None:
        self.enough_pages = SHORT_PAGES
        self._path = f"{database}-wal"
        self._frame_bytes = page_bytes + FRAME_HEAD_BYTES

    def lengthen(self, pages: int) -> None:
        """Put zeros behind a log of so many pages; only for who has the write turn: nobody appends then.

        A full disk is left for SQLite to find, whose error says what it means.
        """
        try:
            self.enough_pages = self._lengthened(pages)
        except OSError:
            self.enough_pages = sys.maxsize

    def _lengthened(self, pages: int) -> int:
        used = pages * self._frame_bytes
        descriptor = os.open(self._path, os.O_WRONLY)
        try:
            size = os.fstat(descriptor).st_size
            if size < used + AHEAD_BYTES:
                size += os.pwrite(descriptor, bytes(used + AHEAD_BYTES - size), size)
        finally:
            os.close(descriptor)
        return (size - AHEAD_BYTES // 4) // self._frame_bytes
