"""Which keys seal and open personal data: those of the home store, as a transaction or a reader sees them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from finality.core.protocol import Recorded
from finality.ports.codec import Codec
from finality.ports.sources import CommittedSources, Source, Sources


def within(codec: Codec, sources: Sources) -> AbstractContextManager[None]:
    """Seal and open with the keys that a transaction of a home store sees."""
    return codec.subjects(sources.subject_keys, sources.keep_subject_key)


def at(codec: Codec, local: Any) -> AbstractContextManager[None]:
    """Seal and open with the keys that the transaction *local* sees; with none if it is another store's."""
    sources = getattr(local, "sources", None)
    return nullcontext() if sources is None else within(codec, sources)


async def of(
    codec: Codec, sources: CommittedSources, source: Source | None, recorded: Iterable[Recorded]
) -> AbstractContextManager[None]:
    """Open with the keys that are committed now: what was forgotten meanwhile is not opened."""
    kept = [each.event.data for each in recorded]
    if source is not None and source.snapshot is not None:
        kept.append(source.snapshot.data)
    found = codec.subjects_in(kept)
    if not found:
        return nullcontext()
    keys = await sources.subject_keys(found)
    return codec.subjects(lambda subjects: keys)
