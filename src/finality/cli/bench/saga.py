"""Three-step sagas, done and compensated, each against its bound in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import finality
from finality.cli.bench.bound import measure_bound
from finality.cli.bench.machine import description
from finality.cli.bench.workload import SAGAS, VARIANTS, Run, check, measure

METHOD = (
    "each client starts a saga and waits for its outcome before it starts the next; every event is durable "
    "(WAL, synchronous=FULL) before the saga goes on; product and bound take turns; medians over the rounds"
)


async def run(
    path: Path, seconds: float, rounds: int, concurrencies: Sequence[int], say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure, *seconds* for each round of each figure, and check that every saga ended once."""
    machine = description(path.parent)
    counts = dict.fromkeys(VARIANTS, 0)
    results: list[dict[str, Any]] = []
    async with finality.open_async(f"sqlite:///{path}", sagas=SAGAS.values()) as node:
        for concurrency in concurrencies:
            figures: dict[str, list[Run]] = {}
            for number in range(rounds):
                for variant in VARIANTS:
                    say(f"{concurrency} in flight, round {number + 1} of {rounds}: {variant}")
                    done = await measure(node, variant, concurrency=concurrency, seconds=seconds)
                    counts[variant] += done.count
                    figures.setdefault(variant, []).append(done)
                    bare = path.with_name(f"{path.stem}-bound-{concurrency}-{number}-{variant}.db")
                    bound = await measure_bound(bare, variant, concurrency=concurrency, seconds=seconds)
                    figures.setdefault(f"{variant} bound", []).append(bound)
                    remove(bare)
            results.append({"concurrency": concurrency, **_summed_up(figures)})
        await check(node, counts)
    return {
        "bench": "saga",
        "machine": machine,
        "method": METHOD,
        "seconds": seconds * rounds,
        "rounds": rounds,
        "results": results,
        "checked": {"sagas": sum(counts.values()), "each ended once": True},
    }


def remove(database: Path) -> None:
    """Remove a SQLite database and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def _summed_up(figures: dict[str, list[Run]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, runs in figures.items():
        rates = [run.count / run.seconds for run in runs]
        middle = sorted(runs, key=lambda run: run.count / run.seconds)[len(runs) // 2]
        summary[name] = middle.figures() | {"spread": [round(min(rates)), round(max(rates))]}
    for variant in VARIANTS:
        ratios = [
            (done.count / done.seconds) / (bound.count / bound.seconds)
            for done, bound in zip(figures[variant], figures[f"{variant} bound"], strict=True)
        ]
        summary[variant]["ratio_to_bound"] = round(statistics.median(ratios), 3)
    ratios = [
        (undone.count / undone.seconds) / (done.count / done.seconds)
        for undone, done in zip(figures["compensation"], figures["success"], strict=True)
    ]
    summary["compensation_to_success"] = round(statistics.median(ratios), 3)
    return summary
