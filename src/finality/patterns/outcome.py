"""What became of a saga, and the handle by which one asks."""

from __future__ import annotations

from collections.abc import Coroutine
from enum import Enum
from typing import Any, Protocol

from finality.core.errors import Compensated
from finality.core.explain import Explanation
from finality.core.ids import TransactionId
from finality.core.value import value


class OutcomeStatus(Enum):
    """How a saga ended."""

    COMPLETED = "completed"
    COMPENSATED = "compensated"


COMPLETED = OutcomeStatus.COMPLETED
COMPENSATED = OutcomeStatus.COMPENSATED


@value
class Outcome:
    """How a saga ended.

    Attributes:
        result: What it yielded, decoded; None when it was compensated.
        failed_step: The step that failed or refused, if one did.
        because: Why it was undone; empty when it completed.
    """

    id: TransactionId
    status: OutcomeStatus
    result: Any = None
    failed_step: str | None = None
    because: str = ""

    def __eq__(self, other: object) -> bool:
        """Compare with a status, too: ``outcome == finality.COMPLETED``."""
        if isinstance(other, OutcomeStatus):
            return self.status is other
        if not isinstance(other, Outcome):
            return NotImplemented
        return (self.id, self.status, self.result) == (other.id, other.status, other.result)

    def __hash__(self) -> int:
        return hash((self.id, self.status))

    def raise_if_compensated(self) -> Any:
        """Return the result.

        Raises:
            Compensated: The saga was undone.
        """
        if self.status is COMPLETED:
            return self.result
        raise Compensated(
            f"saga {self.id} was undone: {self.because}; nothing of it remains, "
            "start it anew under another id",
            transaction_id=self.id,
            failed_step=self.failed_step,
            because=self.because,
        )


class Asks(Protocol):
    """What a handle needs of its node."""

    async def outcome(self, id: str) -> Outcome:
        """Wait for the outcome."""
        ...

    async def signal(self, id: str, name: str, value: Any = None, *, by: str = "operator") -> bool:
        """Send a named value."""
        ...

    async def cancel(self, id: str, *, because: str, by: str = "operator") -> bool:
        """Undo it."""
        ...

    async def explain(self, id: str) -> Explanation:
        """Say in sentences what happened."""
        ...


@value
class Handle:
    """A saga that was started; ask it what became of the saga, now or later."""

    id: TransactionId
    node: Asks

    def outcome(self) -> Coroutine[Any, Any, Outcome]:
        """Wait until the saga has ended, whichever node drives it, and return how.

        Raises:
            Stuck: It cannot go on alone; a person is needed.
        """
        return self.node.outcome(self.id)  # One coroutine inside another would be woken twice.

    async def result(self) -> Any:
        """Wait until the saga has ended and return what it yielded.

        Raises:
            Compensated: It was undone.
            Stuck: It cannot go on alone; a person is needed.
        """
        return (await self.outcome()).raise_if_compensated()

    async def signal(self, name: str, value: Any = None, *, by: str = "operator") -> bool:
        """Send the saga a named value; False when it has that signal already, or has ended."""
        return await self.node.signal(self.id, name, value, by=by)

    async def cancel(self, *, because: str, by: str = "operator") -> bool:
        """Undo the saga; False when it is too late."""
        return await self.node.cancel(self.id, because=because, by=by)

    async def explain(self) -> Explanation:
        """Say in sentences what happened, what it waits for, since when, and what you can do."""
        return await self.node.explain(self.id)
