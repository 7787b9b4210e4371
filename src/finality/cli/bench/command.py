"""`finality bench`: rates and latencies, beside a bound measured in the same run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from finality.cli.parameters import Url
from finality.node.extras import needs

CONCURRENCIES = (1, 64, 256, 1000)
AT_LEAST_ONE = click.IntRange(1)
SECONDS = click.FloatRange(0, min_open=True)
SERVER = "finality[postgres,testing]"


class Bench(click.Command):
    """A bench, and what has to be installed for it beyond the base installation."""

    def __init__(self, *arguments: Any, install: str = "", **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._install = install or SERVER
        if install:
            self.epilog = f"It starts a server of its own: pip install {install}"

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; say in one line what is missing."""
        with needs(f"`{ctx.command_path}`", self._install):
            return super().invoke(ctx)


class Benches(click.Group):
    """The group of them."""

    command_class = Bench


@click.group(cls=Benches)
def bench() -> None:
    """Measure on this machine; every run checks afterwards that nothing was lost or doubled."""


@bench.command()
@click.option(
    "--store",
    type=Url(),
    help="sqlite:///FILE or postgresql://…; by default a file in a temporary directory.",
)
@click.option("--postgres", "is_postgres", is_flag=True, help="Start a PostgreSQL server for it, fsync on.")
@click.option("--seconds", type=SECONDS, default=10.0, show_default=True, help="For each figure.")
@click.option(
    "--rounds", type=AT_LEAST_ONE, default=3, show_default=True, help="Product and bound in turn, so often."
)
@click.option(
    "--concurrency", "concurrencies", type=AT_LEAST_ONE, multiple=True, help="Sagas in flight; repeatable."
)
@click.option(
    "--nodes",
    "counts",
    type=AT_LEAST_ONE,
    multiple=True,
    help="Processes on the store; repeatable. By default 1, and as many as there are cores.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one object.")
def saga(
    store: str | None,
    is_postgres: bool,
    seconds: float,
    rounds: int,
    concurrencies: tuple[int, ...],
    counts: tuple[int, ...],
    is_json: bool,
) -> None:
    """A three-step saga, done and compensated, against a bare group-commit writer."""
    from finality.cli.bench.saga import place_at, run

    if store and is_postgres:
        raise click.UsageError("--postgres starts a server, and --store names one: give one of them")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="finality-bench-"))
        if is_postgres:
            from finality.testing import postgres

            settings = {"fsync": "on", "shared_buffers": "256MB"}
            store = stack.enter_context(postgres(settings=settings)).database("bench")
        each, wanted = seconds / rounds, concurrencies or CONCURRENCIES
        nodes = counts or (1, os.cpu_count() or 1)
        work = run(place_at(store, Path(directory)), each, rounds, wanted, nodes, _say(is_json))
        _print(asyncio.run(work), is_json)


@bench.command()
@click.option(
    "--sagas", type=AT_LEAST_ONE, default=100_000, show_default=True, help="Open when the node is killed."
)
@click.option("--json", "is_json", is_flag=True, help="Print one object.")
def recovery(sagas: int, is_json: bool) -> None:
    """Start so many sagas, kill -9 the node, and time the next one until all have ended."""
    from finality.cli.bench.recovery import run

    with tempfile.TemporaryDirectory(prefix="finality-bench-") as directory:
        _print(asyncio.run(run(Path(directory) / "bench.db", sagas, _say(is_json))), is_json)


@bench.command()
@click.option(
    "--finished", type=AT_LEAST_ONE, default=1_000_000, show_default=True, help="Sagas in the store already."
)
@click.option("--seconds", type=SECONDS, default=10.0, show_default=True, help="For each figure.")
@click.option("--json", "is_json", is_flag=True, help="Print one object.")
def history(finished: int, seconds: float, is_json: bool) -> None:
    """The rate and the time to open, in an empty store and in one with a long history."""
    from finality.cli.bench.history import run

    with tempfile.TemporaryDirectory(prefix="finality-bench-") as directory:
        _print(asyncio.run(run(Path(directory), finished, seconds, _say(is_json))), is_json)


@bench.command()
@click.option("--broker", type=Url(), help="nats://…, kafka://…; by default a SQLite file.")
@click.option("--store", type=Url(), help="Where the outbox is; by default a file in a temporary directory.")
@click.option("--events", type=AT_LEAST_ONE, default=50_000, show_default=True, help="In each round.")
@click.option(
    "--rounds",
    type=AT_LEAST_ONE,
    default=3,
    show_default=True,
    help="Relay and bare client in turn, so often.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one object.")
def relay(broker: str | None, store: str | None, events: int, rounds: int, is_json: bool) -> None:
    """Outbox to consumer, against the broker's own client publishing the same payloads."""
    from finality.cli.bench.relay import run

    with tempfile.TemporaryDirectory(prefix="finality-bench-") as directory:
        store = store or f"sqlite:///{directory}/bench.db"
        broker = broker or f"sqlite:///{directory}/events.db"
        work = run(Path(directory), store, broker, events, rounds, _say(is_json))
        _print(asyncio.run(work), is_json)


