"""``finality compare``: the commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finality.adapters.system.environment import SystemEnvironment
from finality.cli.compare.comparison import Comparison, steps_of
from finality.cli.compare.comparison import compare as compare_ways
from finality.cli.compare.drill import Survived
from finality.cli.compare.story import Story
from finality.cli.compare.tour.telling import CASES, WAYS, Told, tell
from finality.cli.compare.withdraw.story import WITHDRAW
from finality.cli.group import Group
from finality.cli.options import json_option
from finality.cli.output import is_coloured, say_json
from finality.cli.parameters import Url
from finality.node.brokers import broker_at
from finality.node.extras import needs

if TYPE_CHECKING:
    from rich.console import Console

EMBEDDED = "embedded"
SETTINGS = {"fsync": "on"}
AT_LEAST_ONE = click.IntRange(min=1)
POSTGRES = "Use PostgreSQL: this server, or without a URL one that is started here."


@click.group(cls=Group)
def compare() -> None:
    """Run one story in every pattern, side by side, and measure what they differ in."""


def _told(story: Story) -> Callable[[Callable[..., None]], click.Command]:
    """Return what makes a command of a story; its options are those of every story."""
    names = click.Choice([way.name for way in story.ways])
    options = (
        click.option("--way", "names", multiple=True, type=names, help="Only this way; repeat it."),
        click.option("--count", type=AT_LEAST_ONE, default=50, show_default=True, help="How many are timed."),
        click.option("--postgres", metavar="[URL]", is_flag=False, flag_value=EMBEDDED, help=POSTGRES),
        json_option,
    )

    def command(function: Callable[..., None]) -> click.Command:
        for option in reversed(options):
            function = option(function)
        return compare.command(story.name)(function)

    return command


@_told(WITHDRAW)
def withdraw(**options: Any) -> None:
    """Withdraw $100 from an account and pay it to a card, in every way there is.

    Each runs for real: withdrawals are timed and their calls and commits counted, a payment is refused,
    and a coordinator is killed with kill -9 where it hurts most. It needs no server and leaves nothing
    behind.
    """
    _tell(WITHDRAW, **options)


@compare.command()
@click.option("--way", "names", multiple=True, type=click.Choice([*WAYS]), help="Only this way; repeat it.")
@click.option("--count", type=AT_LEAST_ONE, default=20, show_default=True, help="How many are timed.")
@click.option("--broker", type=Url(), help="For the events, such as nats://host; by default a file.")
@json_option
def tour(names: tuple[str, ...], count: int, broker: str | None, as_json: bool) -> None:
    """Book tours by orchestration, and by choreography between separate processes.

    A hotel, an airline, a car rental and a bank do the same in both. Tours are timed; one finds no seat,
    one is approved late, and once the car rental hangs: what an operator sees then is printed. It needs
    no server and leaves nothing behind.
    """
    wanted = [name for name in WAYS if name in names or not names]
    logging.getLogger("finality").addHandler(logging.NullHandler())  # What is tried again is in the tables.
    if broker is not None:
        _check_broker(broker)

    async def tell_all(folder: Path, step: Callable[[str], None]) -> list[Told]:
        url = broker or f"sqlite:///{folder}/events.db"
        return [await tell(name, folder, url, count, step) for name in wanted]

    with (
        tempfile.TemporaryDirectory(prefix="finality-compare-") as folder,
        _progress(len(wanted) * (count + CASES)) as step,
    ):
        told = asyncio.run(tell_all(Path(folder), step))
    if as_json:
        say_json({"story": "tour", "ways": [asdict(each) for each in told]})
    else:
        from finality.cli.compare.tour.view import show

        show(_console(), told)


def _check_broker(url: str) -> None:
    """See that somebody answers there, before processes are started that would wait for it."""

    async def look() -> None:
        broker = broker_at(url)
        await broker.open(SystemEnvironment())
        await broker.close()

    asyncio.run(look())


def _tell(story: Story, *, names: tuple[str, ...], count: int, postgres: str | None, as_json: bool) -> None:
    """Run a story's ways, or those that are named, and print what came of them."""
    if names:
        story = replace(story, ways=tuple(way for way in story.ways if way.name in names))
    logging.getLogger("finality").addHandler(logging.NullHandler())  # What recovery says is in the tables.
    with (
        tempfile.TemporaryDirectory(prefix="finality-compare-") as folder,
        _server(postgres) as url,
        _progress(steps_of(story, count)) as step,
    ):
        try:
            compared = asyncio.run(compare_ways(story, Path(folder), url, count, step))
        except Survived as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        say_json(compared.as_json())
    else:
        _show(compared)


@contextlib.contextmanager
def _server(postgres: str | None) -> Iterator[str | None]:
    if postgres is not None:
        with needs("--postgres", "finality[postgres]"):
            import_module("asyncpg")
    if postgres != EMBEDDED:
        yield postgres
        return
    from finality.testing import postgres as server_of_our_own

    try:
        server = server_of_our_own(settings=SETTINGS)
    except ModuleNotFoundError as error:
        raise click.ClickException(str(error)) from error
    with server:
        yield server.url


@contextlib.contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], None]]:
    """Show how far it is, on the standard error and only to a person."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    if not sys.stderr.isatty():
        yield lambda what: None
        return
    console = Console(stderr=True, no_color=not is_coloured(sys.stderr))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("opening", total=steps)
        yield lambda what: progress.update(task, advance=1, description=what)


def _show(compared: Comparison) -> None:
    from finality.cli.compare.view import show

    show(_console(), compared)


def _console() -> Console:
    from rich.console import Console

    from finality.cli.compare.view import COLUMNS

    width = None if sys.stdout.isatty() else COLUMNS
    return Console(width=width, no_color=not is_coloured(sys.stdout))
