"""A fact: an event of the user's own, as the journal keeps it.

```
    Withdrawn(30)  ──▶  type "Withdrawn@2" · data {"amount":30} · meta {"by":"ada"} · tags account:acc-1
```

The journal does not know the user's classes, so that whoever follows it needs none of them: it
carries a fact as it is, and whoever knows the class makes an event of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ARCHIVED = "archived"
"""The type of the last fact of a stream that was closed; no class is called so."""


class Fact(NamedTuple):
    """One event of the user's own.

    Attributes:
        type: Its name and, behind an ``@``, the version of its shape if that is not the first.
        data: What it says, as JSON.
        meta: What is known of it besides, as JSON; None if nothing is.
        tags: What it can be found by, across streams; empty when it is read.
    """

    type: str
    data: bytes
    meta: bytes | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of an event beside what it says.

    Attributes:
        by: The person or program on whose behalf it happened.
        correlation_id: The conversation that it is part of, such as one saga.
        causation_id: The event or command that it followed from.
        more: What else you want to find again; values that JSON can carry.
        traceparent: The span that appended it, as W3C Trace Context writes it; it is set by itself.
    """

    by: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Archived:
    """The last event of an aggregate's stream: it takes no more."""

    because: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A person was forgotten: what copies hold of them has to go. Projections may take it.

    Attributes:
        subject: Who, as ``Personal(…, of=subject)`` names them.
    """

    subject: str


def is_fact(type_: str) -> bool:
    """Say whether a type in the journal is the user's: ours have the name of their protocol before a dot."""
    return "." not in type_


def type_name(name: str, version: int) -> str:
    """Return what the journal calls events of *name* in their shape *version*."""
    return name if version == 1 else f"{name}@{version}"


def split_type(type_: str) -> tuple[str, int]:
    """Return the name and the version that a type in the journal stands for."""
    name, _, version = type_.partition("@")
    return name, int(version) if version else 1
