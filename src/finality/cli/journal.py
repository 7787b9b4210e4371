"""`finality journal`: read what happened, and what is happening."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from finality.cli import output
from finality.cli.group import Group
from finality.cli.options import json_option, look, store_option

if TYPE_CHECKING:
    from finality.node import AsyncNode
    from finality.node.looking import Entry

LINES = 20


@click.group(cls=Group)
def journal() -> None:
    """Read the journal: every event of every transaction, in the order of their commits."""


@journal.command()
@store_option
@click.option(
    "--lines", "-n", type=click.IntRange(0), default=LINES, show_default=True, help="The newest so many."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with each new event, until Ctrl-C.")
@click.option("--after", type=click.IntRange(0), metavar="POSITION", help="All behind this position instead.")
@click.option("--stream", metavar="NAME", help="Only this stream: its name, or a transaction's id.")
@click.option("--type", "type_", metavar="EVENT", help="Only this type of event, such as StepFailed.")
@json_option
def tail(
    store: str,
    lines: int,
    follow: bool,
    after: int | None,
    stream: str | None,
    type_: str | None,
    as_json: bool,
) -> None:
    """Print the newest events, and with --follow each new one.

    With --json each event is one object on a line of its own.
    """
    from finality.core.ids import Cursor
    from finality.node import looking

    async def read(node: AsyncNode) -> None:
        name = await looking.stream_named(node, stream) if stream is not None else None
        wanted = looking.Wanted(name, None if type_ is None else looking.plain_type(type_))
        is_there = False
        if after is None:
            entries, end = await looking.tail(node, count=lines, wanted=wanted)
            for entry in entries:
                is_there = True
                say_entry(entry, as_json=as_json)
        else:
            page, end = await looking.page(node, after=Cursor(str(after)))
            while page:
                for entry in filter(wanted.has, page):
                    is_there = True
                    say_entry(entry, as_json=as_json)
                page, end = await looking.page(node, after=end)
        if type_ is not None and not is_there:
            await _check_type(node, type_, will_wait=follow)
        if follow:
            async for entry in looking.follow(node, after=end, wanted=wanted):
                say_entry(entry, as_json=as_json)
                sys.stdout.flush()

    look(store, read)


async def _check_type(node: AsyncNode, type_: str, *, will_wait: bool) -> None:
    """Tell that a type is unknown: it was probably meant otherwise; but it may come, if one waits for it."""
    from finality import NotFound
    from finality.node import looking

    try:
        await looking.check_type(node, type_)
    except NotFound as error:
        if not will_wait:
            raise
        output.note(f"{error}; it is waited for, until Ctrl-C")


def say_entry(entry: Entry, *, as_json: bool) -> None:
    """Print one event."""
    from finality.cli.timeline import entry_data, why
    from finality.node.looking import words_of

    if as_json:
        output.say_json(entry_data(entry))
        return
    step, attempt = entry.fields.get("step"), entry.fields.get("attempt")
    what = words_of(entry.type)
    if step:
        what += f" {step}"
    if attempt and attempt > 1:
        what += f" (attempt {attempt})"
    said = why(entry)
    where = entry.stream.removeprefix("transaction/")
    line = f"{entry.position}  {output.moment(entry.at, precise=True)}  {where}  {what}"
    output.say(output.plain(line + (f": {said}" if said else "")))
