"""What the faces show of a node's store: the same for the command line, HTTP and the console.

Values are plain data, ready for JSON. What is sealed in the journal is masked here, so that no
face can show it by mistake.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from finality.core.errors import LimitExceeded, NotFound
from finality.core.ids import TRANSACTION_PREFIX, Cursor, StreamName, TransactionId, transaction_stream
from finality.core.inbox import inbox_stream
from finality.core.protocol import Recorded
from finality.core.saga.events import Started
from finality.core.secret import MASK
from finality.core.sourcing import Fact, split_type
from finality.node.async_node import AsyncNode
from finality.node.inbox import ParkedEvent
from finality.patterns.saga import Saga, definition_of
from finality.ports.codec import Codec, DecodeError
from finality.ports.home import HEADS_MAX, Head
from finality.ports.journal import EVENT_BYTES_MAX
from finality.runtime.context import Context
from finality.runtime.inbox import name_of
from finality.runtime.projection import SERVES
from finality.runtime.shares import ADVERTISED

TAIL_EVENTS_MAX = 200_000  # How far back the tail looks for events that were asked for: about a second.
JSON_FIELDS = frozenset({"input", "result", "value"})  # Of events: what is JSON text in itself.


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as a person or a program reads it.

    Attributes:
        by: The node that wrote it, or the person who asked for it; empty if neither is known.
        type: The event's name, such as ``StepDone``.
        fields: What the event says, with secrets masked.
    """

    position: int
    stream: str
    version: int
    at: float
    by: str
    type: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events were asked for; a type as ``plain_type`` returns it."""

    stream: StreamName | None = None
    type: str | None = None

    def has(self, entry: Entry) -> bool:
        """Say whether the event is one of them."""
        return self.stream in (None, entry.stream) and self.type in (None, entry.type.lower())


async def find(node: AsyncNode, id: str) -> Head:
    """Return a transaction's head.

    Raises:
        NotFound: No transaction has this id; the message names one that is like it.
    """
    context = await node.opened()
    head = await context.home.find(TransactionId(id))
    if head is None:
        close = get_close_matches(
            id, [str(head.id) for head in await context.home.heads(limit=HEADS_MAX)], n=1
        )
        hint = f"did you mean {close[0]!r}?" if close else "`finality transaction list` shows what there is"
        raise NotFound(
            f"no transaction has the id {id!r} in {node.settings.shown_url}; {hint}", transaction_id=id
        )
    return head


async def children(node: AsyncNode, head: Head) -> list[Head]:
    """Return the heads of the transactions that are steps of this one."""
    return await (await node.opened()).home.children(head.key)


async def parent(node: AsyncNode, head: Head) -> Head | None:
    """Return the head of the transaction whose step this one is."""
    return None if head.parent is None else await (await node.opened()).home.head(head.parent)


async def begun(node: AsyncNode, saga: Saga, id: str) -> Head | None:
    """Return the head of what ``start`` would find, None if it would begin it; begin nothing.

    Raises:
        InputMismatch: The id is taken by a transaction with another input.
        LimitExceeded: The input is too large.
        DefinitionError, TypeError: The input cannot be kept.
    """
    context = await node.opened()
    head = await context.home.find(TransactionId(id))
    if head is not None:
        if not await _has_begun_as(context, head, saga):
            # It looks closer, as at another version's input, and tells the difference.
            await node._views.check_same(head.id, definition_of(type(saga)), saga)
        return head
    size = len(context.codec.encode(saga))
    if size >= EVENT_BYTES_MAX:
        raise LimitExceeded(
            f"the input has {size:,} bytes and an event holds {EVENT_BYTES_MAX:,}: "
            "keep large things elsewhere and pass where they are"
        )
    return None


async def _has_begun_as(context: Context, head: Head, saga: Saga) -> bool:
    """Say whether the transaction began with *saga*, by its first event alone."""
    [first] = await context.home.read(transaction_stream(head.id), limit=1)
    if head.kind != definition_of(type(saga)).kind or not isinstance(first.event, Started):
        return False
    try:
        return bool(context.codec.decode(first.event.input, type(saga)) == saga)
    except DecodeError:
        return False  # An older version took something else.


async def look_up(node: AsyncNode, id: str) -> Head | None:
    """Return a transaction's head, None if there is no such transaction; costs microseconds."""
    return await (await node.opened()).home.find(TransactionId(id))


async def history(node: AsyncNode, head: Head) -> list[Entry]:
    """Return everything that happened to a transaction, oldest first."""
    context = await node.opened()
    return [entry_of(recorded, context.codec) for recorded in await context.home.load(head.key)]


async def said_of(node: AsyncNode, event: ParkedEvent) -> list[Entry]:
    """Return what people have said about a parked event, oldest first."""
    context = await node.opened()
    stream = inbox_stream(event.consumer, name_of(event.envelope))
    return [entry_of(recorded, context.codec) for recorded in await context.home.read(stream)]


