"""What event sourcing needs of a home store, beside the journal: facts, snapshots, tags and keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from finality.core.ids import START, Cursor, StreamName, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, Query, Snapshot
from finality.ports.journal import PAGE_EVENTS_MAX, Page

SOURCES_MAX = 1_000  # One page of streams; longer lists continue behind the last one.


@dataclass(frozen=True, slots=True)
class Source:
    """A stream of facts at a glance.

    Attributes:
        key: The store's own short name of the stream.
        is_archived: It was closed and takes no more facts.
    """

    key: int
    name: StreamName
    version: Version
    is_archived: bool
    snapshot: Snapshot | None = None


class Sources(Protocol):
    """What a turn can do with facts. Nothing of it remains if the turn fails."""

    def find(self, stream: StreamName) -> Source | None:
        """Return a stream, as this very transaction sees it; None if it has not begun."""
        ...

    def read(
        self, source: Source, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return its next events behind *after*, oldest first, up to the version that was found."""
        ...

    def record(
        self, stream: StreamName, facts: Sequence[Fact], *, expected: Version, key: int | None = None
    ) -> int:
        """Append *facts*, all or none, with what they can be found by; return the stream's key.

        Args:
            key: It, if it is known; this spares a look.

        Raises:
            VersionConflict: The stream is not at *expected*; nothing was written.
            LimitExceeded: A fact is too large; nothing was written.
        """
        ...

    def new_id(self) -> str:
        """Return an id that no other stream has, later ones behind earlier ones."""
        ...

    def matching(self, query: Query) -> list[Recorded]:
        """Return every event that matches, oldest first; more may be recorded meanwhile."""
        ...

    def hold(self, query: Query, *, expected: int) -> None:
        """See that *expected* events match, and let no other be recorded before this transaction ends.

        It counts those whose transactions are not known to have ended by waiting for them.

        Raises:
            VersionConflict: Another number matches.
        """
        ...

    def token(self) -> Cursor:
        """Return a cursor that has passed all that is committed and what this transaction has recorded.

        It says so as soon as it is made: only after the commit is it true.
        """
        ...

    def archive(self, stream: StreamName) -> None:
        """Leave the stream out of listings from now on."""
        ...

    def keep_snapshot(self, stream: StreamName, snapshot: Snapshot) -> None:
        """Keep a snapshot in the place of an earlier one."""
        ...

    def subject_keys(self, subjects: Collection[str]) -> dict[str, bytes | None]:
        """Return the sealed keys of those data subjects that have one, None of those forgotten."""
        ...

    def keep_subject_key(self, subject: str, sealed: bytes) -> None:
        """Keep the sealed key of a data subject that has none and was not forgotten."""
        ...

    def forget(self, subject: str) -> None:
        """Delete the key of a data subject, for ever."""
        ...


class CommittedSources(Protocol):
    """What is committed of facts, read outside of any transaction."""

    async def find(self, stream: StreamName) -> Source | None:
        """Return a stream; None if it has not begun."""
        ...

    async def read(
        self, source: Source, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return its next events behind *after*, oldest first, up to the version that was found."""
        ...

    async def listed(
        self, prefix: str, *, after: str = "", with_archived: bool = False, limit: int = SOURCES_MAX
    ) -> list[Source]:
        """Return the streams whose names begin with *prefix*, behind the name *after*, without snapshots."""
        ...

    async def matching(self, query: Query) -> list[Recorded]:
        """Return every event that matches, oldest first."""
        ...

    async def facts(
        self, *, after: Cursor = START, until: Cursor | None = None, limit: int = PAGE_EVENTS_MAX
    ) -> Page:
        """Return the facts of all streams behind *after*, and nothing of ours; as ``Journal.page`` does.

        Args:
            until: Only what is behind that cursor's reader; by default all that is committed.
        """
        ...

    async def subject_keys(self, subjects: Collection[str]) -> dict[str, bytes | None]:
        """Return the sealed keys of those data subjects that have one, None of those forgotten."""
        ...
