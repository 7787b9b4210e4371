"""The histories of many transactions, out of the rows that a home has read in one look."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from finality.ports.home import History


def histories(
    rows: Iterable[tuple[int, str, bytes]], decode: Callable[[str, bytes], Any]
) -> dict[int, History]:
    """Return the history of each transaction that *rows* tell of: its key, a type, data; oldest first."""
    found: dict[int, History] = {}
    for key, type_name, data in rows:
        history = found.setdefault(key, [])
        if isinstance(history, list):
            try:
                history.append(decode(type_name, data))
            except Exception as error:  # Whatever is wrong with one of them, the others can be read.
                found[key] = error
    return found
