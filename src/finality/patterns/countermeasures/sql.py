"""The SQL that countermeasures build: names are checked, values are parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Where = Mapping[str, Any]
"""The columns and values that name one row: its key."""


def checked(name: str, what: str) -> str:
    """Return *name* if it can stand in a statement as it is.

    It is not quoted: SQLite takes a quoted name that it does not know for a string, so that a
    misspelt column would be compared instead of refused.

    Raises:
        ValueError: It is no plain name.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{what} {name!r} is no plain name: use letters, digits and _, as in order_lines")
    return name


def columns_of(names: Iterable[str], table: str) -> list[str]:
    """Return the checked names of columns.

    Raises:
        ValueError: One is no plain name, or there is none.
    """
    columns = [checked(name, f"column of {table}") for name in names]
    if not columns:
        raise ValueError(f"no column of {table} is named: say which are meant")
    return columns


def condition_of(where: Where, table: str) -> tuple[str, list[Any]]:
    """Return the condition that *where* is, and its parameters.

    Raises:
        ValueError: A name is no plain name, or there is none, which would mean every row.
    """
    columns_of(where, table)
    terms = [f"{name} IS NULL" if value is None else f"{name} = ?" for name, value in where.items()]
    return " AND ".join(terms), [value for value in where.values() if value is not None]


def row_name(table: str, where: Where) -> str:
    """Return how a message speaks of a row, as in ``accounts(id=1)``."""
    return f"{table}({', '.join(f'{name}={value!r}' for name, value in where.items())})"
