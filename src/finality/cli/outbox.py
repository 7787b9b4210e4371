"""`finality outbox`: what a store publishes, how far it is relayed, and what the broker would not take."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from finality.cli import output
from finality.cli.group import Group
from finality.cli.options import json_option, look, reason_options, store_option

if TYPE_CHECKING:
    from finality.node import AsyncNode
    from finality.ports.events import OutboxEvent, Parked

LIST_LIMIT = 50
BEHIND = "waits behind one of its key"


@click.group(cls=Group)
def outbox() -> None:
    """Look at what a store publishes; send it again, and help what the broker has rejected."""


@outbox.command("list")
@store_option
@click.option("--topic", metavar="TOPIC", help="Only events to this topic.")
@click.option("--before", type=click.IntRange(1), metavar="POSITION", help="Only those before this one.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=LIST_LIMIT, show_default=True, help="How many."
)
@json_option
def list_(store: str, topic: str | None, before: int | None, limit: int, as_json: bool) -> None:
    """List what is in the outbox, newest first: it is kept for a while after it was relayed."""

    async def read(node: AsyncNode) -> list[OutboxEvent]:
        return await (await node.outbox()).events(topic=topic, before=before, limit=limit)

    events = look(store, read)
    if as_json:
        output.say_json([event_data(event) for event in events])
        return
    rows = [
        (str(each.position), output.moment(each.at), each.topic, each.key, each.type, each.id)
        for each in events
    ]
    output.table(("POSITION", "PUBLISHED", "TOPIC", "KEY", "TYPE", "ID"), rows)
    if not rows:
        output.note("the outbox is empty: nothing was published, or it was relayed and has been pruned")


@outbox.command()
@store_option
@click.argument("event")
@json_option
def show(store: str, event: str, as_json: bool) -> None:
    """Show an event, by its id or its position, with its data."""

    async def read(node: AsyncNode) -> OutboxEvent:
        return await (await node.outbox()).event(event)

    found = event_data(look(store, read), has_data=True)
    if as_json:
        output.say_json(found)
        return
    for name, value in found.items():
        output.say(f"{name:<10}  {output.plain(str(value))}")


@outbox.command()
@store_option
@json_option
def shares(store: str, as_json: bool) -> None:
    """Show how far each share is relayed, by which node, and what waits."""

    async def read(node: AsyncNode) -> list[Any]:
        return await (await node.outbox()).shares()

    found = look(store, read)
    if as_json:
        output.say_json(
            [
                {
                    "share": each.number,
                    "node": each.node,
                    "waiting": each.waiting,
                    "oldest_at": output.instant(each.oldest_at),
                }
                for each in found
            ]
        )
        return
    rows = [
        (
            str(each.number),
            f"{each.waiting:,}",
            "" if each.oldest_at is None else output.moment(each.oldest_at),
            each.node or "nobody",
        )
        for each in found
    ]
    output.table(("SHARE", "WAITING", "OLDEST", "NODE"), rows)


@outbox.command()
@store_option
@click.option("--topic", metavar="TOPIC", help="Only events to this topic.")
@json_option
def parked(store: str, topic: str | None, as_json: bool) -> None:
    """List what the broker has rejected, and what waits behind it, in order."""

    async def read(node: AsyncNode) -> list[Parked]:
        return await (await node.outbox()).parked(topic=topic)

    found = look(store, read)
    if as_json:
        output.say_json([parked_data(each) for each in found])
        return
    rows = [
        (
            str(each.place),
            output.moment(each.parked_at),
            each.topic,
            each.key,
            each.because or BEHIND,
        )
        for each in found
    ]
    output.table(("PLACE", "PARKED", "TOPIC", "KEY", "BECAUSE"), rows)
    if not rows:
        output.note("nothing is parked")


@outbox.command()
@store_option
@click.option("--since", required=True, metavar="WHEN", help="A time, as 2026-11-21T18:00, or a position.")
@click.option("--topic", "topics", metavar="TOPIC", multiple=True, help="Only events to this one; repeat it.")
@reason_options
@json_option
def resend(store: str, since: str, topics: tuple[str, ...], because: str, by: str, as_json: bool) -> None:
    """Relay again what was published since then: a broker may lose what it has acknowledged.

    Consumers know what they have seen already. A node with the broker has to run.
    """
    begin = moment_of(since)

    async def act(node: AsyncNode) -> int:
        return await (await node.outbox()).resend(begin, topics=topics, because=because, by=by)

    count = look(store, act)
    if as_json:
        output.say_json({"events": count})
    else:
        output.say(f"{count:,} events are relayed again")


@outbox.command()
@store_option
@click.argument("place", type=click.IntRange(1))
@reason_options
@json_option
def retry(store: str, place: int, because: str, by: str, as_json: bool) -> None:
    """Let a parked event be published again, and what waits behind it."""

    async def act(node: AsyncNode) -> bool:
        return await (await node.outbox()).retry(place, because=because, by=by)

    say_done(look(store, act), f"event {place} is published again", place, as_json=as_json)


@outbox.command()
@store_option
@click.argument("place", type=click.IntRange(1))
@reason_options
@json_option
def discard(store: str, place: int, because: str, by: str, as_json: bool) -> None:
    """Give a parked event up: nobody will ever receive it. What waits behind it goes on."""

    async def act(node: AsyncNode) -> bool:
        return await (await node.outbox()).discard(place, because=because, by=by)

    say_done(look(store, act), f"event {place} is given up", place, as_json=as_json)


@outbox.command()
@store_option
@click.argument("table")
@click.option("--undo", "is_undone", is_flag=True, help="Adopt it no longer.")
def adopt(store: str, table: str, is_undone: bool) -> None:
    """Relay what your application inserts into an outbox of its own, in Debezium's layout.

    A trigger copies each row in the commit that inserts it, also if it is deleted at once.
    """
    import asyncio

    from finality.node.opening import adopt_outbox

    asyncio.run(adopt_outbox(store, table, is_undone=is_undone))
    output.say(f"{table} is {'relayed no longer' if is_undone else 'relayed from now on'}")


def say_done(is_done: bool, done: str, place: int, *, as_json: bool) -> None:
    """Print what was done, if there was such an event to act on."""
    if not is_done:
        raise click.ClickException(f"no event is parked at {place}; see `finality outbox parked`")
    if as_json:
        output.say_json({"place": place})
    else:
        output.say(done)


def moment_of(since: str) -> datetime | int:
    """Return the time or the position that *since* means."""
    if since.isdecimal():
        return int(since)
    try:
        return datetime.fromisoformat(since).astimezone()
    except ValueError:
        raise click.UsageError(
            f"{since!r} is no time and no position: write 2026-11-21T18:00 or 1234"
        ) from None


def event_data(event: OutboxEvent, *, has_data: bool = False) -> dict[str, Any]:
    """Return an event for programs."""
    told = {
        "position": event.position,
        "id": event.id,
        "topic": event.topic,
        "key": event.key,
        "type": event.type,
        "at": output.instant(event.at),
        "headers": event.headers,
    }
    return told | {"data": _text(event.data)} if has_data else told


def parked_data(parked: Parked) -> dict[str, Any]:
    """Return a parked event for programs."""
    return {
        "place": parked.place,
        "id": parked.id,
        "topic": parked.topic,
        "key": parked.key,
        "because": parked.because or None,
        "attempts": parked.attempts,
        "parked_at": output.instant(parked.parked_at),
    }


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
