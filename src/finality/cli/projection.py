"""`finality projection`: how far the tables are that follow what has happened, and building them anew."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from finality.cli import output
from finality.cli.group import Group
from finality.cli.options import at_option, json_option, look, reason_options, store_option

if TYPE_CHECKING:
    from finality.node import AsyncNode
    from finality.node.projecting import ProjectionState

LOOK_SECONDS = 0.2
BAR_CHARACTERS = 30
HEADER = (
    "PROJECTION", "STORE", "STATUS", "GENERATION", "POSITION", "EVENTS BEHIND", "TIME BEHIND", "NODE", ""
)  # fmt: skip


@click.group(cls=Group)
def projection() -> None:
    """See how far projections are; pause one; build one anew while the old tables serve."""


@projection.command("list")
@store_option
@at_option
@json_option
def list_(store: str, stores: dict[str, str], as_json: bool) -> None:
    """List the projections of a store, with their lag, and why one does not go on."""
    from finality.node.looking import projections_elsewhere

    async def read(node: AsyncNode) -> tuple[list[ProjectionState], list[str]]:
        states = await node.projections()
        return states, await projections_elsewhere(node, {each.name for each in states})

    states, elsewhere = look(store, read, stores=stores)
    if as_json:
        output.say_json([asdict(each) for each in states])
        return
    rows = [
        (
            each.name,
            each.store or "home",
            _status(each),
            str(each.generation),
            str(each.position),
            f"{each.events_behind:,}",
            output.span(each.seconds_behind),
            each.node or "nobody",
            _said(each),
        )
        for each in states
    ]
    output.table(HEADER, rows, status=2)
    for name in elsewhere:
        output.note(f"a node keeps {name} up in another store: name it by --at NAME=URL")
    if not states and not elsewhere:
        output.note("no projection has begun in this store")


@projection.command()
@click.argument("name")
@store_option
@at_option
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Show how far it is, until it serves."
)
@json_option
def rebuild(name: str, store: str, stores: dict[str, str], wait: bool, as_json: bool) -> None:
    """Build the tables of projection NAME anew, beside those that serve.

    A running node that has the projection does it, and switches when they are level; Ctrl-C only stops
    the showing. Reactions are not run.
    """

    async def ask(node: AsyncNode) -> int:
        generation = await node.rebuild(name)
        if wait:
            await _watch(node, name, generation, is_shown=not as_json)
        return generation

    generation = look(store, ask, stores=stores)
    if as_json:
        output.say_json({"projection": name, "generation": generation, "serves": wait})
    else:
        output.say(f"generation {generation} of {name} {'serves' if wait else 'is built'}")


@projection.command()
@click.argument("name")
@store_option
@at_option
@reason_options
@json_option
def pause(name: str, store: str, stores: dict[str, str], because: str, by: str, as_json: bool) -> None:
    """Have projection NAME stop where it is, until it is resumed; its tables stay as they are.

    No event is lost meanwhile, since the journal keeps them all; the projection falls behind.
    """
    is_new = look(store, lambda node: node.pause(name, because=because, by=by), stores=stores)
    _tell(name, "paused", is_new=is_new, as_json=as_json)


@projection.command()
@click.argument("name")
@store_option
@at_option
@reason_options
@json_option
def resume(name: str, store: str, stores: dict[str, str], because: str, by: str, as_json: bool) -> None:
    """Have projection NAME go on where it was paused."""
    is_new = look(store, lambda node: node.resume(name, because=because, by=by), stores=stores)
    _tell(name, "resumed" if is_new else "not paused", is_new=is_new, as_json=as_json)


def _tell(name: str, what: str, *, is_new: bool, as_json: bool) -> None:
    if as_json:
        output.say_json({"projection": name, "status": what, "changed": is_new})
    else:
        output.say(f"projection {name} is {what}{'' if is_new else ', as it was'}")


async def _watch(node: AsyncNode, name: str, generation: int, *, is_shown: bool) -> None:
    """Show how far a rebuild is, on a line of its own, until its generation serves."""
    is_terminal = is_shown and sys.stderr.isatty()
    obstacle = _obstacle(await _state(node, name))
    if obstacle is not None:
        output.note(f"{obstacle}; Ctrl-C ends only the waiting")
    while True:
        state = await _state(node, name)
        if is_terminal:
            click.echo(f"\r{bar(state)}\x1b[K", err=True, nl=False)
        if state.generation >= generation:
            break
        await asyncio.sleep(LOOK_SECONDS)
    if is_terminal:
        click.echo(err=True)


async def _state(node: AsyncNode, name: str) -> ProjectionState:
    [state] = [each for each in await node.projections() if each.name == name]
    return state


def _obstacle(state: ProjectionState) -> str | None:
    """Return why nobody builds a projection at the moment."""
    if state.pause is not None:
        return f"{state.name} is paused: it is built after `finality projection resume {state.name}`"
    if state.node is None:
        return f"no node keeps {state.name} up: it is built when one with projections=[…] opens"
    return None


def bar(state: ProjectionState) -> str:
    """Return a rebuild's progress as a bar, with its rate and the time left."""
    built: Any = state.rebuild
    if built is None:
        return f"[{'#' * BAR_CHARACTERS}] generation {state.generation} serves"
    done = int(built.part * BAR_CHARACTERS)
    left = "" if built.seconds_left is None else f", {output.span(built.seconds_left)} left"
    because = f"; stuck at {built.because}" if built.because else ""
    return (
        f"[{'#' * done}{'.' * (BAR_CHARACTERS - done)}] {built.part:.0%} of generation {built.generation}, "
        f"{built.events_per_second:,.0f} events/s{left}{because}"
    )


def _said(state: ProjectionState) -> str:
    if state.pause is not None:
        return f"by {state.pause.by} at {output.moment(state.pause.at)}: {state.pause.because}"
    return state.because or (bar(state) if state.rebuild else "")


def _status(state: ProjectionState) -> str:
    if state.pause is not None:
        return "paused"
    if state.because:
        return "stuck"
    if state.rebuild is not None:
        return "rebuilding"
    return "behind" if state.events_behind else "level"
