"""How the streams of aggregates are called: ``Account/acc-1``.

A category begins with a capital, as classes do, and every stream of ours with a small letter
(``transaction/trip-42``, ``breaker/bank``), so that neither is ever taken for the other.
"""

from __future__ import annotations

import re

from finality.core.errors import DefinitionError
from finality.core.ids import StreamName

ID_CHARACTERS_MAX = 200  # A name is in an index of every store; MariaDB's keys end at 767 bytes.

FORGOTTEN_PREFIX = "forgotten/"
"""What the streams begin with that say who was forgotten."""

CATEGORY = re.compile(r"[A-Z][A-Za-z0-9_-]{0,99}")
ID = re.compile(rf"[!-.0-~]{{1,{ID_CHARACTERS_MAX}}}")  # Printable ASCII, no space and no slash.


def check_category(name: str) -> str:
    """Return *name* if aggregates, or their events, may be called so.

    Raises:
        DefinitionError: They may not.
    """
    if CATEGORY.fullmatch(name):
        return name
    raise DefinitionError(
        f"aggregates and events cannot be called {name!r}: streams of Finality's own begin with a small "
        "letter; write a capital, and then letters, digits, - and _"
    )


def check_id(id: str) -> str:
    """Return *id* if an aggregate may have it.

    Raises:
        ValueError: It may not.
    """
    if ID.fullmatch(id):
        return id
    raise ValueError(
        f"an aggregate cannot have the id {id!r}: it is part of its stream's name; write 1 to "
        f"{ID_CHARACTERS_MAX} printable ASCII characters without a space and a slash"
    )


def aggregate_stream(category: str, id: str) -> StreamName:
    """Return the name of the stream that an aggregate is."""
    return StreamName(f"{category}/{check_id(id)}")


def category_prefix(category: str) -> str:
    """Return what the names of all streams of a category begin with."""
    return f"{category}/"


def id_of(stream: StreamName) -> str:
    """Return the id of the aggregate that a stream is."""
    return stream.partition("/")[2]
