"""What the clients of brokers log of their own accord: one line of ours while a broker is away.

A client logs each of its attempts, hundreds in a few seconds and some with a traceback, where whoever asked
hears of it, too. Its tasks inherit the name of our broker from the task that began them, and its lines are
known by that; those of the same client that are somebody else's are left alone.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from contextvars import ContextVar

log = logging.getLogger("finality.brokers")

TOLD_SECONDS = 10.0  # From one line to the next of a broker; what is between them is told at DEBUG.

_broker: ContextVar[str] = ContextVar("finality_broker", default="")


class ClientLog(logging.Filter):
    """Has the warnings of a client's loggers told by ours, if they are about a broker of ours."""

    def __init__(self, client: str) -> None:
        super().__init__()
        self._client = client
        self._is_heard = False
        self._told_at: dict[str, float] = {}

    @contextlib.contextmanager
    def about(self, broker: str) -> Iterator[None]:
        """Say that what the client does inside, and in tasks that it begins there, is about *broker*."""
        self._hear()
        before = _broker.get()
        _broker.set(broker)
        try:
            yield
        finally:
            _broker.set(before)

    def _hear(self) -> None:
        """Look through all of the client's loggers: one hears nothing of those below it."""
        if not self._is_heard:
            self._is_heard = True
            for name in [*logging.root.manager.loggerDict]:
                if name.partition(".")[0] == self._client:
                    logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell a warning in our words; let pass what is none, or not ours."""
        broker = _broker.get()
        if not broker or record.levelno < logging.WARNING:
            return True
        now = time.monotonic()
        is_due = now - self._told_at.get(broker, -TOLD_SECONDS) >= TOLD_SECONDS
        if is_due:
            self._told_at[broker] = now
        level = logging.WARNING if is_due else logging.DEBUG
        log.log(level, "the client of %s is in trouble, and tries again: %s", broker, record.getMessage())
        return False