async def tail(node: AsyncNode, *, count: int, wanted: Wanted) -> tuple[list[Entry], Cursor]:
    """Return the newest events, oldest of them first, and the cursor behind them all."""
    context = await node.opened()
    home = context.home
    page = await home.newest()
    end, looked = page.cursor, 0
    found: list[Entry] = []
    while len(found) < count and page.events and looked < TAIL_EVENTS_MAX:
        entries = [entry_of(item, context.codec) for item in page.events]
        found = [*filter(wanted.has, entries), *found]
        looked += len(entries)
        page = await home.newest(before=page.events[0].position)
    return found[-count:] if count else [], end


async def follow(node: AsyncNode, *, after: Cursor, wanted: Wanted) -> AsyncIterator[Entry]:
    """Yield every event behind *after*, and then each new one."""
    context = await node.opened()
    async for recorded in context.home.follow(after=after):
        entry = entry_of(recorded, context.codec)
        if wanted.has(entry):
            yield entry


async def page(node: AsyncNode, *, after: Cursor) -> tuple[list[Entry], Cursor]:
    """Return the events behind *after*, a page of them, and where the next one begins; none at the end."""
    context = await node.opened()
    page = await context.home.page(after=after)
    return [entry_of(recorded, context.codec) for recorded in page.events], page.cursor


async def stream_named(node: AsyncNode, name: str) -> StreamName:
    """Return the stream that *name* stands for: its own name, or a transaction's id.

    Raises:
        NotFound: There is no such stream.
    """
    home = (await node.opened()).home
    for stream in (StreamName(name), StreamName(TRANSACTION_PREFIX + name)):
        if await home.read(stream, limit=1):
            return stream
    close = get_close_matches(name, [str(head.id) for head in await home.heads(limit=HEADS_MAX)], n=1)
    hint = f"did you mean {close[0]!r}?" if close else "give a stream's name or a transaction's id"
    raise NotFound(f"no stream has the name {name!r} in {node.settings.shown_url}; {hint}")


async def projections_elsewhere(node: AsyncNode, listed: Collection[str]) -> list[str]:
    """Return the projections that live nodes keep up in stores that this node was not opened with."""
    now, prefix = time.time(), f"{ADVERTISED}{SERVES}"
    alive = [row for row in await node.nodes() if row.lease_until > now]
    kept = {said.removeprefix(prefix) for row in alive for said in row.drives if said.startswith(prefix)}
    return sorted(kept - {*listed})


async def check_type(node: AsyncNode, type_: str) -> None:
    """See that there can be events of a type: they are ours, or the store has some.

    Raises:
        NotFound: No such event is in the journal, or in what the tail looks at of a long one.
    """
    context = await node.opened()
    page, looked, seen = await context.home.newest(), 0, set[str]()
    while page.events and looked < TAIL_EVENTS_MAX:
        seen.update(entry_of(item, context.codec).type for item in page.events)
        looked += len(page.events)
        page = await context.home.newest(before=page.events[0].position)
    known = {name.rpartition(".")[2] for name in context.codec.event_types} | seen
    by_plain = {each.lower(): each for each in sorted(known)}
    if plain_type(type_) in by_plain:
        return
    close = [by_plain[each] for each in get_close_matches(plain_type(type_), by_plain)]
    has = ", ".join(sorted(seen)) or "none so far"
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has {has}"
    newest = f"the newest {looked:,} events of " if page.events else ""
    raise NotFound(f"no event in {newest}{node.settings.shown_url} is of type {type_!r}; {hint}")


def entry_of(recorded: Recorded, codec: Codec) -> Entry:
    """Return what *recorded* says as plain data."""
    event = recorded.event
    said: dict[str, Any]
    if isinstance(event, Fact):
        said = {**json.loads(event.data), **json.loads(event.meta or b"{}")}
        type_ = split_type(event.type)[0]
    else:
        said, type_ = json.loads(codec.encode_events([event])[0][1]), type(event).__name__
    for name in JSON_FIELDS & said.keys():
        if isinstance(said[name], str):
            said[name] = json.loads(said[name])
    by = said.pop("by", None) or said.get("who") or recorded.by
    return Entry(
        recorded.position,
        recorded.stream,
        recorded.version,
        recorded.at,
        by,
        type_,
        masked(said),
    )


def plain_type(name: str) -> str:
    """Return what a type is known by, however one writes it: ``stepdone`` for ``step done``."""
    return re.sub(r"[ _]", "", name).lower()


def words_of(type_name: str) -> str:
    """Return an event's name in words: ``step done`` for ``StepDone``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type_name).lower()


def masked(value: Any) -> Any:
    """Return plain data with what is sealed in it masked."""
    if isinstance(value, dict):
        if "$secret" in value or "$personal" in value:
            return MASK
        return {key: masked(item) for key, item in value.items()}
    return [masked(item) for item in value] if isinstance(value, list) else value


async def trouble(node: AsyncNode, head: Head) -> str:
    """Return why a transaction is stuck or parked."""
    for entry in reversed(await history(node, head)):
        if entry.type in ("BecameStuck", "Parked"):
            step = entry.fields.get("step")
            because = " ".join(str(entry.fields["because"]).split())
            return f"{step}: {because}" if step else because
    return head.note or "nothing says why"


async def waits_for(node: AsyncNode, head: Head) -> str:
    """Return in a sentence what a transaction waits for."""
    return "; ".join((await node.explain(head.id)).waits_for) or f"it is {head.status}"
