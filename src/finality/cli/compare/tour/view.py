"""The two ways to book a tour, side by side for people, readable at a hundred columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finality.cli.compare.tour.telling import Case, Told
from finality.cli.compare.view import ms_text, table_of


def show(console: Console, told: Sequence[Told]) -> None:
    """Print them."""
    console.print(_costs(told))
    console.print(_ends(told))
    console.print(_timelines("A tour that is booked", told, [each.good for each in told]))
    console.print(_timelines("A tour without a seat", told, [each.refused for each in told]))
    for each in told:
        _operator(console, f"{each.title}; an operator asks while the approval is late", each.late)
        _operator(console, f"{each.title}; the car rental hangs: {each.hangs_says}", each.hanging)
    console.print(
        "durable writes: flushed commits, of all databases and processes; every end was checked in all four "
        "databases",
        style="dim", highlight=False, soft_wrap=True,
    )  # fmt: skip


def _costs(told: Sequence[Told]) -> Table:
    numbers = ("p50", "p99", "carried", "durable writes")
    count = max(each.count for each in told)
    table = table_of(
        f"What a tour costs: {count} booked, one after the other", "", *numbers, "", right=numbers
    )
    for each in told:
        numbers = (
            ms_text(each.p50_ms),
            ms_text(each.p99_ms),
            f"{each.carried:g}",
            f"{each.durable_writes:g}",
        )
        table.add_row(each.title, *numbers, f"carried: {each.carried_says}")
    return table


def _ends(told: Sequence[Told]) -> Table:
    table = table_of("How it ends", "", "no seat is left", "approved late", "the car rental hangs")
    for each in told:
        table.add_row(each.way, *(_end(case) for case in (each.refused, each.late, each.hanging)))
    return table


def _end(case: Case) -> Text:
    books = "all four have it" if case.is_booked else "nobody has anything"
    return Text(f"{case.status} after {ms_text(case.ms)}: {books}", "green" if case.is_booked else "yellow")


def _timelines(title: str, told: Sequence[Told], cases: Sequence[Case]) -> Table:
    columns = [column for each in told for column in ("ms", each.way)]
    table = table_of(title, *columns, right=("ms",))
    for moments in zip_longest(*(case.timeline for case in cases)):
        cells = [("", "") if moment is None else (f"{moment.ms:.0f}", moment.what) for moment in moments]
        table.add_row(*(text for cell in cells for text in cell))
    return table


def _operator(console: Console, title: str, case: Case) -> None:
    console.print(title, style="bold", highlight=False)
    console.print(case.operator_sees, highlight=False, markup=False)
    console.print()
