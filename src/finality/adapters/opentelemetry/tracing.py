"""A node's spans in OpenTelemetry: names and attributes as its semantic conventions have them.

| span                     | kind     | parent                                   |
| ------------------------ | -------- | ---------------------------------------- |
| ``transaction``          | internal | the current span                         |
| ``start BookTrip``       | internal | the current span                         |
| ``request quotes``       | client   | the current span                         |
| ``step BookTrip.room``   | internal | the start of the saga                    |
| ``undo BookTrip.room``   | internal | the start of the saga                    |
| ``append Account``       | client   | the current span                         |
| ``send orders``          | producer | the span that published the event        |
| ``process orders``       | consumer | the same; a batch is linked to its many  |
| ``project balances``     | internal | the span that appended the event, likewise |

What an error says is told for Finality's own errors alone: another's text may quote anything.

Source: W3C Trace Context, 2021; OpenTelemetry's semantic conventions for messaging and databases, 1.30.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from finality.adapters.opentelemetry.trace_context import current_traceparent
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError
from finality.core.saga.events import split_branch
from finality.ports.tracing import Block, Span

SYSTEMS = {
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "postgres": "postgresql",
    "rediss": "redis",
    "tls": "nats",
    "valkey": "redis",
}
NANOSECONDS = 1_000_000_000
LINKS_MAX = 128  # What an SDK keeps of them, if nobody says otherwise.

Attributes = Mapping[str, str | int]
Because = Callable[[BaseException], str]

_w3c = TraceContextTextMapPropagator()


class OpenTelemetry:
    """Fulfils ``ports.tracing.Tracing``, by the provider that the program sets, now or later."""

    is_on = True

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("finality", tracer_provider=provider)

    def current(self) -> str | None:
        """Return the current span's traceparent."""
        return current_traceparent()

    def transaction(self, store: str) -> Block:
        """Tell of a transaction."""
        return self._span("transaction", {"db.system.name": _system(store)})

    def start(self, saga: str, id: str) -> Block:
        """Tell of the start of a saga."""
        return self._span(f"start {saga}", {"finality.saga": saga, "finality.transaction.id": id})

    def request(self, topic: str, id: str) -> Block:
        """Tell of a request."""
        attributes = {"messaging.destination.name": topic, "finality.transaction.id": id}
        return self._span(f"request {topic}", attributes, kind=SpanKind.CLIENT)

    def step(
        self,
        saga: str,
        id: str,
        branch: str,
        attempt: int,
        *,
        is_undo: bool,
        parent: str | None,
        because: Because,
    ) -> Block:
        """Tell of an attempt at a step or compensation."""
        attributes: Attributes = {
            "finality.saga": saga,
            "finality.transaction.id": id,
            "finality.branch": branch,
            "finality.attempt": attempt,
        }
        name = f"{'undo' if is_undo else 'step'} {saga}.{split_branch(branch)[0]}"
        return self._span(name, attributes, within=_context(parent), because=because)

    def append(self, store: str, aggregate: str, id: str, count: int) -> Block:
        """Tell of an append."""
        attributes: Attributes = {
            "db.system.name": _system(store),
            "db.operation.name": "append",
            "db.collection.name": aggregate,
            "finality.aggregate.id": id,
            "finality.events": count,
        }
        return self._span(f"append {aggregate}", attributes, kind=SpanKind.CLIENT)

    def reaction(self, broker: str, consumer: str, events: Sequence[Envelope]) -> Block:
        """Tell of a call of a reaction."""
        first, *others = events
        attributes = {**_of_event(broker, "process", first), "messaging.consumer.group.name": consumer}
        if others:
            attributes["messaging.batch.message_count"] = len(events)
        within, links = _origins([each.traceparent for each in events if each.traceparent])
        return self._span(
            f"process {first.topic}", attributes, kind=SpanKind.CONSUMER, within=within, links=links
        )

    def projection(self, name: str, parents: Sequence[str]) -> Block:
        """Tell of a page that is carried into a projection."""
        within, links = _origins(parents)
        return self._span(f"project {name}", {"finality.projection": name}, within=within, links=links)

    def sent(
        self,
        broker: str,
        events: Sequence[Envelope],
        answers: Sequence[Exception | None],
        *,
        began: float,
        ended: float,
    ) -> None:
        """Tell of each event that is part of a trace that it was sent."""
        for event, answer in zip(events, answers, strict=True):
            if event.traceparent is None:
                continue
            span = self._tracer.start_span(
                f"send {event.topic}",
                context=_context(event.traceparent),
                kind=SpanKind.PRODUCER,
                attributes=_of_event(broker, "send", event),
                start_time=int(began * NANOSECONDS),
            )
            if answer is not None:
                _fail(span, answer, _said)
            span.end(int(ended * NANOSECONDS))

    @contextmanager
    def _span(
        self,
        name: str,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        within: Context | None = None,
        links: Sequence[Link] = (),
        because: Because | None = None,
    ) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name, within, kind, attributes, links, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield _OpenSpan(span)
            except BaseException as error:
                _fail(span, error, because or _said)
                raise


class _OpenSpan:
    """Fulfils ``ports.tracing.Span``."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.traceparent = current_traceparent()

    def identify(self, id: str) -> None:
        """Say which transaction it is."""
        self._span.set_attribute("finality.transaction.id", id)


def _context(traceparent: str | None) -> Context:
    """Return the context of a span elsewhere; without one nothing that is current here is a parent."""
    return Context() if traceparent is None else _w3c.extract({"traceparent": traceparent}, Context())


def _origins(parents: Sequence[str]) -> tuple[Context, list[Link]]:
    """Return what a span is a child of, if that is one, and else what it is linked to."""
    if len(parents) == 1:
        return _context(parents[0]), []
    return Context(), [_link(each) for each in parents[:LINKS_MAX]]


def _link(traceparent: str) -> Link:
    return Link(trace.get_current_span(_context(traceparent)).get_span_context())


def _fail(span: trace.Span, error: BaseException, because: Because) -> None:
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, because(error) or None))


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, FinalityError) else ""


def _of_event(broker: str, operation: str, event: Envelope) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "messaging.system": _system(broker),
        "messaging.destination.name": event.topic,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": event.id,
        "finality.event.type": event.type,
    }
    if event.correlation_id is not None:
        attributes["messaging.message.conversation_id"] = event.correlation_id
    return attributes


def _system(url: str) -> str:
    scheme = url.partition(":")[0]
    return SYSTEMS.get(scheme, scheme)
