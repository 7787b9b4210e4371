"""`finality aggregate`: the state that events make of an aggregate, now or at a time, and those events."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from finality.cli import output
from finality.cli.group import Group
from finality.cli.options import json_option, look, store_option
from finality.cli.parameters import Source

if TYPE_CHECKING:
    from finality.node.aggregate_views import AggregateView

LIST_LIMIT = 50


def _moment(context: click.Context, option: click.Parameter, given: str | None) -> int | datetime | None:
    if given is None or given.isdecimal():
        return given if given is None else int(given)
    try:
        return datetime.fromisoformat(given)
    except ValueError:
        raise click.BadParameter(
            f"{given!r} is neither a version nor a time: write 12, or 2026-03-01T09:30", context, option
        ) from None


target = click.argument("target", metavar="FILE.py:CLASS", type=Source("Aggregate"))
id_argument = click.argument("id")
at_option = click.option(
    "--at", metavar="VERSION|TIME", callback=_moment, help="As it was at that version, or at that time."
)


def _kind(target: str) -> type[Any]:
    from finality import Aggregate
    from finality.cli.importing import class_of

    return class_of(target, Aggregate, "aggregate", "bank.py:Account")


@click.group(cls=Group)
def aggregate() -> None:
    """See the state of aggregates, now or at a time, and what happened to them.

    CLASS is the aggregate's, in a file of your program: the journal holds the events, and the class says
    what they make. What is secret or personal is masked.
    """


@aggregate.command("list")
@target
@store_option
@click.option("--after", metavar="ID", default="", help="Those behind this id.")
@click.option("--archived", is_flag=True, help="Also those that are closed.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=LIST_LIMIT, show_default=True)
@json_option
def list_(target: str, store: str, after: str, archived: bool, limit: int, as_json: bool) -> None:
    """List aggregates in the order of their ids, with their states."""
    from finality.node import aggregate_views

    kind = _kind(target)
    found = look(
        store,
        lambda node: aggregate_views.views(node, kind, after=after, with_archived=archived, limit=limit),
    )
    if as_json:
        output.say_json([asdict(each) for each in found])
        return
    rows = [(each.id, str(each.version), _status(each), _text(each.state)) for each in found]
    output.table(("ID", "VERSION", "STATUS", "STATE"), rows, status=2)
    if not found:
        output.note(f"no {kind.__name__} has begun in this store" if not after else f"none is behind {after}")


@aggregate.command()
@target
@id_argument
@store_option
@at_option
@json_option
def show(target: str, id: str, store: str, at: int | datetime | None, as_json: bool) -> None:
    """Show the state of aggregate ID."""
    from finality.node import aggregate_views

    kind = _kind(target)
    found = look(store, lambda node: aggregate_views.view(node, kind, id, at=at))
    if as_json:
        output.say_json(asdict(found))
        return
    output.say(f"{found.aggregate} {found.id}")
    rows = (
        ("status", _status(found)),
        ("version", str(found.version)),
        ("snapshot", "none" if found.snapshot is None else f"at version {found.snapshot}"),
        *((name, _text(value)) for name, value in found.state.items()),
    )
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        output.say(output.plain(f"  {name:<{width}}  {text}"))


@aggregate.command()
@target
@id_argument
@store_option
@at_option
@json_option
def history(target: str, id: str, store: str, at: int | datetime | None, as_json: bool) -> None:
    """Print what happened to aggregate ID, oldest first, as the journal has it.

    With --json each event is one object on a line of its own.
    """
    from finality.cli.timeline import entry_data
    from finality.node import aggregate_views

    kind = _kind(target)
    for entry in look(store, lambda node: aggregate_views.history(node, kind, id, at=at)):
        if as_json:
            output.say_json(entry_data(entry))
        else:
            when = output.moment(entry.at, precise=True)
            output.say(output.plain(f"{entry.version}  {when}  {entry.type}  {_text(entry.fields)}"))


def _status(found: AggregateView) -> str:
    return "archived" if found.is_archived else "open"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
