"""Reread value: look again before you act on what you saw, and turn back if it is no longer so.

```
    saga 1:  see status=open ──────────────── reread ✗ Changed: undone
    somebody:         status=cancelled ──┘
```

``Changed`` is a refusal and not a technical failure: what the saga has decided rests on what it
saw, and reading the same row once more would only find the same change again. So nothing is
tried again; the saga is undone, and whoever started it may start a new one, which sees anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finality.core.errors import Refused
from finality.patterns.countermeasures.sql import Where, checked, columns_of, condition_of, row_name
from finality.ports.store import LocalTransaction

Value = str | int | float | None


class Changed(Refused):
    """A row is not any more what the saga saw and relied on; start a new one, which sees anew."""

    code = "changed"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a row held when the saga looked; a step may yield it, so that a later step can reread it.

    Attributes:
        where: The row's key.
        values: The columns that were looked at; None when there was no such row.
    """

    table: str
    where: dict[str, Value]
    values: dict[str, Value] | None

    def __bool__(self) -> bool:
        """Say whether there was such a row."""
        return self.values is not None

    def __getitem__(self, column: str) -> Any:
        """Return what the column held.

        Raises:
            LookupError: It was not looked at, or there was no such row.
        """
        if self.values is None:
            raise LookupError(f"there was no {self}, so it has no {column}; ask `if seen` first")
        if column not in self.values:
            raise LookupError(f"{column} of {self} was not looked at; name it in tx.see(…)")
        return self.values[column]

    def __str__(self) -> str:
        """Return the row's name."""
        return row_name(self.table, self.where)


def see(local: LocalTransaction, table: str, where: Where, columns: Sequence[str]) -> Seen:
    """Return what *columns* of the one row hold.

    Raises:
        LookupError: There are several such rows.
        TypeError: A column holds bytes, which the journal cannot keep.
    """
    names = columns_of(columns, checked(table, "table"))
    condition, key = condition_of(where, table)
    rows = local.execute(f"SELECT {', '.join(names)} FROM {table} WHERE {condition}", key)  # noqa: S608  # names are checked
    what = row_name(table, where)
    if len(rows) > 1:
        raise LookupError(f"cannot see {what}: there are {len(rows)} such rows; name one by its key")
    if not rows:
        return Seen(table, dict(where), None)
    values = dict(zip(names, rows[0], strict=True))
    for name, value in values.items():
        if isinstance(value, bytes):
            raise TypeError(f"cannot see {name} of {what}: it holds bytes; see a version or a digest instead")
    return Seen(table, dict(where), values)


def reread(local: LocalTransaction, seen: Seen) -> None:
    """See that the row is still what it was.

    Raises:
        Changed: It is not.
    """
    columns = list(seen.values or seen.where)
    now = see(local, seen.table, seen.where, columns)
    if now.values is None:
        if seen:
            raise Changed(f"{seen} is gone since the saga saw it: decide anew, in a new saga")
        return
    if seen.values is None:
        raise Changed(f"{seen} is there now and was not when the saga looked: decide anew, in a new saga")
    for name, was in seen.values.items():
        if now.values[name] != was:
            raise Changed(
                f"{name} of {seen} was {was!r} when the saga saw it and is {now.values[name]!r} now: "
                "decide anew, in a new saga"
            )
