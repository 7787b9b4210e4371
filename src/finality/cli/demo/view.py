"""What one sees of the demo: a live table on a terminal, a line a second anywhere else."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from finality.cli.demo.bank import dollars
from finality.cli.demo.invariants import Audit


@dataclass(frozen=True, slots=True)
class Moment:
    """The demo at one moment."""

    seconds: float
    phase: str
    nodes: int
    kills: int
    audit: Audit

    @property
    def ended(self) -> int:
        """Return how many sagas have ended."""
        return self.audit.completed + self.audit.compensated

    @property
    def per_second(self) -> float:
        """Return how many ended a second, since the first node was ready."""
        return self.ended / self.seconds if self.seconds else 0.0


class PipedConsole(Console):
    """A console that leaves it to the command line to say that nobody reads any more."""

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError on; rich would end the program here, in the middle of its work."""
        raise  # What rich is dealing with while it calls this.


class View:
    """Shows moments as they come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def shown(self) -> AbstractContextManager[Any]:
        """Return a context in which moments can be shown."""
        return self._live or nullcontext()

    def say(self, text: str) -> None:
        """Print a line above whatever is shown."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, moment: Moment) -> None:
        """Show *moment*."""
        if self._live is not None:
            self._live.update(_picture(moment), refresh=True)
        else:
            self.say(_line(moment))

    def summarize(self, moment: Moment) -> None:
        """Print what became of each invariant, unless that stays on the screen."""
        if self._live is None:
            for text in _invariants(moment.audit):
                self._console.print(text, soft_wrap=True)


def _line(moment: Moment) -> str:
    audit = moment.audit
    broken = [finding.invariant.name for finding in audit.findings if not finding.holds]
    return (
        f"{moment.seconds:5.1f} s  {moment.phase:<8}  {moment.per_second:6.0f}/s  "
        f"started {audit.transactions}  completed {audit.completed}  compensated {audit.compensated}  "
        f"recovered {audit.recovered}  kills {moment.kills}  open {audit.open}  "
        f"in flight {dollars(audit.in_flight_cents)}  "
        f"{'BROKEN: ' + ', '.join(broken) if broken else 'books balanced'}"
    )


def _picture(moment: Moment) -> Table:
    table = Table(show_header=False, box=SIMPLE, padding=0)
    table.add_column()
    table.add_row(_numbers(moment))
    for text in _invariants(moment.audit):
        table.add_row(text)
    return table


def _numbers(moment: Moment) -> Table:
    audit = moment.audit
    table = Table.grid(padding=(0, 3))
    # fmt: off
    table.add_row(f"{moment.seconds:.0f} s {moment.phase}", f"{moment.per_second:.0f} sagas a second",
                  f"{moment.nodes} nodes", f"{moment.kills} killed (kill -9)")
    table.add_row(f"{audit.transactions:,} started", f"{audit.completed:,} completed",
                  f"{audit.compensated:,} compensated", f"{audit.recovered:,} recovered")
    table.add_row(f"{audit.open:,} open", f"{dollars(audit.balance_cents)} in accounts",
                  f"{dollars(audit.in_flight_cents)} in flight", f"{dollars(audit.paid_cents)} paid out")
    # fmt: on
    table.add_row("")
    return table


def _invariants(audit: Audit) -> list[Text]:
    texts = []
    for finding in audit.findings:
        mark = ("  holds  ", "green") if finding.holds else (f" BROKEN {finding.broken}× ", "bold red")
        text = Text.assemble(mark, finding.invariant.says)
        for example in finding.examples:
            text.append(f"\n           {example}", "red")
        texts.append(text)
    return texts
