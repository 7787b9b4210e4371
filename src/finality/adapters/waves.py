"""Order within a key when a batch fails in its middle: behind what was not stored, nothing of its key is.

```
   a1 b1 a2 c1 a3 b2      wave 1: a1 b1 c1     a key is never twice under way,
                          wave 2: a2 b2        so what follows a failure is known
                          wave 3: a3           before it is sent
```
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError, FinalityError, Unavailable
from finality.ports.broker import Rejected
from finality.ports.topic_names import check_topic


class Outcomes:
    """What becomes of each event of a batch.

    Attributes:
        each: None for one that is stored, as ``Broker.publish`` returns it.
    """

    def __init__(self, events: Sequence[Envelope]) -> None:
        self.each: list[FinalityError | None] = [None] * len(events)
        self._events = events
        self._failed: dict[tuple[str, str], int] = {}  # Each key's first that was not stored.

    def fail(self, index: int, error: FinalityError) -> None:
        """This one was not stored, so what follows it is not to be."""
        self.each[index] = error
        event = self._events[index]
        if event.key:
            first = self._failed.get((event.topic, event.key), index)
            self._failed[event.topic, event.key] = min(first, index)

    def may_go(self, index: int) -> bool:
        """Say whether it may be sent; if it is behind one that was not stored, it fails, too."""
        if not self._failed:
            return True
        event = self._events[index]
        if self._failed.get((event.topic, event.key), index) < index:
            self.each[index] = Unavailable(
                f"event {event.id} was not sent: it is behind one of its key that was not stored; publish it "
                "again behind that"
            )
            return False
        return True

    def reject(self, index: int, because: str) -> None:
        """This one never will be stored."""
        self.fail(index, Rejected(f"event {self._events[index].id} was rejected: {because}"))

    def has_topic(self, index: int) -> bool:
        """Say whether its topic is a name; if it is none, it is rejected."""
        try:
            check_topic(self._events[index].topic)
        except DefinitionError as problem:
            self.reject(index, str(problem))
            return False
        return True


def too_large(event: Envelope, bytes_max: int) -> str:
    """Return why an event is rejected that has more bytes than the broker takes."""
    size = len(event.data)
    return f"it has {size:,} bytes and {bytes_max:,} is the most; publish a reference to what is large"


def waves(indexes: Iterable[int], events: Sequence[Envelope]) -> list[list[int]]:
    """Return *indexes* in waves, none of which has a key twice; events without one are in the first."""
    found: list[list[int]] = []
    depth: dict[tuple[str, str], int] = {}
    for index in indexes:
        event = events[index]
        wave = 0
        if event.key:
            wave = depth.get((event.topic, event.key), 0)
            depth[event.topic, event.key] = wave + 1
        if wave == len(found):
            found.append([])
        found[wave].append(index)
    return found


class Sized(Protocol):
    """What has a size on the line."""

    @property
    def bytes(self) -> int:
        """Return how many bytes it has there."""
        ...


S = TypeVar("S", bound=Sized)


def portions(going: Iterable[S], bytes_max: int) -> list[list[S]]:
    """Return *going* in portions, in order; one that is larger than *bytes_max* goes alone."""
    found: list[list[S]] = [[]]
    size = 0
    for each in going:
        if found[-1] and size + each.bytes > bytes_max:
            found.append([])
            size = 0
        found[-1].append(each)
        size += each.bytes
    return found
