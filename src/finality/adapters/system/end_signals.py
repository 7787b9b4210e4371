"""The signals that ask a process to end: Ctrl-C, an orchestrator's SIGTERM, and a terminal that is closed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def heard(
    asked: Callable[[signal.Signals], Any], numbers: Collection[signal.Signals] = END_SIGNALS
) -> Iterator[None]:
    """Call *asked* when this process is asked to end, as long as the block lasts; in the main thread.

    Under ``nohup`` a closed terminal asks nothing. Otherwise it asks once at most, and not a process that
    was asked already: the shell and the kernel both say that it is closed.
    """
    before: dict[signal.Signals, Any] = {}

    def hear(number: int, _frame: object) -> None:
        if signal.SIGHUP in before:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            if number == signal.SIGHUP:
                del before[signal.SIGHUP]  # It stays ignored: what is done at the end is not disturbed.
        asked(signal.Signals(number))

    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, hear)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
