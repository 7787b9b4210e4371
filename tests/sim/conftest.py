"""Adds up what the simulations of this run have seen, over all of pytest's processes."""

from __future__ import annotations

from collections import Counter

import pytest

COUNTED = "simulated"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the totals."""
    totals: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == COUNTED and getattr(report, "when", "") == "call":
                    totals.update(value)
    if totals:
        terminalreporter.section("simulation")
        for name, count in totals.most_common():
            terminalreporter.write_line(f"{count:>9,} {name}")