@bench.command("two-phase", install=SERVER)
@click.option("--seconds", type=SECONDS, default=10.0, show_default=True, help="For each figure.")
@click.option(
    "--rounds", type=AT_LEAST_ONE, default=3, show_default=True, help="Product and by hand in turn, so often."
)
@click.option(
    "--concurrency", "concurrencies", type=AT_LEAST_ONE, multiple=True, help="In flight; repeatable."
)
@click.option("--json", "is_json", is_flag=True, help="Print one object.")
def two_phase(seconds: float, rounds: int, concurrencies: tuple[int, ...], is_json: bool) -> None:
    """Two-branch PostgreSQL transactions, against PREPARE and COMMIT written by hand."""
    from finality.cli.bench.two_phase import run

    with tempfile.TemporaryDirectory(prefix="finality-bench-") as directory:
        each = seconds / rounds
        work = run(Path(directory), each, rounds, concurrencies or (1, 32), _say(is_json))
        _print(asyncio.run(work), is_json)


@bench.command(install=f'{SERVER} "eventsourcing[postgres]"')
@click.option("--seconds", type=SECONDS, default=10.0, show_default=True, help="For each figure.")
@click.option(
    "--rounds",
    type=AT_LEAST_ONE,
    default=3,
    show_default=True,
    help="Finality and its peer in turn, so often.",
)
@click.option("--concurrency", "concurrencies", type=AT_LEAST_ONE, multiple=True, help="Clients; repeatable.")
@click.option("--json", "is_json", is_flag=True, help="Print one object.")
def append(seconds: float, rounds: int, concurrencies: tuple[int, ...], is_json: bool) -> None:
    """Events appended to aggregates, 1 and 100 at a time, beside the eventsourcing library."""
    from finality.cli.bench.append import run

    with tempfile.TemporaryDirectory(prefix="finality-bench-") as directory:
        each = seconds / rounds
        _print(
            asyncio.run(run(Path(directory), each, rounds, concurrencies or (1, 64), _say(is_json))), is_json
        )


@bench.command(install=SERVER)
@click.option("--events", type=AT_LEAST_ONE, default=200_000, show_default=True, help="In the journal.")
@click.option(
    "--rounds", type=AT_LEAST_ONE, default=3, show_default=True, help="Each figure in turn, so often."
)
@click.option("--json", "is_json", is_flag=True, help="Print one object.")
def projection(events: int, rounds: int, is_json: bool) -> None:
    """Projections that catch up, in memory and into SQL, against the same rows read and inserted bare."""
    from finality.cli.bench.projection import run

    with tempfile.TemporaryDirectory(prefix="finality-bench-") as directory:
        _print(asyncio.run(run(Path(directory), events, rounds, _say(is_json))), is_json)


@bench.command("in-doubt", install=SERVER)
@click.option(
    "--branches", type=AT_LEAST_ONE, default=10_000, show_default=True, help="Prepared, and left behind."
)
@click.option("--json", "is_json", is_flag=True, help="Print one object.")
def in_doubt(branches: int, is_json: bool) -> None:
    """Branches that a node has left in doubt, until another has finished them all."""
    from finality.cli.bench.in_doubt import run

    with tempfile.TemporaryDirectory(prefix="finality-bench-") as directory:
        _print(asyncio.run(run(Path(directory), branches, _say(is_json))), is_json)


@bench.command(install="finality[postgres,testing,sqlalchemy,psycopg]")
@click.option("--seconds", type=SECONDS, default=10.0, show_default=True, help="For each figure.")
@click.option(
    "--rounds", type=AT_LEAST_ONE, default=3, show_default=True, help="Finality and a peer in turn, so often."
)
@click.option(
    "--concurrency", "concurrencies", type=AT_LEAST_ONE, multiple=True, help="In flight; repeatable."
)
@click.option(
    "--peer-python",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Python that has DBOS; by default one is made with uv or pip, and thrown away.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one object.")
def peers(
    seconds: float, rounds: int, concurrencies: tuple[int, ...], peer_python: Path | None, is_json: bool
) -> None:
    """Two-phase commit beside SQLAlchemy's, and a three-step saga beside DBOS.

    DBOS is installed into an environment of its own, from the package index.
    """
    from finality.cli.bench.peers.run import run

    with tempfile.TemporaryDirectory(prefix="finality-bench-") as directory:
        each, wanted = seconds / rounds, concurrencies or (1, 8, 32)
        work = run(Path(directory), each, rounds, wanted, peer_python, _say(is_json))
        _print(asyncio.run(work), is_json)


def _say(is_json: bool) -> Any:
    def say(line: str) -> None:
        click.echo(line, err=True)

    return (lambda line: None) if is_json and not sys.stderr.isatty() else say


def _print(result: dict[str, Any], is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(result))
        return
    from finality.cli.bench.table import lines

    for line in lines(result):
        click.echo(line)
