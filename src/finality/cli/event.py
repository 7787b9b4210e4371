"""`finality event`: events that a consumer has put aside, and events that are to come again."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from finality.cli import output
from finality.cli.group import Group
from finality.cli.options import broker_option, by_option, json_option, look, reason_options, store_option

if TYPE_CHECKING:
    from finality.node import AsyncNode
    from finality.node.inbox import ParkedEvent
    from finality.node.looking import Entry

LIST_LIMIT = 50


@click.group(cls=Group)
def event() -> None:
    """Look after events that could not be reacted to, and bring events again."""


def event_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument that names a parked event, which a shell can complete."""
    return click.argument("event", metavar="NUMBER|ID", shell_complete=_complete)(command)


def _complete(context: click.Context, argument: click.Parameter, incomplete: str) -> list[str]:
    store = context.params.get("store")
    if store is None:
        return []
    events = look(store, lambda node: node.inbox.parked(limit=LIST_LIMIT))
    return [str(each.number) for each in events if str(each.number).startswith(incomplete)]


@event.command("list")
@store_option
@click.option("--consumer", metavar="NAME", help="Those of one consumer.")
@click.option("--topic", metavar="NAME", help="Those of one topic.")
@click.option("--limit", type=click.IntRange(1), default=LIST_LIMIT, show_default=True, help="How many.")
@json_option
def list_(store: str, consumer: str | None, topic: str | None, limit: int, as_json: bool) -> None:
    """List the events that are parked, oldest first.

    WAITS says for what: a person, a retry by itself, or another one of its key before it.
    """
    events = look(store, lambda node: node.inbox.parked(consumer=consumer, topic=topic, limit=limit))
    if as_json:
        output.say_json([_data(each) for each in events])
        return
    rows = [
        (
            str(each.number),
            each.status,
            each.consumer,
            each.envelope.topic,
            each.envelope.key,
            each.envelope.type,
            str(each.attempts),
            output.moment(each.parked_at),
            each.because,
        )
        for each in events
    ]
    output.table(
        ("NUMBER", "WAITS", "CONSUMER", "TOPIC", "KEY", "TYPE", "ATTEMPTS", "PARKED", "BECAUSE"),
        rows,
        status=1,
    )
    if not events:
        output.note("no event is parked")


@event.command()
@event_argument
@store_option
@json_option
def show(event: str, store: str, as_json: bool) -> None:
    """Show a parked event with its data, and what you can do."""
    from finality.cli.timeline import entry_data
    from finality.node import looking

    async def read(node: AsyncNode) -> tuple[ParkedEvent, list[Entry]]:
        found = await node.inbox.find(event)
        return found, await looking.said_of(node, found)

    found, said = look(store, read)
    if as_json:
        output.say_json(_data(found) | {"said": [entry_data(each) for each in said]})
        return
    envelope = found.envelope
    output.say(f"event {envelope.id}, a {envelope.type} on {envelope.topic}, is parked by {found.consumer}")
    rows = [
        ("key", envelope.key),
        ("published", f"{output.moment(envelope.time)} by {envelope.source}"),
        ("part of", envelope.correlation_id or ""),
        ("follows from", envelope.causation_id or ""),
        ("parked", output.moment(found.parked_at)),
        ("attempts", str(found.attempts)),
        ("because", found.because or "another event of its key is parked before it"),
        ("tried again", output.moment(found.retry_at) if found.retry_at is not None else ""),
    ]
    for name, text in rows:
        if text:
            output.say(output.plain(f"  {name:<13}{text}"))
    for each in said:
        words = f"{looking.words_of(each.type)} by {each.by}: {each.fields['because']}"
        output.say(output.plain(f"  {output.moment(each.at)}: {words}"))
    output.say(output.plain(envelope.data.decode(errors="backslashreplace")))
    for what in ("retry", "discard"):
        output.say(f'  finality event {what} {found.number} --because "…"')


@event.command()
@event_argument
@store_option
@reason_options
@json_option
def retry(event: str, store: str, because: str, by: str, as_json: bool) -> None:
    """Try a parked event again at once; what waits behind it follows."""
    _do(
        store,
        lambda node: node.inbox.retry(event, because=because, by=by),
        "is tried again",
        as_json=as_json,
    )


@event.command()
@event_argument
@store_option
@reason_options
@json_option
def discard(event: str, store: str, because: str, by: str, as_json: bool) -> None:
    """Give a parked event up: it never takes effect; what waits behind it goes on."""
    _do(
        store,
        lambda node: node.inbox.discard(event, because=because, by=by),
        "is discarded",
        as_json=as_json,
    )


@event.command()
@click.argument("topic")
@store_option
@broker_option
@click.option("--consumer", metavar="NAME", required=True, help="Who is to get them.")
@click.option("--since", type=click.DateTime(), help="Those that were published then or later.")
@click.option("--because", metavar="WHY", required=True, help="The reason; it is kept in the journal.")
@by_option
@json_option
def replay(
    topic: str,
    store: str,
    broker: str | None,
    consumer: str,
    since: datetime | None,
    because: str,
    by: str,
    as_json: bool,
) -> None:
    """Bring the events of TOPIC to a consumer again; what it knows passes, the rest runs soon."""

    async def ask(node: AsyncNode) -> tuple[int, int]:
        done = await node.inbox.replay(topic, by=consumer, since=since, because=because, asked_by=by)
        return done.again, done.too_old

    again, too_old = look(store, ask, broker=broker)
    if as_json:
        output.say_json({"again": again, "too_old": too_old})
        return
    output.say(f"{again} events of {topic} come to {consumer} again")
    if too_old:
        output.note(f"{too_old} are older than the inbox remembers, and were left alone")


def _do(
    store: str, ask: Callable[[AsyncNode], Coroutine[Any, Any, ParkedEvent]], done: str, *, as_json: bool
) -> None:
    found = look(store, ask)
    if as_json:
        output.say_json(_data(found))
    else:
        output.say(f"event {found.number} {done}")


def _data(found: ParkedEvent) -> dict[str, Any]:
    from finality.core.envelope import attributes_of

    return {
        "number": found.number,
        "waits_for": found.status,
        "consumer": found.consumer,
        "topic": found.envelope.topic,
        **attributes_of(found.envelope),
        "because": found.because,
        "attempts": found.attempts,
        "parked_at": output.instant(found.parked_at),
        "retry_at": output.instant(found.retry_at),
        "data": _told(found.envelope.data),
    }


def _told(data: bytes) -> Any:
    """Return the data of an event for programs: as what it is if it is JSON, else as text."""
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="backslashreplace")
