"""A result as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

COLUMNS = ("in flight", "what", "a second", "spread", "p50 ms", "p99 ms", "CPU µs")
BOUNDS = {
    "ratio_to_bound": "of bound",
    "ratio_to_as_many_writers": "of as many writers",
    "ratio_to_one_node": "of one node",
    "ratio_to_success": "of success",
}
PEERS = {"ratio_of_rate": "rate", "ratio_of_median_latency": "latency"}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a printed result."""
    machine = result["machine"]
    yield ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    yield result["method"]
    yield ""
    if result["bench"] == "saga":
        yield from _figures(result["results"], BOUNDS)
    elif result["bench"] == "two-phase":
        yield from _figures(result["results"], PEERS)
    elif result["bench"] in ("peers", "append"):
        for what, results in result["results"].items():
            yield f"{what}:"
            yield from _figures(results, PEERS)
            yield ""
        for name, why in result.get("left_out", {}).items():
            yield f"{name} was left out: {why}"
    else:
        for name, value in result["results"].items():
            yield f"{name.replace('_', ' '):40} {value}"
    yield ""
    yield "checked: " + ", ".join(f"{name} {value}" for name, value in result["checked"].items())


def _figures(results: list[dict[str, Any]], ratios: dict[str, str]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [(*COLUMNS, *ratios.values())]
    for each in results:
        for name, run in each.items():
            if name == "concurrency":
                continue
            rows.append(
                (
                    str(each["concurrency"]), name,
                    f"{run['per_second']:.0f}", "{}–{}".format(*run["spread"]),
                    f"{run['p50_ms']:.1f}", f"{run['p99_ms']:.1f}", f"{run['cpu_us']:.0f}",
                    *(str(run.get(ratio, "")) for ratio in ratios),
                )
            )  # fmt: skip
    yield from _aligned(rows)


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
