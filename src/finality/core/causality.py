"""Which transaction came of which: correlation and causation.

```
    trip-42                      causation: what a transaction came of directly
    ├── trip-42/insurance        correlation: the first cause of all, the same for the whole tree
    │   └── trip-42/insurance/mail
    └── trip-42/visa
```

Source: Enterprise Integration Patterns, G. Hohpe and B. Woolf, 2003 (Correlation Identifier).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from finality.core.ids import TRANSACTION_PREFIX, TransactionId
from finality.core.protocol import Recorded
from finality.core.saga.events import Started


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a transaction is there: *correlation* is its first cause, *causation* the direct one."""

    correlation: str
    causation: str

    def of_child(self, transaction: TransactionId) -> Cause:
        """Return the cause of what *transaction*, which has this cause, brings about."""
        return Cause(self.correlation, transaction)


def first_cause(transaction: TransactionId) -> Cause:
    """Return the cause of a transaction that nobody else's brought about: it is its own."""
    return Cause(transaction, transaction)


@dataclass(frozen=True, slots=True)
class Tree:
    """A transaction and what came of it, in the order in which the children began."""

    transaction: TransactionId
    saga: str
    cause: Cause
    step: str | None = None
    children: tuple[Tree, ...] = ()

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Tree]]:
        """Yield it and all below it, each with its depth, a parent before its children."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


def tree_of(recorded: Iterable[Recorded]) -> tuple[Tree, ...]:
    """Return the trees that the Started events of *recorded* make; the other events do not matter.

    A child whose parent is not among them is a root of its own, so a part of the journal will do.
    """
    begun: dict[TransactionId, Started] = {}
    for item in recorded:
        if isinstance(item.event, Started):
            begun.setdefault(TransactionId(item.stream.removeprefix(TRANSACTION_PREFIX)), item.event)
    children: dict[TransactionId | None, list[TransactionId]] = {}
    for transaction, started in begun.items():
        parent = started.parent if started.parent in begun else None
        children.setdefault(parent, []).append(transaction)

    def tree(transaction: TransactionId, cause: Cause) -> Tree:
        below = cause.of_child(transaction)
        below_it = tuple(tree(child, below) for child in children.get(transaction, ()))
        started = begun[transaction]
        return Tree(transaction, started.saga, cause, started.parent_step, below_it)

    return tuple(tree(root, first_cause(root)) for root in children.get(None, ()))
