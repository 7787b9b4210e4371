"""Linux says when a file was written, to whoever asked: its inotify, through the C library."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable

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


class Ear:
    """Hears that a file was written, and then nothing more before it is opened again."""

    def __init__(self, descriptor: int, told: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._is_open = False

    def open(self) -> None:
        """Forget what was written so far, and hear what is from now on."""
        if not self._is_open:
            self._is_open = True
            drain(self._descriptor)
            self._loop.add_reader(self._descriptor, self._hear)

    def _hear(self) -> None:
        self._shut()
        self._told()

    def _shut(self) -> None:
        if self._is_open and not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
        self._is_open = False

    def close(self) -> None:
        """Hear nothing any more."""
        self._shut()
        os.close(self._descriptor)


def ear(path: str, told: Callable[[], None]) -> Ear | None:
    """Return what calls *told* when the file is written; None where nobody says so."""
    descriptor = listen(path)
    return None if descriptor is None else Ear(descriptor, told)
