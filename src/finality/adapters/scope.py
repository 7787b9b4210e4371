"""A transaction that stays open between statements, and what its writer is asked in its name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from finality.adapters.batch import settle_all
from finality.ports.store import StatementRefused, Turn

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Call:
    """Work that the scope wants to have done in its transaction."""

    scope: WriterScope
    work: Callable[[Any], Any]
    reply: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class End:
    """The scope's end: a commit, with a last turn perhaps, or an abort."""

    scope: WriterScope
    turn: Turn | None
    is_commit: bool
    reply: asyncio.Future[None]


class ScopeQueue(Protocol):
    """Where a scope puts what it asks."""

    loop: asyncio.AbstractEventLoop

    def put(self, turn: Any) -> None:
        """Queue a call or an end."""


class WriterScope:
    """Fulfils ``ports.store.Scope``.

    Attributes:
        pending: What it asked before its turn came; the writer's.
        failure: Why nothing more can be asked of it; the writer's.
    """

    def __init__(self, queue: ScopeQueue, name: str) -> None:
        self.name = name
        self.pending: list[Call | End] = []
        self.failure: Exception | None = None
        self._queue = queue

    def call(self, work: Callable[[Any], T]) -> Awaitable[T]:
        """Run *work* with the transaction, which begins at the first call."""
        reply: asyncio.Future[T] = self._queue.loop.create_future()
        self._queue.put(Call(self, work, reply))
        return reply

    def commit(self, turn: Turn | None = None) -> Awaitable[None]:
        """Run *turn* last and commit."""
        return self._end(turn, is_commit=True)

    def abort(self) -> Awaitable[None]:
        """Leave nothing of it."""
        return self._end(None, is_commit=False)

    def _end(self, turn: Turn | None, *, is_commit: bool) -> Awaitable[None]:
        reply: asyncio.Future[None] = self._queue.loop.create_future()
        self._queue.put(End(self, turn, is_commit, reply))
        return reply


class LastTurn:
    """The last turn of a scope that never began: it shares a commit like any other turn."""

    def __init__(self, end: End, turn: Turn) -> None:
        self.name = turn.name
        self.run = turn.run
        self.forget = turn.forget
        self._end = end
        self._turn = turn

    def settle(self, error: BaseException | None) -> None:
        """Tell the turn, then whoever ended the scope."""
        self._turn.settle(error)
        answer(self._end.reply, error)


def answer(reply: asyncio.Future[Any], error: BaseException | None, result: Any = None) -> None:
    """Answer whoever still waits; on the event loop."""
    if reply.done():
        return
    if error is None:
        reply.set_result(result)
    elif isinstance(error, StopIteration):
        # A future refuses this one: it would end the generator that awaits it.
        reply.set_exception(RuntimeError(f"the code raised {error!r}"))
    else:
        reply.set_exception(error)


def refuse(item: Turn | Call | End, error: Exception) -> None:
    """Tell a turn or a scope that nothing was done; on the event loop."""
    match item:
        case Call():
            answer(item.reply, error)
        case End(is_commit=False):
            answer(item.reply, None)  # There is nothing left to abort.
        case End():
            if item.turn is not None:
                settle_all([(item.turn, error)])
            answer(item.reply, error)
        case turn:
            settle_all([(turn, error)])


def ended(scope: WriterScope) -> StatementRefused:
    """Return why nothing more can be asked of *scope*."""
    return StatementRefused(
        f"{scope.name} has ended, so nothing more can run in it; use tx only inside its block"
    )
