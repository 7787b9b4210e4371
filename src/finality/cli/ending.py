"""How a command ends early: SIGTERM and a closed terminal end it as Ctrl-C does, so that it cleans up."""

from __future__ import annotations

import signal
from collections.abc import Callable

from finality.adapters.system.end_signals import heard
from finality.cli import status


def ended_by_signals(command: Callable[[], int]) -> int:
    """Run *command*, which hears of signals as Ctrl-C; return its exit status, or that of the signal."""
    asked: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        asked.append(number)
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):  # A script's job in the background ignores Ctrl-C, and nothing else.
            raise KeyboardInterrupt
        interrupt(signal.SIGINT, None)

    with heard(end, (signal.SIGTERM, signal.SIGHUP)):
        returned = command()
    return status.OF_SIGNAL[asked[0]] if asked and returned == status.INTERRUPTED else returned
