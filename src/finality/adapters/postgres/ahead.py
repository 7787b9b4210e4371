"""Statements that are sent ahead of the driver's next one: all of them get one answer.

```
    driver alone      BEGIN ──▶ ◀── BEGIN      UPDATE ──▶ ◀── UPDATE 1
    sent ahead        BEGIN · UPDATE ──▶                  ◀── BEGIN · UPDATE 1
```

The driver has no pipeline. But the server answers nothing before it is asked to (``Sync``), it skips
what follows a statement that has failed, and the driver passes over what it did not ask: what is
written here lies on the line before the driver's own statement, and shares its fate.

Source: PostgreSQL documentation, *Message Flow*, extended query.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from struct import pack
from typing import Any

from finality.adapters.postgres.session import Connection

MORE = getattr(socket, "MSG_MORE", 0)  # Linux has it; elsewhere a packet more is sent.
MESSAGES_KEPT_MAX = 100  # The beginnings of branches: one for each isolation, and those with a deadline.


def send_ahead(connection: Connection, *statements: str) -> None:
    """Write *statements* to the line; they have no parameters and no rows, and run with the next one.

    Until the driver has answered that, it does not know that a transaction may be open.
    """
    # It is the driver's own: no other way leads to the line, and none is documented.
    transport = connection._transport
    messages = _messages(statements)
    sent = _sent_with_the_next(transport, messages)
    if sent < len(messages):
        transport.write(messages[sent:])


def _sent_with_the_next(transport: Any, messages: bytes) -> int:
    """Have the system keep *messages* for the next packet; return how many bytes it has taken.

    Else they would go by themselves, and the server would be woken twice: a tenth of what the whole
    transaction costs it. A line that is encrypted, or not asyncio's own, or behind, takes none.
    """
    line = getattr(transport.get_extra_info("socket"), "_sock", None)
    if line is None or transport.get_extra_info("sslcontext") or transport.get_write_buffer_size():
        return 0
    try:
        return int(line.send(messages, MORE))
    except OSError:  # It is full, or broken, which the transport finds, too.
        return 0


@lru_cache(MESSAGES_KEPT_MAX)
def _messages(statements: tuple[str, ...]) -> bytes:
    """Return ``Parse``, ``Bind`` and ``Execute`` of the nameless statement, for each."""
    runs = _message(b"B", bytes(8)) + _message(b"E", bytes(5))
    return b"".join(_message(b"P", b"\0%b\0\0\0" % sql.encode()) + runs for sql in statements)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + pack("!i", len(body) + 4) + body
