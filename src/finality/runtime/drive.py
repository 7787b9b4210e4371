"""One open saga in a node's hands: what is durable of it, and what its last turn made of it.

```
   loop thread:    state, commands ◀────── settle ───────┐   acts only on what is durable
   writer thread:  tip ── advance ──▶ append ── commit ──┘   decides on what the last turn left
```

Several branches of one saga may be in the same flush. Each decides on the *tip*, so that they
do not conflict; if the flush fails, ``forget`` puts the tip back. The tip knows what the head says,
too, until somebody else may have set it, so that an append which would not change it leaves it alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from finality.core.errors import Fenced, VersionConflict
from finality.core.ids import NodeId, TransactionId, Version
from finality.core.saga import SagaState, Summary, advance, evolve, outstanding, summary_of
from finality.core.saga import events as e
from finality.ports.home import HomeTransaction
from finality.runtime.definition import Definition

Commands = tuple[e.SagaCommand, ...]
Tip = tuple[SagaState, Version, Summary | None]
"""The state, where the stream is, and what its head says; None: nobody knows, so it is said anew."""

ON_CHILDREN = frozenset({e.AwaitChild, e.UndoChild})


class Drive:
    """A saga that this node drives.

    Attributes:
        saga: The instance of the user's class, decoded from the input.
        state: What is durable; the loop thread's.
        commands: What ``state`` still owes; the loop thread's.
        busy: The branches that are being asked.
        told: The children that were told to undo themselves.
        is_held: Its node drains, so nothing more is begun.
        is_claimed: Its head says that it is in hand, so it must be set before we let go.
        is_lost: Another node has taken it over, so nothing more is written.
    """

    __slots__ = (
        "busy", "commands", "definition", "id", "is_claimed", "is_held", "is_lost", "items", "key", "node",
        "parent", "saga", "secrets", "state", "timer", "tip", "told", "version",
    )  # fmt: skip

    def __init__(
        self,
        key: int,
        id: TransactionId,
        definition: Definition,
        saga: Any,
        state: SagaState,
        version: Version,
        *,
        node: NodeId,
        parent: int | None = None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.key = key
        self.id = id
        self.definition = definition
        self.saga = saga
        self.state = state
        self.version = version
        self.commands: Commands = outstanding(state)
        self.tip: Tip = (state, version, None)
        self.node = node
        self.parent = parent
        self.secrets = secrets
        self.busy: set[str] = set()
        self.told: set[str] = set()
        self.is_lost = False
        self.is_held = False
        self.is_claimed = False
        self.timer: Any = None
        self.items: dict[str, list[Any]] = {}

    def record(self, tx: HomeTransaction, signal: e.SagaSignal) -> Commands | None:
        """Append what *signal* makes true; on the writer's thread.

        Returns:
            What is outstanding then, or None if the signal makes nothing true.

        Raises:
            Fenced: Another node has taken the saga over.
        """
        while True:
            state, version, said = self.tip
            events, after = advance(state, signal)
            if not events:
                return None
            commands = outstanding(after)
            summary = summary_of(after, commands)
            if summary.wake_at is not None and _awaits_child(commands):
                # Its end may have called this saga already, and that call is answered in memory
                # alone: whoever takes the saga over must find it in hand, not asleep.
                summary = replace(summary, wake_at=None)
            # Most are known by identity, and those that differ differ in their status.
            is_said = summary is said or (
                said is not None and summary.status == said.status and summary == said
            )
            try:
                tx.append(self.key, events, expected=version, summary=None if is_said else summary)
            except VersionConflict:
                if not self.catch_up(tx):
                    raise  # The stream is not as far as it was, so its store has lost a commit.
                continue
            self.tip = (after, Version(version + len(events)), summary)
            if summary.has_ended and self.parent is not None:
                tx.wake(self.parent)
            return commands

    def catch_up(self, tx: HomeTransaction) -> bool:
        """Fold what others have appended; return whether there was anything.

        Raises:
            Fenced: Another node has taken the saga over.
        """
        state, version, said = self.tip
        news = tx.read(self.key, after=version)
        for recorded in news:
            if isinstance(recorded.event, e.TakenOver) and recorded.event.by != self.node:
                raise Fenced(
                    f"saga {self.id} is driven by node {recorded.event.by} now: this node's lease had "
                    "ended; nothing to do, the other one finishes it",
                    transaction_id=self.id,
                )
            state = evolve(state, recorded.event)
        self.tip = (state, Version(version + len(news)), None if news else said)
        return bool(news)

    def settle(self, tip: Tip, commands: Commands) -> None:
        """Take over what a turn has made durable; on the loop thread."""
        self.state, self.version, _ = tip
        self.commands = commands
        self.is_claimed = bool(commands) and _awaits_child(commands)


def _awaits_child(commands: Commands) -> bool:
    return not ON_CHILDREN.isdisjoint(map(type, commands))
