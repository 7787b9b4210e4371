"""What a synchronous node gives for a saga that was started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finality.core.explain import Explanation
from finality.core.ids import TransactionId
from finality.patterns.outcome import Outcome

if TYPE_CHECKING:
    from finality.node.sync_node import Node


@dataclass(frozen=True, slots=True)
class SyncHandle:
    """A saga that was started; ask it what became of the saga, now or later."""

    id: TransactionId
    node: Node

    def outcome(self, *, timeout: float | None = None) -> Outcome:
        """Wait until the saga has ended and return how; for *timeout* seconds at most."""
        return self.node.outcome(self.id, timeout=timeout)

    def result(self, *, timeout: float | None = None) -> Any:
        """Wait until the saga has ended and return what it yielded, or raise ``Compensated``."""
        return self.outcome(timeout=timeout).raise_if_compensated()

    def signal(self, name: str, value: Any = None, *, by: str = "operator") -> bool:
        """Send the saga a named value; False when it has that signal already, or has ended."""
        return self.node.signal(self.id, name, value, by=by)

    def cancel(self, *, because: str, by: str = "operator") -> bool:
        """Undo the saga; False when it is too late."""
        return self.node.cancel(self.id, because=because, by=by)

    def explain(self) -> Explanation:
        """Say in sentences what happened, what it waits for, since when, and what you can do."""
        return self.node.explain(self.id)
