"""``finality demo``: the command."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from finality.adapters.system.end_signals import heard
from finality.cli.demo.run import NotReady, Plan, Report, Run
from finality.cli.demo.view import PipedConsole, View

SEEDS = 1_000_000


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.5),
    default=20.0,
    show_default=True,
    help="How long orders come in.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="End with one JSON object; the rest goes to standard error."
)
@click.option(
    "--nodes", type=click.IntRange(1, 16), default=3, show_default=True, help="Processes that share the work."
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the databases go; kept. It must be empty.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Of the orders and of the provider's moods; by default another each time.",
)
@click.option("--keep", is_flag=True, help="Keep the databases and say how to look at them.")
def demo(
    seconds: float, as_json: bool, nodes: int, directory: Path | None, seed: int | None, keep: bool
) -> None:
    """Run a bank whose nodes are killed while it works, and audit its books.

    Withdrawals and transfers run as durable sagas over four databases and a payment provider that
    fails, refuses and answers late. A node is killed with kill -9 every few seconds; the others
    finish what it had begun. The exit status is 0 only if every invariant holds and nothing was lost
    or done twice. Ctrl-C ends it early; everything that was started is finished all the same.
    """
    if directory is not None:
        keep = True
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise click.ClickException(
                f"{directory} is not empty: the demo founds a new bank; give an empty one"
            )
    place = (directory or Path(tempfile.mkdtemp(prefix="finality-demo-"))).resolve()
    plan = Plan(place, seconds, nodes, secrets.randbelow(SEEDS) if seed is None else seed)
    view = View(PipedConsole(stderr=as_json))
    view.say(f"a bank in {place}: {nodes} nodes, {seconds:g} seconds, seed {plan.seed}; Ctrl-C ends it early")
    try:
        report = asyncio.run(_run(plan, view))
    except NotReady as error:
        raise click.ClickException(str(error)) from error
    is_good = report.moment.audit.holds and not report.left
    _tell(view, report)
    if keep or not is_good:
        _say_where(view, place)
    else:
        shutil.rmtree(place, ignore_errors=True)
    if as_json:
        click.echo(json.dumps(summary(report)))
    sys.exit(0 if is_good else 1)


async def _run(plan: Plan, view: View) -> Report:
    run = Run(plan, view)
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(run.run())
    interrupts = 0

    def interrupt() -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts == 1:
            view.say("no new orders; what was started is finished. Ctrl-C again gives up")
            run.stop()
        else:
            task.cancel()

    try:
        with heard(lambda number: loop.call_soon_threadsafe(interrupt)):
            return await task
    except asyncio.CancelledError:
        raise NotReady(f"given up before the end; the files are in {plan.directory}") from None


def _tell(view: View, report: Report) -> None:
    moment = report.moment
    view.summarize(moment)
    for name in report.crashed:
        view.say(f"{name} ended although nobody killed it: see {name}.log")
    for explanation in report.left:
        view.say(f"left open:\n{explanation}")
    verdict = "every invariant holds" if moment.audit.holds else "THE BOOKS ARE WRONG"
    view.say(
        f"{moment.ended} sagas, {moment.kills} nodes killed, {moment.audit.recovered} sagas recovered, "
        f"{lost(report)} lost, {doubled(report)} doubled: {verdict}"
    )


def _say_where(view: View, directory: Path) -> None:
    view.say(f"the databases are in {directory}; look at them with")
    url = f"sqlite:///{directory / 'finality.db'}"
    view.say(f"  finality transaction list --store {url}")
    view.say(f"  finality transaction explain withdrawal-1 --store {url}")


def lost(report: Report) -> int:
    """Return how many sagas were started and have not ended."""
    return report.moment.audit.finding("nothing_lost").broken


def doubled(report: Report) -> int:
    """Return how many effects happened more than once."""
    return report.moment.audit.finding("nothing_doubled").broken


def summary(report: Report) -> dict[str, Any]:
    """Return the run as the object that ``--json`` prints."""
    moment = report.moment
    audit = moment.audit
    return {
        "transactions": audit.transactions,
        "completed": audit.completed,
        "compensated": audit.compensated,
        "recovered": audit.recovered,
        "lost": lost(report),
        "doubled": doubled(report),
        "invariants": {finding.invariant.name: finding.holds for finding in audit.findings},
        "kills": moment.kills,
        "per_second": round(moment.per_second, 1),
    }
