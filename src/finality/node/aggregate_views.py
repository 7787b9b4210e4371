"""Aggregates as the faces show them: their state as plain data, and what happened to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from finality.core.errors import NotFound
from finality.core.sourcing import aggregate_stream, category_prefix, id_of
from finality.node.async_node import AsyncNode
from finality.node.looking import Entry, entry_of, masked
from finality.patterns.aggregate import Aggregate, kind_of
from finality.ports.codec import Codec
from finality.ports.sources import SOURCES_MAX, Source
from finality.runtime.sourcing.reading import At, is_behind, pages


@dataclass(frozen=True, slots=True)
class AggregateView:
    """An aggregate at a glance.

    Attributes:
        version: How many events its state consists of.
        snapshot: The version of its snapshot; None: it has none.
        state: Its fields, with what is sealed in them masked.
    """

    aggregate: str
    id: str
    version: int
    snapshot: int | None
    is_archived: bool
    state: dict[str, Any]


async def view(node: AsyncNode, kind: type[Aggregate[Any]], id: str, *, at: At = None) -> AggregateView:
    """Return the aggregate as it is, or was.

    Raises:
        NotFound: There is none with that id, or no such version; the message names one that is like it.
    """
    source = await _source(node, kind, id)
    return _viewed(await node.load(kind, id, at=at), source, (await node.opened()).codec)


async def views(
    node: AsyncNode, kind: type[Aggregate[Any]], *, after: str, with_archived: bool, limit: int
) -> list[AggregateView]:
    """Return aggregates in the order of their ids."""
    context = await node.opened()
    found = await node.aggregates(kind, after=after, with_archived=with_archived, limit=limit)
    name, viewed = kind_of(kind).name, []
    for each in found:
        source = await context.home.sources.find(aggregate_stream(name, each.loaded.id))
        assert source is not None, f"{name} {each.loaded.id} was listed"
        viewed.append(_viewed(each, source, context.codec))
    return viewed


async def history(node: AsyncNode, kind: type[Aggregate[Any]], id: str, *, at: At = None) -> list[Entry]:
    """Return what happened to the aggregate, oldest first, as the journal has it; up to *at*.

    Raises:
        NotFound: There is none with that id.
    """
    source, context = await _source(node, kind, id), await node.opened()
    sources, codec = context.home.sources, context.codec
    return [
        entry_of(each, codec)
        async for page in pages(sources, source)
        for each in page
        if not is_behind(each, at)
    ]


async def _source(node: AsyncNode, kind: type[Aggregate[Any]], id: str) -> Source:
    name, sources = kind_of(kind).name, (await node.opened()).home.sources
    source = await sources.find(aggregate_stream(name, id))
    if source is not None:
        return source
    listed = await sources.listed(category_prefix(name), with_archived=True, limit=SOURCES_MAX)
    close = get_close_matches(id, [id_of(each.name) for each in listed], n=1)
    hint = f"did you mean {close[0]!r}?" if close else "`finality aggregate list` names those that there are"
    raise NotFound(f"no {name} has the id {id!r} in {node.settings.shown_url}; {hint}")


def _viewed(aggregate: Aggregate[Any], source: Source, codec: Codec) -> AggregateView:
    kept: dict[str, bytes | None] = {}
    # What is personal was opened to fold it. It is sealed again, with keys that are thrown away, and masked.
    with codec.subjects(lambda subjects: kept, lambda subject, sealed: kept.update({subject: sealed})):
        state = masked(json.loads(codec.encode(aggregate)))
    loaded, snapshot = aggregate.loaded, source.snapshot
    return AggregateView(
        kind_of(type(aggregate)).name, loaded.id, loaded.version,
        None if snapshot is None else snapshot.version, loaded.is_archived, state,
    )  # fmt: skip
