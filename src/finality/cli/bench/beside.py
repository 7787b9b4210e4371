"""Finality beside somebody else: both take turns in one run, and their ratio is what counts."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from typing import Any

from finality.cli.bench.workload import Run

FINALITY = "finality"

Contestant = Callable[[int, float], Awaitable[Run]]
"""Keeps so many in flight for so many seconds."""


async def beside(
    contestants: dict[str, Contestant],
    concurrency: int,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Let ``finality`` and one other take turns; return the middle run of each, and the ratios."""
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, contestant in contestants.items():
            say(f"{concurrency} in flight, round {number + 1} of {rounds}: {name}")
            runs[name].append(await contestant(concurrency, seconds))
    summary: dict[str, Any] = {name: _middle(each) for name, each in runs.items()}
    [other] = [name for name in contestants if name != FINALITY]
    pairs = list(zip(runs[FINALITY], runs[other], strict=True))
    summary[FINALITY]["ratio_of_rate"] = round(statistics.median(a.rate / b.rate for a, b in pairs), 3)
    summary[FINALITY]["ratio_of_median_latency"] = round(
        statistics.median(a.percentile(0.5) / b.percentile(0.5) for a, b in pairs), 3
    )
    return {"concurrency": concurrency, **summary}


def _middle(runs: list[Run]) -> dict[str, Any]:
    ordered = sorted(runs, key=lambda run: run.rate)
    middle = ordered[len(runs) // 2]
    return middle.figures() | {"spread": [round(ordered[0].rate), round(ordered[-1].rate)]}
