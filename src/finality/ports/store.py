"""A store: a database in which user code runs local transactions, taken in turns.

Whatever is written is a *turn*. Turns that wait together share one commit (group commit); each
has its own savepoint, so that one that fails never hurts its neighbours.

```
    submit(a), submit(b), submit(c) ──▶ begin · a.run · b.run ✗ · c.run · commit ──▶ a, b, c .settle
```
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from finality.core.errors import FinalityError
from finality.core.ids import TransactionId
from finality.ports.events import EventReads, EventTransaction

T = TypeVar("T")

JOINED = "joined"  # The operation of a witness that a transaction of the user's own has left.
HOLD = "hold"  # The operation of a branch that waits for a decision; few stand at a time.


class StatementRefused(FinalityError):
    """A statement would break what its transaction promises; it had no effect."""

    code = "statement_refused"


class Rows(list[tuple[Any, ...]]):
    """The rows of a statement, with two shortcuts."""

    def one(self) -> tuple[Any, ...]:
        """Return the only row.

        Raises:
            LookupError: There is none, or there are several.
        """
        if len(self) != 1:
            raise LookupError(f"expected one row and found {len(self)}: check the WHERE clause")
        return self[0]

    def scalar(self) -> Any:
        """Return the first column of the first row; None if there is no row."""
        return self[0][0] if self else None


class Hold(NamedTuple):
    """A testimony of the operation ``HOLD``; retracted when the branch has been finished."""

    transaction: TransactionId
    branch: str
    answer: str
    at: float


class LocalTransaction(EventTransaction, Protocol):
    """What a turn can do. Nothing of it remains if the turn fails.

    Attributes:
        at: When its commit began, in seconds since the Unix epoch.
    """

    at: float

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement of the user's own.

        Raises:
            StatementRefused: It would end the transaction or write a table of ours.
        """
        ...

    def undo(self) -> None:
        """Take back all that this turn has written so far; it may go on and write again."""
        ...

    def witness(self, transaction: TransactionId, branch: str, operation: str) -> str | None:
        """Return what *operation* answered when the branch ran it here; None if it never did."""
        ...

    def testify(self, transaction: TransactionId, branch: str, operation: str, answer: str) -> None:
        """Record that the branch ran *operation* here and what it answered."""
        ...

    def retract(self, transaction: TransactionId, branch: str, operation: str) -> None:
        """Take back what the branch testified of *operation*, if it did: it is over."""
        ...

    def holds(self) -> list[Hold]:
        """Return every testimony of the operation ``HOLD``, oldest first: what waits for a decision."""
        ...


class Turn(Protocol):
    """One unit of writing.

    It may have a method ``following() -> Turn | None`` as well: asked on the store's own thread once it
    is durable, it returns what is put in line at once. A turn that returns itself has more to write, and
    hears that it is settled when all of it is; one that returns another may not hear it before that one
    has run.
    """

    @property
    def name(self) -> str:
        """Return who holds the store while it runs, for the report about slow ones."""
        ...

    def run(self, tx: Any) -> None:
        """Write through *tx*; on the store's own thread, quickly. An error undoes this turn alone."""
        ...

    def forget(self) -> None:
        """Take back what ``run`` changed in memory: nothing of it is durable; it may run again.

        Called once for each ``run`` that is undone, its own failure included, latest first; never
        for a turn that did not run.
        """
        ...

    def settle(self, error: BaseException | None) -> None:
        """Hear that the turn is durable, or that nothing of it is; on the node's event loop."""
        ...


class Scope(Protocol):
    """A local transaction that stays open between statements, for ``async`` code.

    The store's write turn is taken at the first call and held until the end, for at most
    ``SCOPE_SECONDS_MAX``; then the scope is aborted.
    """

    def call(self, work: Callable[[Any], T]) -> Awaitable[T]:
        """Run *work* with the transaction."""
        ...

    def commit(self, turn: Turn | None = None) -> Awaitable[None]:
        """Run *turn* last and commit; durable when it returns."""
        ...

    def abort(self) -> Awaitable[None]:
        """Leave nothing of it; does nothing when it never began."""
        ...


class Store(EventReads, Protocol):
    """A database of the user's, with our witness and outbox beside the user's tables."""

    name: str

    @property
    def slowest(self) -> tuple[str, float]:
        """Return who held the write turn longest since the store was opened, and for how many seconds.

        Only what held it longer than ``TURN_SECONDS_MAX`` counts; it was reported by name, too.
        """
        ...

    def submit(self, turn: Turn) -> None:
        """Queue *turn*, on the event loop; its ``settle`` says what became of it. Never blocks.

        Raises:
            Unavailable: This process was forked from the one that opened the store.
        """
        ...

    def scope(self, name: str) -> Scope:
        """Return a transaction for ``async`` code, not begun yet."""
        ...

    async def query(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Read what is committed, outside of any transaction, on the event loop.

        Raises:
            StatementRefused: It would begin a transaction, change a setting or write.
        """
        ...

    async def changed(self) -> bool:
        """Say whether anybody has committed since the last call; costs little."""
        ...

    def on_news(self, told: Callable[[], None]) -> None:
        """Call *told*, on the event loop, when somebody, of any process, commits or is about to.

        Once, and again only after ``changed`` was asked; of commits in between it need not say anything.
        """
        ...

    @property
    def quiet_seconds(self) -> float:
        """Return for how long ``changed`` need not be asked as long as nobody is told; 0: nobody is."""
        ...

    def on_publish(self, told: Callable[[], None]) -> None:
        """Call *told*, on the event loop, after each commit of this process that has published."""
        ...

    async def close(self) -> None:
        """Settle what was submitted, then let go of the database."""
        ...
