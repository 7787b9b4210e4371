"""Semantic lock: other sagas keep off what this one has begun to change, until it has ended.

```
    saga 1:  lock seat/12A ── reserve ── pay ── Completed        released in that very commit
    saga 2:           lock seat/12A ✗ ✗ ✗ ········· ✓ reserve     tried again, with backoff
```

A lock is a row of the home store. It is taken in the commit of the step that asks for it and
released in the commit of ``Completed`` or ``Compensated``, so it survives kill -9 and whoever
takes the saga over holds it. It binds those who ask for it, and nobody else.

``Locked`` is a technical failure and counts as an attempt: the step's ``retry`` says how long
it is worth waiting. That also resolves a deadlock: of two sagas that wait for each other the
one whose attempts end first is undone, which releases its locks, and the other goes on.

A child locks in the name of the saga at the top: what it has locked stays locked until that
one has ended, because until then the child may still be undone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from finality.core.errors import Conflict, DefinitionError
from finality.ports.home import Head, HomeTransaction


class Locked(Conflict):
    """Another saga holds the semantic lock and has not ended; trying again later is likely to work."""

    code = "locked"

    def __init__(self, resource: str, holder: LockHolder) -> None:
        super().__init__(
            f"{resource!r} is locked: saga {holder.transaction_id} holds it since "
            f"{holder.since:%Y-%m-%d %H:%M:%S} UTC and has not ended; the step is tried again as its retry "
            f"says, and `finality transaction explain {holder.transaction_id}` tells what that saga waits for"
        )
        self.resource = resource
        self.holder = holder


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The saga that holds a semantic lock, and since when."""

    transaction_id: str
    since: datetime


def lock(local: Any, key: int | None, resource: str) -> None:
    """Take the semantic lock on *resource* for the saga with *key*, and for its parents if it is a child.

    Raises:
        Locked: Another saga holds it.
        DefinitionError: There is no saga, or *local* is not in its home store.
    """
    if key is None:
        raise DefinitionError(
            f"cannot lock {resource!r}: semantic locks belong to sagas and are kept in the home store; "
            "take it in a step that works there"
        )
    home = _home(local, resource)
    if home.lock(_top(home, key).key, resource) is not None:
        holder = lock_holder(local, resource)
        assert holder is not None, f"{resource!r} is held by whoever keeps us from it"
        raise Locked(resource, holder)


def lock_holder(local: Any, resource: str) -> LockHolder | None:
    """Return who holds the semantic lock on *resource*; None if it is free.

    Raises:
        DefinitionError: *local* is not in the home store.
    """
    home = _home(local, resource)
    held = home.lock_holder(resource)
    if held is None:
        return None
    key, since = held
    return LockHolder(home.head(key).id, datetime.fromtimestamp(since, UTC))


def _home(local: Any, resource: str) -> HomeTransaction:
    if not hasattr(local, "lock_holder"):
        raise DefinitionError(
            f"nothing is known of a lock on {resource!r} here: semantic locks are kept in the home store; "
            "ask in a transaction there"
        )
    return cast(HomeTransaction, local)


def _top(home: HomeTransaction, key: int) -> Head:
    head = home.head(key)
    while head.parent is not None:
        head = home.head(head.parent)
    return head
