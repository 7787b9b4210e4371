"""The trace that an event belongs to: the span that is current where it is published."""

from __future__ import annotations

import sys


def current_traceparent() -> str | None:
    """Return the current span as W3C Trace Context writes it; None outside of any."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:  # Nobody can have begun a span without it.
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
