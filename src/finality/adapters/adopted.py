"""A foreign outbox table, in the layout that Debezium's outbox router reads, whose events we relay.

A trigger copies each row into ours in the very commit that inserts it, so that it is relayed also if
the application deletes the row at once, as is usual with Debezium.
"""

from __future__ import annotations

from collections.abc import Collection

from finality.core.errors import DefinitionError, NotFound

COLUMNS = ("id", "aggregatetype", "aggregateid", "type", "payload")
TRIGGER = "finality_adopted_"
"""Before the table's name: what our triggers are called."""


def check_columns(table: str, found: Collection[str]) -> None:
    """See that *table* is an outbox.

    Raises:
        NotFound: It is not there.
        DefinitionError: It lacks columns.
    """
    if not found:
        raise NotFound(f"no table {table!r} is in the store: check its name")
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise DefinitionError(
            f"table {table!r} cannot be adopted: it has no column {', '.join(missing)}; an outbox in "
            f"Debezium's layout has {', '.join(COLUMNS)}"
        )


def quoted(name: str) -> str:
    """Return *name* as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
