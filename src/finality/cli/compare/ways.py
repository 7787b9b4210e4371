"""Every way, in the order in which they are told."""

from __future__ import annotations

from finality.cli.compare.local import Local
from finality.cli.compare.saga import AsSaga
from finality.cli.compare.tcc import Tcc
from finality.cli.compare.three_phase import ThreePhase
from finality.cli.compare.two_phase import TwoPhase
from finality.cli.compare.way import Way

WAYS: tuple[Way, ...] = (Local(), TwoPhase(), ThreePhase(), Tcc(), AsSaga())


def way_named(name: str) -> Way:
    """Return a way by its name."""
    return next(way for way in WAYS if way.name == name)
