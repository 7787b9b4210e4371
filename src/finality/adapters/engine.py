"""What the writer needs of a database: a connection that begins, commits and keeps savepoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Busy(Exception):
    """Another process has the write turn just now."""


class CommitFailed(Exception):
    """One of the turns spoiled the commit, as with a deferred constraint; its reason is the cause.

    Nothing of the transaction is durable, for sure.
    """


class Stale(CommitFailed):
    """What a turn had decided on has changed: nothing is durable, and the same turns shall run again."""


class Engine(Protocol):
    """A database connection that writes, as the writer drives it."""

    transaction: Any
    """What a turn gets to write through."""

    @property
    def is_stale(self) -> bool:
        """Say whether the turns of this transaction have to run again, whatever came of them."""

    def begin(self, *, is_guarded: bool = False) -> None:
        """Take the write turn of all processes.

        Args:
            is_guarded: There will be one turn only; it can be undone whatever it does.

        Raises:
            Busy: Another process has it; ask again soon.
            Exception: The database is out of reach; nothing has begun.
        """

    def wait(self, seconds: float) -> None:
        """Wait after ``begin`` was busy, on the writer's thread; *seconds*, if nothing tells it more."""

    def commit(self) -> Callable[[], None] | None:
        """Make everything durable, or begin to.

        Returns:
            None if everything is durable. Otherwise what waits until it is and raises what this does;
            meanwhile other turns may begin and run, and nothing else.

        Raises:
            CommitFailed: For a turn's sake nothing is.
            Unavailable: For the database's sake nothing is.
            Exception: Nobody knows.
        """

    def keep_house(self) -> None:
        """Do what nobody waits for: outside of a transaction, once its turns have been told."""

    def abort(self) -> None:
        """Leave nothing of the transaction, and give the write turn back, or the wait for it up."""

    def close(self) -> None:
        """End what runs beside the writer; its thread calls this last, when nothing is open."""

    def keep_turn(self) -> None:
        """End the turn that ran last; what it wrote stays in the transaction."""

    def undo_turn(self) -> bool:
        """Undo the turn that ran last; False when only aborting the whole transaction can."""

    def explain(self, problem: BaseException) -> BaseException:
        """Return what the caller shall hear of a turn's *problem*: ours, if it is the database's fault."""
