"""Commutative update: say what changes, not what it becomes, and the order no longer matters.

```
    read 100, write 70        ┐ one of the two     −30 ┐
    read 100, write 150       ┘ is lost            +50 ┘ 120, whichever comes first
```

What undoes it is the opposite update, which also stands whatever came in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finality.core.errors import Refused
from finality.patterns.countermeasures.sql import Where, checked, columns_of, condition_of, row_name
from finality.ports.store import LocalTransaction

Number = int | float


def add(
    local: LocalTransaction,
    table: str,
    where: Where,
    changes: Mapping[str, Number],
    *,
    at_least: Number | None = None,
    at_most: Number | None = None,
) -> None:
    """Add each of *changes* to its column, in the one row that *where* names.

    Raises:
        Refused: A column would end up below *at_least* or above *at_most*.
        LookupError: There is no such row, there are several, or a column of it is null.
    """
    columns = columns_of(changes, checked(table, "table"))
    condition, key = condition_of(where, table)
    listed = ", ".join(columns)
    rows = local.execute(f"SELECT {listed} FROM {table} WHERE {condition}", key)  # noqa: S608  # names are checked
    what = row_name(table, where)
    if len(rows) != 1:
        raise LookupError(
            f"cannot add to {what}: there are {len(rows)} such rows; name exactly one by its key"
        )
    before = dict(zip(columns, rows[0], strict=True))
    for column, value in before.items():
        if value is None:
            raise LookupError(f"cannot add to {column} of {what}: it is null; give it a number first")
    sets = ", ".join(f"{column} = {column} + ?" for column in columns)
    bounds = [(sign, bound) for sign, bound in ((">=", at_least), ("<=", at_most)) if bound is not None]
    terms = [condition, *(f"{column} + ? {sign} ?" for column in columns for sign, _ in bounds)]
    limits = [each for column in columns for _, bound in bounds for each in (changes[column], bound)]
    # The bounds stand in the statement itself, so that a store with several writers checks and
    # changes in one go.
    done = local.execute(
        f"UPDATE {table} SET {sets} WHERE {' AND '.join(terms)} RETURNING 1",  # noqa: S608  # names are checked
        [*changes.values(), *key, *limits],
    )
    if not done:
        raise Refused(_why(what, before, changes, at_least, at_most))


def _why(
    what: str,
    before: Mapping[str, Any],
    changes: Mapping[str, Number],
    at_least: Number | None,
    at_most: Number | None,
) -> str:
    for column, change in changes.items():
        after = before[column] + change
        would = f"{column} of {what} is {before[column]} and would become {after}"
        if at_least is not None and after < at_least:
            return f"{would}, below {at_least}"
        if at_most is not None and after > at_most:
            return f"{would}, above {at_most}"
    return f"{what} was changed by someone else at the same moment"
