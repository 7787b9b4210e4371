"""What every home store checks of an append before it writes anything."""

from __future__ import annotations

from collections.abc import Sequence

from finality.core.errors import LimitExceeded, VersionConflict
from finality.core.sourcing import Fact, Query
from finality.ports.journal import EVENT_BYTES_MAX


def check_facts(facts: Sequence[Fact]) -> None:
    """See that *facts* can be written.

    Raises:
        LimitExceeded: One is too large.
    """
    assert facts, "an append has at least one event"
    for fact in facts:
        size = len(fact.data) + len(fact.meta or b"")
        if size > EVENT_BYTES_MAX:
            raise too_large(fact.type, size)


def too_large(name: str, size: int) -> LimitExceeded:
    """Return that an event of *size* bytes cannot be kept."""
    return LimitExceeded(
        f"event {name} has {size} bytes: {EVENT_BYTES_MAX} is the most; store the large part elsewhere and "
        "keep a reference"
    )


def conflict(stream: object, expected: int, actual: int) -> VersionConflict:
    """Return that *stream* is at another version than a decision rests on."""
    return VersionConflict(
        f"stream {stream} is at version {actual}, not {expected}: someone was first; "
        "read it again and decide anew",
        expected=expected,
        actual=actual,
    )


def check_count(query: Query, expected: int, actual: int) -> None:
    """See that as many events match *query* as a decision rests on.

    Raises:
        VersionConflict: It is another number.
    """
    if actual != expected:
        raise VersionConflict(
            f"{actual} events with {', '.join(sorted(query.tags))} match, not {expected}: someone was first; "
            "read them again and decide anew",
            expected=expected,
            actual=actual,
        )
