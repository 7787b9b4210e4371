"""A disk that forgets what was not flushed when the power fails, under SQLite as it is in production.

```
    write a ── write b ── sync ── write c ── write d ── ⚡       a and b are there afterwards;
                                  └ some of these, perhaps half of one ┘
```

SQLite's own file locks and its shared memory stay those of the system, so several simulated nodes
may have a file open at once. Put the files on a memory file system: nothing here needs a real disk.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw

from finality.testing.process import CURRENT, Process

SHARED_MEMORY = "-shm"
FAILED = "the simulated disk failed"


class SimulatedDisk:
    """Stands between SQLite and its files while the block lasts, for every database that is opened in it.

    Attributes:
        is_off: Whether the power has failed: every access fails.
        fails_at: The number of the write or flush that fails, counted from now; None lets none fail.
        operations: How many writes and flushes there were.
        failed_in: The process that met the failure, until somebody takes notice.
    """

    def __init__(self, seed: int | str = 0) -> None:
        self.is_off = False
        self.fails_at: int | None = None
        self.operations = 0
        self.failed_in: Process | None = None
        self._dice = random.Random(f"{seed} disk")  # A simulation wants repeatable dice.
        self._unflushed: dict[str, list[Change]] = {}
        self._files: Files | None = None

    def __enter__(self) -> Self:
        self._files = Files(self)
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._unraisable
        return self

    def _unraisable(self, unraisable: Any) -> None:
        # SQLite tries to tidy up when it closes a file, and has nobody to tell that it cannot.
        if not _is_ours(unraisable.exc_value):
            self._hook(unraisable)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._files is not None, "the block was entered"
        self._files.unregister()
        self._files = None
        sys.unraisablehook = self._hook

    def fail_power(self) -> None:
        """Let every access fail from now on; kill the processes, then call ``restore_power``."""
        self.is_off = True
        self.fails_at = None

    def restore_power(self) -> int:
        """Leave what was flushed, and of the rest what chance has written; return how much was lost."""
        lost = 0
        for path, changes in self._unflushed.items():
            kept = int(self._dice.random() * (len(changes) + 1))
            lost += len(changes) - kept
            for change in reversed(changes[kept:]):
                change.take_back(path)
            if kept < len(changes) and self._dice.random() < 0.5:
                changes[kept].write_half(path)
            shared = Path(path.removesuffix("-wal") + SHARED_MEMORY)
            shared.unlink(missing_ok=True)
        self._unflushed.clear()
        self.is_off = False
        return lost

    def count(self) -> None:
        """Count a write or a flush.

        Raises:
            IOError: It fails, as planned.
        """
        self.check()
        self.operations += 1
        if self.fails_at is not None and self.operations >= self.fails_at:
            self.fails_at = None
            self.failed_in = CURRENT.get()
            raise _failure(apsw.SQLITE_IOERR_WRITE)

    def check(self) -> None:
        """See that there is power.

        Raises:
            IOError: There is none.
        """
        if self.is_off:
            raise _failure(apsw.SQLITE_IOERR)

    def changed(self, path: str, change: Change) -> None:
        """Remember what was not flushed yet."""
        self._unflushed.setdefault(path, []).append(change)

    def flushed(self, path: str) -> None:
        """Hear that everything written to the file is there for good."""
        self._unflushed.pop(path, None)


class Change:
    """A write or a truncation that was not flushed, and what was there before."""

    __slots__ = ("before", "data", "offset", "size")

    def __init__(self, path: str, offset: int, data: bytes, length: int) -> None:
        self.offset = offset
        self.data = data
        with open(path, "rb") as file:
            self.size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            self.before = file.read(length)

    def take_back(self, path: str) -> None:
        """Put back what was there."""
        self._write(path, self.before, self.size)

    def write_half(self, path: str) -> None:
        """Write the first half only: the power failed in the middle."""
        half = self.data[: len(self.data) // 2]
        if half:
            self._write(path, half, None)

    def _write(self, path: str, data: bytes, size: int | None) -> None:
        with open(path, "r+b") as file:
            file.seek(self.offset)
            file.write(data)
            if size is not None:
                file.truncate(size)


class Files(apsw.VFS):
    """Opens files for SQLite."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self.system = apsw.vfs_names()[0]  # The first one is what SQLite uses when nobody says otherwise.
        super().__init__("finality simulated disk", self.system, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> File:
        """Open a file."""
        self._disk.check()
        return File(self._disk, self.system, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Delete a file; a directory is flushed with it."""
        self._disk.check()
        self._disk.flushed(filename)
        super().xDelete(filename, syncdir)


class File(apsw.VFSFile):
    """One open file."""

    def __init__(self, disk: SimulatedDisk, system: str, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__(system, name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        """Write."""
        self._disk.count()
        self._disk.changed(self._path, Change(self._path, offset, bytes(data), len(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        """Cut off the end."""
        self._disk.count()
        length = max(os.path.getsize(self._path) - size, 0)
        self._disk.changed(self._path, Change(self._path, size, b"", length))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        """Flush. Only the simulated power can fail here, so the real disk is left in peace."""
        self._disk.count()
        self._disk.flushed(self._path)

    def xRead(self, amount: int, offset: int) -> bytes:
        """Read."""
        self._disk.check()
        return super().xRead(amount, offset)


def _failure(code: int) -> apsw.IOError:
    error = apsw.IOError(FAILED)
    error.extendedresult = code  # type: ignore[attr-defined]  # what SQLite gets to hear
    return error


def _is_ours(error: BaseException | None) -> bool:
    return isinstance(error, apsw.IOError) and FAILED in str(error)
