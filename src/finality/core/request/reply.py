"""The address of a reply: what the envelope of a request says beyond that of other events.

| attribute of CloudEvents | says |
| --- | --- |
| ``correlationid`` | the id of the request; its answer has it, too |
| ``replyto`` | the topic on which the answer is awaited |
| ``replyby`` | the deadline, as RFC 3339 writes it; without one an answer always counts |

Source: Return Address and Correlation Identifier, Enterprise Integration Patterns, G. Hohpe and
B. Woolf, 2003.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from finality.core.envelope import BadEnvelope, Envelope, read_time, written_time

REPLY_TO, REPLY_BY = "replyto", "replyby"
REFUSAL_TYPE = "finality.refused"  # The type of an answer that says no; its data says ``because``.
REPLIES = "replies"  # What the topics begin with on which homes await their answers.


@dataclass(frozen=True, slots=True)
class Reply:
    """Where an answer is awaited, and until when."""

    topic: str
    deadline: float

    def is_over(self, now: float) -> bool:
        """Say whether an answer counts no more."""
        return now >= self.deadline


def replies_of(home: str) -> str:
    """Return the topic on which the nodes of the store called *home* await answers."""
    return f"{REPLIES}.{home}"


def reply_headers(reply: Reply) -> dict[str, str]:
    """Return what an envelope says of *reply*."""
    return {REPLY_TO: reply.topic, REPLY_BY: written_time(reply.deadline)}


def reply_of(envelope: Envelope) -> Reply | None:
    """Return where the answer to *envelope* is awaited; None if it is no request."""
    topic, by = envelope.extensions.get(REPLY_TO), envelope.extensions.get(REPLY_BY)
    if not topic:
        return None
    try:
        return Reply(topic, math.inf if not by else read_time(by))
    except BadEnvelope:
        return Reply(topic, math.inf)  # A foreign writer's: whoever asked knows when it is over.
