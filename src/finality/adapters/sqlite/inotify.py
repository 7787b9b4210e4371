"""Linux says when a file was written, to whoever asked: its inotify, through the C library."""

from __future__ import annotations

import contextlib
import ctypes
import os

IN_MODIFY = 2
READ_BYTES = 65_536  # More than is ever queued: what follows upon itself is queued once.


def listen(path: str) -> int | None:
    """Return a descriptor that can be read when the file was written; None where there is none."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        descriptor = int(library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    except (AttributeError, OSError):
        return None  # Another operating system.
    if descriptor < 0:
        return None  # This user has too many of them.
    if library.inotify_add_watch(descriptor, os.fsencode(path), IN_MODIFY) < 0:
        os.close(descriptor)
        return None
    return descriptor


def drain(descriptor: int) -> None:
    """Read what it says, so that it can be read no more until the file is written again."""
    with contextlib.suppress(BlockingIOError):
        os.read(descriptor, READ_BYTES)
