"""`finality run`: a durable saga for each line of a file, which may be killed and run again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finality.adapters.system.end_signals import heard
from finality.cli import output, status
from finality.cli.importing import class_of
from finality.cli.options import at_option, json_option, store_option
from finality.cli.parameters import Source

if TYPE_CHECKING:
    from finality.cli.run.lines import Lines
    from finality.cli.run.progress import Bar
    from finality.cli.run.tally import Tally
    from finality.node import AsyncNode

IN_FLIGHT = 256  # Enough for every commit to carry a full group, and a few megabytes.
PATIENCE_SECONDS = 60.0
TICK_SECONDS = 0.1


@click.command(
    epilog="""\b
Each line of FILE.jsonl is a JSON object, and each row of FILE.csv is one, whose members are the
saga's fields. Bad lines are listed, and then nothing is started.

\b
The id of a line's saga is SAGA:FILE:LINE, or with --id-field the field's value. So the same file
again means the same sagas, and an appended file only the new lines. A line that has changed since
its saga began is an error.

\b
Exit status: 0 all completed, 3 some compensated, 4 some stuck or parked, 5 some still open,
129 its terminal was closed, 130 interrupted, 143 terminated; run it again to go on where it was.
"""
)
@click.argument("target", metavar="FILE.py:SAGA", type=Source("Saga"))
@click.argument("file", metavar="INPUT", type=click.Path(path_type=Path))
@store_option
@at_option
@click.option("--id-field", metavar="NAME", help="The field whose value is the saga's id.")
@click.option(
    "--in-flight", metavar="N", type=click.IntRange(1, 10_000), default=IN_FLIGHT, show_default=True,
    help="How many sagas are under way at once.",
)  # fmt: skip
@click.option(
    "--patience", metavar="SECONDS", type=click.FloatRange(0), default=PATIENCE_SECONDS, show_default=True,
    help="Leave sagas open that sleep for longer, or wait for a signal.",
)  # fmt: skip
@click.option("--skip-bad", is_flag=True, help="Go on without bad lines.")
@json_option
def run(
    target: str,
    file: Path,
    store: str,
    stores: dict[str, str],
    id_field: str | None,
    in_flight: int,
    patience: float,
    skip_bad: bool,
    as_json: bool,
) -> int:
    """Run a durable saga for each line of a file, and say what became of them.

    It may be interrupted or killed at any time: run it again, and it goes on where it was.
    """
    from finality import Saga
    from finality.cli.run.checking import check_lines, refuse
    from finality.cli.run.lines import Lines
    from finality.cli.run.tally import Tally, say_tally, tally_data
    from finality.node.inputs import Inputs

    with _prints_apart():
        saga = class_of(target, Saga, "saga", "trips.py:BookTrip")
        inputs = Inputs(saga, extra=() if id_field is None else (id_field,))
        _check_id_field(inputs, id_field)
        lines = Lines(file, inputs, id_field)
        checked = check_lines(lines)
        if checked.bad_count and not skip_bad:
            raise refuse(lines, checked, "put them right, or go on without them by --skip-bad")
        tally = Tally(inputs.kind, str(file), store, checked.sagas, skipped=checked.bad_count)
        plan = Plan(saga, lines, tally, checked.lines, store, stores, in_flight, patience)
        asyncio.run(Run(plan).go())
    if as_json:
        output.say_json(tally_data(tally))
    else:
        say_tally(tally)
    return tally.exit_status


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run was asked to do."""

    saga: type[Any]
    lines: Lines
    tally: Tally
    line_count: int
    store: str
    stores: dict[str, str]
    in_flight: int
    patience: float


class Run:
    """Does what the plan says, until it is done or a signal ends it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tally = plan.tally
        self._doing = "checking"
        self._work: asyncio.Task[None] | None = None
        self._bar: Bar | None = None

    async def go(self) -> None:
        """Run, drain and leave the tally complete."""
        from finality.cli.run.progress import LogLines, bar_for

        began = time.monotonic()
        with bar_for(self._tally.lines) as bar, _logged(LogLines(bar)):
            self._bar = bar
            ticker = asyncio.ensure_future(self._tick())
            self._work = asyncio.ensure_future(self._run())
            loop = asyncio.get_running_loop()
            try:
                with heard(lambda number: loop.call_soon_threadsafe(self._stop, number)):
                    await self._work
            except asyncio.CancelledError:
                if not self._tally.stopped_by:
                    raise
            finally:
                ticker.cancel()
                self._tally.finish()
                self._tally.seconds = time.monotonic() - began

    def _stop(self, number: signal.Signals) -> None:
        """End early: let what is under way finish; at once when asked a second time."""
        if self._tally.stopped_by:
            os._exit(status.OF_SIGNAL[number])
        self._tally.stopped_by = number.name
        self._doing = "stopping"
        assert self._bar is not None, "signals are heard once the bar is there"
        assert self._work is not None, "signals are heard once there is work"
        self._bar.say("stopping: what is under way is finished first; Ctrl-C again quits at once")
        self._work.cancel()

    def _set_doing(self, doing: str) -> None:
        self._doing = doing

    async def _tick(self) -> None:
        assert self._bar is not None, "the bar is there before it moves"
        while True:
            self._bar.show(self._tally, self._doing)
            await asyncio.sleep(TICK_SECONDS)

    async def _run(self) -> None:
        from finality.node import open_async

        plan = self._plan
        # A saga that an earlier run left has a place of its own beside the window.
        async with open_async(
            plan.store, sagas=[plan.saga], stores=plan.stores, in_flight_max=2 * plan.in_flight
        ) as node:
            await self._drive(node)
            self._doing = "closing"

    async def _drive(self, node: AsyncNode) -> None:
        from finality.cli.run.checking import check_store, refuse
        from finality.cli.run.driving import Driving

        plan = self._plan
        checked = await check_store(node, plan.lines, plan.line_count)
        if checked.bad_count:
            raise refuse(
                plan.lines,
                checked,
                "put each line back as it was when its saga began; for a new saga append a line",
            )
        driving = Driving(
            node,
            plan.lines,
            plan.tally,
            in_flight=plan.in_flight,
            patience=plan.patience,
            doing=self._set_doing,
        )
        await driving.run(checked.known)


def _check_id_field(inputs: Any, id_field: str | None) -> None:
    field = inputs.fields.get(id_field)
    if field is not None and not field.is_shown:
        raise click.BadParameter(
            f"{id_field!r} is a secret, and ids are shown: name another field", param_hint="--id-field"
        )


@contextlib.contextmanager
def _prints_apart() -> Iterator[None]:
    """Send what the user's code prints to the standard error: the standard output is for the summary."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _logged(lines: logging.Handler) -> Iterator[None]:
    root = logging.getLogger("finality")
    root.addHandler(lines)
    try:
        yield
    finally:
        root.removeHandler(lines)
