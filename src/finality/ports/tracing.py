"""Where a node tells what it does as spans, and how a span's parent reaches another process.

```
   transaction ── start ── step ── step        what runs later, or elsewhere, is a child of the
                             │                 *traceparent* that was kept: with the saga's first
                             ├── send          event, and in the envelope of what was published
                             └── reaction ── …
```

Whoever is ``NO_TRACING`` tells nobody, at a thirteenth of what a span of OpenTelemetry's for nobody takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from finality.core.envelope import Envelope


class Span(Protocol):
    """Something that is being done; it is the current one until its block ends, and failed if that raises.

    Attributes:
        traceparent: As W3C Trace Context writes it; None when nobody is told.
    """

    traceparent: str | None

    def identify(self, id: str) -> None:
        """Say which transaction it is, if that was not known when it began."""
        ...


Block = AbstractContextManager[Span]


class Tracing(Protocol):
    """Tells of spans. Every method may be called in any thread.

    Attributes:
        is_on: Whether anybody is told, so that nothing is prepared for nobody.
    """

    is_on: bool

    def current(self) -> str | None:
        """Return the traceparent of what is being done here; None outside of any span."""
        ...

    def transaction(self, store: str) -> Block:
        """Tell of a transaction in the store at the URL *store*."""
        ...

    def start(self, saga: str, id: str) -> Block:
        """Tell of the start of a saga: its steps are children of this."""
        ...

    def request(self, topic: str, id: str) -> Block:
        """Tell of a request, until its answer is there: whoever answers it does that in a child of this."""
        ...

    def step(
        self,
        saga: str,
        id: str,
        branch: str,
        attempt: int,
        *,
        is_undo: bool,
        parent: str | None,
        because: Callable[[BaseException], str],
    ) -> Block:
        """Tell of an attempt at a step or compensation.

        Args:
            parent: The traceparent that was kept with the saga.
            because: Tells an error without the saga's secrets.
        """
        ...

    def append(self, store: str, aggregate: str, id: str, count: int) -> Block:
        """Tell that *count* events are appended to an aggregate."""
        ...

    def reaction(self, broker: str, consumer: str, events: Sequence[Envelope]) -> Block:
        """Tell of a call of a reaction: a child of its event, or linked to its several events."""
        ...

    def projection(self, name: str, parents: Sequence[str]) -> Block:
        """Tell of a page that is carried into a projection: a child of its event, or linked to its several.

        Args:
            parents: The traceparents of the spans that appended its events, each once.
        """
        ...

    def sent(
        self,
        broker: str,
        events: Sequence[Envelope],
        answers: Sequence[Exception | None],
        *,
        began: float,
        ended: float,
    ) -> None:
        """Tell that events were brought to the broker, each a child of its publisher.

        Args:
            answers: Of each what was wrong, or None.
            began: In seconds since the Unix epoch, as *ended*.
        """
        ...


class NoSpan:
    """Nothing that anybody is told; it is its own block."""

    traceparent: str | None = None

    def identify(self, id: str) -> None:
        """Tell nobody."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        return None


NO_SPAN = NoSpan()


class NoTracing:
    """Fulfils ``Tracing`` and does nothing."""

    is_on = False

    def current(self) -> str | None:
        """Return None."""
        return None

    def transaction(self, store: str) -> Block:
        """Tell nobody."""
        return NO_SPAN

    def start(self, saga: str, id: str) -> Block:
        """Tell nobody."""
        return NO_SPAN

    def request(self, topic: str, id: str) -> Block:
        """Tell nobody."""
        return NO_SPAN

    def step(
        self,
        saga: str,
        id: str,
        branch: str,
        attempt: int,
        *,
        is_undo: bool,
        parent: str | None,
        because: Callable[[BaseException], str],
    ) -> Block:
        """Tell nobody."""
        return NO_SPAN

    def append(self, store: str, aggregate: str, id: str, count: int) -> Block:
        """Tell nobody."""
        return NO_SPAN

    def reaction(self, broker: str, consumer: str, events: Sequence[Envelope]) -> Block:
        """Tell nobody."""
        return NO_SPAN

    def projection(self, name: str, parents: Sequence[str]) -> Block:
        """Tell nobody."""
        return NO_SPAN

    def sent(
        self,
        broker: str,
        events: Sequence[Envelope],
        answers: Sequence[Exception | None],
        *,
        began: float,
        ended: float,
    ) -> None:
        """Tell nobody."""


NO_TRACING = NoTracing()
