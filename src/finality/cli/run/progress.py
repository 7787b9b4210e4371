"""The bar of a run: on the standard error, and only when it is a terminal."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Protocol

from finality.cli import output

if TYPE_CHECKING:
    from finality.cli.run.tally import Tally

UPDATE_SECONDS = 0.1


class Bar(Protocol):
    """Shows how far a run is."""

    def __enter__(self) -> Bar:
        """Begin to show it."""
        ...

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        ...

    def show(self, tally: Tally, doing: str = "") -> None:
        """Show how far it is now."""
        ...

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        ...


class NoBar:
    """Stands for the bar where nobody looks."""

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, tally: Tally, doing: str = "") -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Print the line."""
        output.note(text)


class TerminalBar:
    """A bar with counts, rate and the time that is left."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(file=sys.stderr, highlight=False, no_color=not output.is_coloured(sys.stderr))
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self._console,
            refresh_per_second=10,
            transient=True,
        )
        self._task = self._progress.add_task("checking", total=total, counts="")

    def __enter__(self) -> TerminalBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, tally: Tally, doing: str = "") -> None:
        """Show how far it is now."""
        task = self._progress.tasks[0]
        rate = f"{task.speed:,.0f}/s" if task.speed else ""
        counts = [rate] if rate else []
        for name, colour in (("compensated", "yellow"), ("stuck", "red"), ("parked", "red")):
            if count := getattr(tally, name):
                counts.append(f"[{colour}]{count:,} {name}[/]")
        self._progress.update(
            self._task, completed=tally.seen, description=doing or "running", counts=" ".join(counts)
        )

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(output.plain(text), markup=False, soft_wrap=True)


class LogLines(logging.Handler):
    """Prints what the node logs above the bar."""

    def __init__(self, bar: Bar) -> None:
        super().__init__(logging.WARNING)
        self._bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, without its traceback."""
        self._bar.say(f"{record.levelname.lower()}: {record.getMessage()}")


def bar_for(total: int) -> Any:
    """Return the bar for this process's standard error."""
    return TerminalBar(total) if sys.stderr.isatty() else NoBar()
