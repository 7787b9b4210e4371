"""A comparison for people: four tables with a way a row, readable at a hundred columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finality.cli.compare.comparison import Comparison
from finality.cli.compare.drill import Drill
from finality.cli.compare.trial import Sight
from finality.cli.compare.way import SILENCE

COLUMNS = 100  # Where nobody knows how wide it is.
MS_SHORT = 20  # Above it nobody wants to know tenths.


def show(console: Console, comparison: Comparison) -> None:
    """Print a comparison."""
    for make in (_nature, _costs, _refusals, _deaths):
        console.print(make(comparison))
    for line in _notes(comparison):
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)


def table_of(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table; *right* are the columns of numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if column in right else "left", no_wrap=place == 0)
    return table


def _nature(comparison: Comparison) -> Table:
    columns = ("", "where it is finished", "killed there", "what others see before that", "seen apart")
    table = table_of("What it is", *columns)
    for each in comparison.ways:
        way = each.way
        killed = f"{_end(comparison, each.finished)} {ms_text(each.finished.stood_ms)} later"
        table.add_row(way.title, way.finished.says, killed, way.isolation, _sight(each.trial.sight))
    return table


def _costs(comparison: Comparison) -> Table:
    numbers = ("p50 ms", "p99 ms", "accepted", "calls", "durable writes", "journal events", "witness rows")
    count = max((each.trial.costs.count for each in comparison.ways), default=0)
    title = (
        f"What it costs: {comparison.story.does} {count} times, one after the other, on {comparison.stores}"
    )
    table = table_of(title, "", *numbers, right=numbers)
    for each in comparison.ways:
        costs = each.trial.costs
        counts = (costs.calls, costs.durable_writes, costs.journal_events, costs.witness_rows)
        accepted = "-" if costs.accepted_p50_ms is None else f"{costs.accepted_p50_ms:.1f}"
        latencies = (f"{costs.p50_ms:.1f}", f"{costs.p99_ms:.1f}", accepted)
        table.add_row(each.way.name, *latencies, *(f"{number:g}" for number in counts))
    return table


def _refusals(comparison: Comparison) -> Table:
    columns = ("", "the program hears", "after", "the books", "seen apart")
    table = table_of(comparison.story.refused, *columns, right=("after",))
    for each in comparison.ways:
        refusal = each.trial.refusal
        books = Text("as before", "green")
        if not refusal.is_whole:
            books = Text(f"{refusal.before} → {refusal.after}", "red")
        heard = f"{refusal.heard}: {refusal.because}"
        if each.trial.costs.accepted_p50_ms is not None:
            heard = f"accepted, then {heard}"
        table.add_row(each.way.name, heard, ms_text(refusal.ms), books, _sight(refusal.sight))
    return table


def _deaths(comparison: Comparison) -> Table:
    columns = ("", "when", "open for", "seen apart", "set aside", "next took", "in the end")
    table = table_of(
        "When the coordinator dies (kill -9 where it hurts most)", *columns, right=(*columns[2:6],)
    )
    for each in comparison.ways:
        drill = each.worst
        table.add_row(
            each.way.name,
            drill.when,
            ms_text(drill.stood_ms),
            Text(ms_text(drill.apart_ms), "yellow") if drill.apart_ms else Text("never", "green"),
            ms_text(drill.held_ms) if drill.held_ms else "-",
            ms_text(drill.next_ms),
            _end(comparison, drill),
        )
    return table


def _notes(comparison: Comparison) -> Iterator[str]:
    story = comparison.story
    yield f"seen apart: reads that found {story.apart}"
    yield f"calls: what is asked of {story.between}; durable writes: flushed commits, of all"
    yield "open for: from the death until nothing of it was undecided, held or owed; another node is there"
    yield f"next took: {story.next}, asked for at the moment of the death"
    yield f"who is silent for {SILENCE.total_seconds():g} s is taken for dead"
    for each in comparison.ways:
        if each.way.remark:
            yield f"{each.way.name}: {each.way.remark}"
    for name, extra in comparison.left_out.items():
        yield f"{name} was left out: pip install 'finality[{extra}]'"


def _end(comparison: Comparison, drill: Drill) -> str:
    return comparison.story.done if drill.is_done else "undone"


def _sight(sight: Sight) -> Text:
    if not sight.apart:
        return Text(f"never in {sight.reads} reads", "green")
    return Text(f"{sight.apart / sight.reads:.0%} of {sight.reads} reads", "yellow")


def ms_text(ms: float) -> str:
    """Return a span as one reads it."""
    return f"{ms:.1f} ms" if ms < MS_SHORT else f"{ms / 1e3:.2f} s" if ms >= 1_000 else f"{ms:.0f} ms"
