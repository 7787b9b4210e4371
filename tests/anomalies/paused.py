"""A node that is paused in the middle of a step for longer than its lease lasts, as by SIGSTOP.

The step blocks its node's only loop, so that nothing of that node runs: no timer, no lease.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import finality
from tests.anomalies.stage import SECONDS_MAX, sqlite_url

LEASE = timedelta(seconds=0.3)


@dataclass
class Pause:
    """Where the first node stands still until it is woken; whoever comes later passes."""

    arrived: threading.Event = field(default_factory=threading.Event)
    woken: threading.Event = field(default_factory=threading.Event)

    def here(self) -> None:
        """Stand still, the first time."""
        if not self.arrived.is_set():
            self.arrived.set()
            assert self.woken.wait(SECONDS_MAX), "the node was never woken"


PAUSE = Pause()


def undone_while_paused(folder: Path, saga: finality.Saga) -> tuple[list[Any], list[Any]]:
    """Let a node start *saga* and pause in it; another takes it over, undoes it; then the first wakes.

    Returns:
        The reservations at the bank when the saga was undone, and when the paused node had gone on.
    """
    PAUSE.arrived.clear()
    PAUSE.woken.clear()
    url, stores = sqlite_url(folder), {"bank": sqlite_url(folder, "bank")}
    sagas = [type(saga)]
    with finality.open(url, stores=stores, sagas=sagas, lease=LEASE) as other:
        other.run(lambda tx: tx.execute("CREATE TABLE reservations (id)"), at="bank")
        paused = finality.open(url, stores=stores, sagas=sagas, lease=LEASE)
        try:
            paused.start(saga, id="book")
            assert PAUSE.arrived.wait(SECONDS_MAX), "the step was never asked"
            assert other.cancel("book", because="the customer has left")
            outcome = other.outcome("book", timeout=SECONDS_MAX)
            assert outcome == finality.COMPENSATED, outcome
            before = other.query("SELECT id FROM reservations", at="bank")
        finally:
            PAUSE.woken.set()
            paused.close()
        return before, other.query("SELECT id FROM reservations", at="bank")
