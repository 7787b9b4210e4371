"""The spans of what a node's loops call: steps and reactions; nothing is prepared when nobody is told."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from finality.core.envelope import Envelope
from finality.core.saga import events as e
from finality.ports.tracing import NO_SPAN, Block, Span
from finality.runtime.answers import Asked, reason
from finality.runtime.context import Context
from finality.runtime.drive import Drive
from finality.runtime.reaction import ReactionCode


def span_of_step(context: Context, drive: Drive, command: Asked) -> Block:
    """Return the span of an attempt at a step or compensation; its parent was kept with the saga."""
    tracing = context.tracing
    if not tracing.is_on:
        return NO_SPAN
    started = drive.state.started
    return tracing.step(
        drive.definition.kind,
        drive.id,
        command.step,
        command.attempt,
        is_undo=isinstance(command, e.Compensate),
        parent=None if started is None else started.traceparent,
        because=partial(reason, context, drive),
    )


def span_of_reaction(context: Context, code: ReactionCode, events: Sequence[Envelope]) -> Block:
    """Return the span of a reaction's call; what Finality itself does about events has none."""
    if not context.tracing.is_on or code.is_raw:
        return NO_SPAN
    return context.tracing.reaction(context.broker, code.consumer, events)


def span_of_projection(context: Context, name: str, parents: Sequence[str]) -> Block:
    """Return the span of a page's projection; one whose events are part of no trace has none."""
    return context.tracing.projection(name, parents) if parents else NO_SPAN


def caused_in(span: Span, event: Envelope) -> Envelope:
    """Return *event* as the cause of what *span* publishes."""
    return event if span.traceparent is None else event._replace(traceparent=span.traceparent)
