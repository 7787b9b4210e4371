"""A FastStream middleware: the subscriber runs in a transaction that remembers the event.

```
   consumed ──▶ begin ── known? ──yes──▶ acknowledge, call nobody
                           └──no──▶ subscriber(tx) ──▶ commit ──▶ acknowledge
```
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from faststream import BaseMiddleware
from faststream.exceptions import AckMessage
from faststream.message import StreamMessage

from finality.core.errors import DefinitionError

PREFIXES = ("ce-", "ce_", "cloudEvents:", "cloudEvents_")  # How brokers write attributes of CloudEvents.
TX = "tx"  # What a subscriber calls it: tx: finality.Tx = Context("tx").

Once = Callable[[str, str], AbstractAsyncContextManager[Any]]
"""Opens a transaction for (source, id); gives None instead if that event has taken effect."""


class InboxMiddleware(BaseMiddleware[Any, Any]):
    """Calls the subscriber once for each event, in a transaction."""

    def __init__(self, raw: Any, /, *, context: Any, once: Once) -> None:
        super().__init__(raw, context=context)
        self._once = once

    async def consume_scope(self, call_next: Callable[[Any], Any], msg: StreamMessage[Any]) -> Any:
        """Run what is within in a transaction, unless the event is known.

        Raises:
            AckMessage: It is known; FastStream acknowledges it.
            DefinitionError: It has nothing by which it could be known.
        """
        source, id = identity_of(msg)
        async with self._once(source, id) as tx:
            if tx is not None:
                with self.context.scope(TX, tx):
                    return await call_next(msg)
        raise AckMessage


def identity_of(msg: StreamMessage[Any]) -> tuple[str, str]:
    """Return the source and the id of an event: CloudEvents', or the one that its publisher gave it.

    Raises:
        DefinitionError: It has none: FastStream makes one up then, another at each delivery.
    """
    for prefix in PREFIXES:
        if f"{prefix}id" in msg.headers:
            return str(msg.headers.get(f"{prefix}source", "")), str(msg.headers[f"{prefix}id"])
    id = msg.headers.get("message_id") or getattr(msg.raw_message, "message_id", None)
    if not id:
        raise DefinitionError(
            "an event has no id by which the inbox could know it again: publish it with attributes of "
            "CloudEvents, or with message_id="
        )
    return "", str(id)
