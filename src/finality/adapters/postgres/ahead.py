"""Statements that are sent ahead of the driver's next one: all of them get one answer.

```
    driver alone      BEGIN ──▶ ◀── BEGIN      UPDATE ──▶ ◀── UPDATE 1
    sent ahead        BEGIN · UPDATE ──▶                  ◀── BEGIN · UPDATE 1
```

The driver has no pipeline. But the server answers nothing before it is asked to (``Sync``), it skips
what follows a statement that has failed, and the driver passes over what it did not ask: what is
written here lies on the line before the driver's own statement, and shares its fate. That statement must
be of the extended kind, too: a simple query that is skipped gets no answer at all.

Source: PostgreSQL documentation, *Message Flow*, extended query.
"""

from __future__ import annotations

from functools import lru_cache
from struct import pack

from finality.adapters.postgres.session import Connection

MESSAGES_KEPT_MAX = 100  # The beginnings of branches: one for each isolation, and those with a deadline.


def send_ahead(connection: Connection, *statements: str) -> None:
    """Write *statements* to the line; they have no parameters and no rows, and run with the next one.

    Until the driver has answered that, it does not know that a transaction may be open.
    """
    # It is the driver's own: no other way leads to the line, and none is documented.
    connection._transport.write(b"".join(map(_messages, statements)))


@lru_cache(MESSAGES_KEPT_MAX)
def _messages(sql: str) -> bytes:
    """Return ``Parse``, ``Bind`` and ``Execute`` of the nameless statement."""
    return _message(b"P", b"\0%b\0\0\0" % sql.encode()) + _message(b"B", bytes(8)) + _message(b"E", bytes(5))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + pack("!i", len(body) + 4) + body
