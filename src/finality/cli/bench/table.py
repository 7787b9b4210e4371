"""A result as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

COLUMNS = ("in flight", "what", "a second", "spread", "p50 ms", "p99 ms", "CPU µs", "of bound")


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a printed result."""
    machine = result["machine"]
    yield ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    yield result["method"]
    yield ""
    if result["bench"] == "saga":
        yield from _saga(result)
    elif result["bench"] == "two-phase":
        yield from _beside(result["results"])
    elif result["bench"] in ("peers", "append"):
        for what, results in result["results"].items():
            yield f"{what}:"
            yield from _beside(results)
            yield ""
        for name, why in result.get("left_out", {}).items():
            yield f"{name} was left out: {why}"
    else:
        for name, value in result["results"].items():
            yield f"{name.replace('_', ' '):40} {value}"
    yield ""
    yield "checked: " + ", ".join(f"{name} {value}" for name, value in result["checked"].items())


def _saga(result: dict[str, Any]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [COLUMNS]
    for each in result["results"]:
        for name in ("success", "success bound", "compensation", "compensation bound"):
            run = each[name]
            spread = "{}–{}".format(*run["spread"])
            ratio = str(run.get("ratio_to_bound", ""))
            rows.append(
                (
                    str(each["concurrency"]), name,
                    f"{run['per_second']:.0f}", spread,
                    f"{run['p50_ms']:.1f}", f"{run['p99_ms']:.1f}", f"{run['cpu_us']:.0f}", ratio,
                )
            )  # fmt: skip
    yield from _aligned(rows)


def _beside(results: list[dict[str, Any]]) -> Iterator[str]:
    rows = [("in flight", "what", "a second", "spread", "p50 ms", "p99 ms", "CPU µs", "rate", "latency")]
    for each in results:
        for name, run in each.items():
            if name == "concurrency":
                continue
            rows.append(
                (
                    str(each["concurrency"]), name,
                    f"{run['per_second']:.0f}", "{}–{}".format(*run["spread"]),
                    f"{run['p50_ms']:.1f}", f"{run['p99_ms']:.1f}", f"{run['cpu_us']:.0f}",
                    str(run.get("ratio_of_rate", "")), str(run.get("ratio_of_median_latency", "")),
                )
            )  # fmt: skip
    yield from _aligned(rows)


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
