"""A terminal that may be closed while a command goes on: what it says then is heard by nobody."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Terminal(io.FileIO):
    """What a terminal takes, for as long as it is there."""

    def write(self, data: ReadableBuffer) -> int:
        """Write, or do nothing if it has been closed: a saga under way is finished all the same."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:  # That is what the kernel answers for a closed one.
                raise
            return memoryview(data).nbytes


def lasting(stream: TextIO) -> TextIO:
    """Return *stream*, or if that is a terminal one that can still be written to when it has been closed."""
    if not stream.isatty():
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Terminal(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, line_buffering=True)
