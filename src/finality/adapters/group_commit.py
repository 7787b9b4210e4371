"""The write turn of a store, and who has it: group commit for turns, one at a time for scopes.

```
   turns:  a b c d ──▶ begin  a b c d  commit ──▶ settled together      while this flush is in the
   scopes: s       ──▶ begin  s ··· s  commit ──▶ settled alone         disk's hands, e f g gather
```

The writer runs on a thread of its own, or in line on the event loop of a simulation; both run
the same ``pump``. It knows nothing of SQL: an engine begins, commits and keeps savepoints.

Source: Implementation Techniques for Main Memory Database Systems, D. DeWitt et al., 1984.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from finality.core.errors import OutcomeUnknown, TransactionAborted, Unavailable
from finality.ports.environment import COMMIT_AFTER, COMMIT_BEFORE, Environment
from finality.ports.store import Turn

T = TypeVar("T")
log = logging.getLogger("finality.store")

BATCH_TURNS_MAX = 1_000  # Bounds how long the first turn of a batch waits for the last.
BATCH_SECONDS_MAX = 0.02  # The same, in time: other processes want their turn, too.
TURN_SECONDS_MAX = 0.1  # A turn that takes longer is reported by name: it holds up everybody.
SCOPE_SECONDS_MAX = 5.0  # A scope that takes longer is aborted.
BUSY_SECONDS_MAX = 30.0  # Another process that holds the database longer makes it unavailable.
BUSY_WAIT_SECONDS = 0.0005  # About the time of one fsync, after which the other may be done.


class Busy(Exception):
    """Another process has the write turn just now."""


class CommitFailed(Exception):
    """The database did not commit, for sure: its reason is the cause."""


class Engine(Protocol):
    """A database connection that writes, as the writer drives it."""

    transaction: Any
    """What a turn gets to write through."""

    def begin(self) -> None:
        """Take the write turn of all processes, or raise ``Busy`` at once."""

    def commit(self) -> None:
        """Make everything durable.

        Raises:
            CommitFailed: For sure nothing is; any other error leaves it unknown.
        """

    def abort(self) -> None:
        """Leave nothing of the transaction."""

    def keep_turn(self) -> None:
        """End the turn that ran last; what it wrote stays in the transaction."""

    def undo_turn(self) -> bool:
        """Undo the turn that ran last; False when only aborting the whole transaction can."""


@dataclass(slots=True)
class _Call:
    scope: WriterScope
    work: Callable[[Any], Any]
    reply: asyncio.Future[Any]


@dataclass(slots=True)
class _End:
    scope: WriterScope
    turn: Turn | None
    is_commit: bool
    reply: asyncio.Future[None]


class WriterScope:
    """A transaction that stays open between statements; fulfils ``ports.store.Scope``."""

    def __init__(self, writer: Writer, name: str) -> None:
        self.name = name
        self.has_begun = False
        self.failure: BaseException | None = None
        self._writer = writer

    def call(self, work: Callable[[Any], T]) -> Awaitable[T]:
        """Run *work* with the transaction, which begins at the first call."""
        reply: asyncio.Future[T] = self._writer.loop.create_future()
        self._writer.put(_Call(self, work, reply))
        return reply

    def commit(self, turn: Turn | None = None) -> Awaitable[None]:
        """Run *turn* last and commit."""
        return self._end(turn, is_commit=True)

    def abort(self) -> Awaitable[None]:
        """Leave nothing of it."""
        return self._end(None, is_commit=False)

    def _end(self, turn: Turn | None, *, is_commit: bool) -> Awaitable[None]:
        reply: asyncio.Future[None] = self._writer.loop.create_future()
        self._writer.put(_End(self, turn, is_commit, reply))
        return reply


class Writer:
    """Runs turns and scopes on an engine, one flush at a time."""

    def __init__(self, engine: Engine, name: str, environment: Environment) -> None:
        self.loop = asyncio.get_running_loop()
        self.slowest: tuple[str, float] = ("", 0.0)
        self._engine = engine
        self._name = name
        self._environment = environment
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._turns: deque[Turn] = deque()
        self._beginnings: deque[_Call | _End] = deque()
        self._holder: WriterScope | None = None
        self._held_since = 0.0
        self._busy_since: float | None = None
        self._broken: BaseException | None = None
        self._is_pumping = False
        self._is_closing = False
        # A simulation's clock may not depend on how fast this machine is.
        self._clock = time.perf_counter if environment.is_threaded else self.loop.time
        self._closed = self.loop.create_future()
        self._thread: threading.Thread | None = None
        if environment.is_threaded:
            self._thread = threading.Thread(target=self._run, name=f"finality {name}", daemon=True)
            self._thread.start()

    def put(self, item: Any) -> None:
        """Queue a turn, a scope's call or its end; None closes the writer."""
        self._queue.put(item)
        if self._thread is None and not self._is_pumping:
            self._is_pumping = True
            self.loop.call_soon(self._pump_inline)

    async def close(self) -> None:
        """Settle what was queued, then stop."""
        self.put(None)
        await self._closed

    # ── Two ways to be driven ───────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._is_done:
            self._take(block=self._holder is not None or not (self._turns or self._beginnings))
            try:
                self._pump()
            except Busy:
                self._wait_busy()
                time.sleep(BUSY_WAIT_SECONDS * (1 + self._environment.chance()))
        self._tell(self._finish_closing)

    def _pump_inline(self) -> None:
        self._is_pumping = False
        self._take(block=False)
        try:
            self._pump()
        except Busy:
            self._wait_busy()
            self._again_inline(BUSY_WAIT_SECONDS)
            return
        if self._is_done:
            self._finish_closing()
        elif self._holder is None and (self._turns or self._beginnings):
            self._again_inline(0.0)

    @property
    def _is_done(self) -> bool:
        return self._is_closing and not (self._turns or self._beginnings or self._holder)

    def _again_inline(self, seconds: float) -> None:
        if not self._is_pumping:
            self._is_pumping = True
            self.loop.call_later(seconds, self._pump_inline)

    def _expire_inline(self, scope: WriterScope) -> None:
        if self._holder is scope:
            self._expire()
            self._again_inline(0.0)

    def _finish_closing(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        if self._thread is None:
            self.loop.call_soon(call, *arguments)
            return
        try:
            self.loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            log.debug("store %s: the event loop has gone before its answers", self._name)

    # ── Sorting what comes in ───────────────────────────────────────────────────────────────

    def _take(self, *, block: bool) -> None:
        """Sort what is queued, at most a batch of it; wait for the first if *block*."""
        try:
            item = self._next(block=block and not self._is_done)
            while True:
                if item is None:
                    self._is_closing = True
                else:
                    self._sort(item)
                if len(self._turns) >= BATCH_TURNS_MAX:
                    return
                item = self._queue.get_nowait()
        except Empty:
            return

    def _next(self, *, block: bool) -> Any:
        if not block:
            return self._queue.get_nowait()
        if self._holder is None:
            return self._queue.get()
        left = self._held_since + SCOPE_SECONDS_MAX - self._clock()
        try:
            return self._queue.get(timeout=max(left, 0.0))
        except Empty:
            self._expire()
            raise

    def _sort(self, item: Any) -> None:
        if not isinstance(item, _Call | _End):
            self._turns.append(item)
        elif item.scope is self._holder:
            self._serve(item)
        elif item.scope.failure is not None:
            self._reply(item.reply, item.scope.failure)
        elif isinstance(item, _End) and not item.is_commit:
            self._reply(item.reply, None)
        else:
            self._beginnings.append(item)

    def _pump(self) -> None:
        """Run what can be run now. Turns and scopes alternate, so that neither starves."""
        if self._broken is not None:
            self._refuse_all(self._broken)
            return
        if self._holder is None and self._turns:
            batch = [self._turns.popleft() for _ in range(min(len(self._turns), BATCH_TURNS_MAX))]
            try:
                self._flush(batch)
            except Busy:
                self._turns.extendleft(reversed(batch))
                raise
        if self._holder is None and self._beginnings:
            self._begin()
            first = self._beginnings.popleft()
            self._holder = first.scope
            self._held_since = self._clock()
            if self._thread is None:
                self.loop.call_later(SCOPE_SECONDS_MAX, self._expire_inline, first.scope)
            self._serve(first)

    def _wait_busy(self) -> None:
        now = self._clock()
        if self._busy_since is None:
            self._busy_since = now
        elif now - self._busy_since > BUSY_SECONDS_MAX:
            self._busy_since = None
            self._refuse_all(
                Unavailable(
                    f"store {self._name} is unavailable: another process has held its write turn for "
                    f"{BUSY_SECONDS_MAX:.0f} seconds; find the process that has the file open"
                )
            )

    def _refuse_all(self, error: BaseException) -> None:
        outcomes: list[tuple[Turn, BaseException | None]] = [(turn, error) for turn in self._turns]
        self._turns.clear()
        if outcomes:
            self._tell(_settle_all, outcomes)
        while self._beginnings:
            self._reply(self._beginnings.popleft().reply, error)

    # ── Turns ───────────────────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        self._engine.begin()
        self._busy_since = None

    def _flush(self, batch: list[Turn]) -> None:
        engine = self._engine
        self._begin()
        outcomes: list[tuple[Turn, BaseException | None]] = []
        begun = last = self._clock()
        for place, turn in enumerate(batch):
            try:
                turn.run(engine.transaction)
                engine.keep_turn()
                error = None
            except Exception as problem:  # The turn's own; its settle hears of it.
                error = problem
                if not engine.undo_turn():
                    self._flush_one_by_one(batch)
                    return
            outcomes.append((turn, error))
            now = self._clock()
            if now - last > TURN_SECONDS_MAX:
                self._report_slow(turn.name, now - last)
            last = now
            if now - begun > BATCH_SECONDS_MAX:
                self._turns.extendleft(reversed(batch[place + 1 :]))
                break
        try:
            self._commit()
        except CommitFailed:
            self._flush_one_by_one([turn for turn, _ in outcomes])
            return
        except Exception as problem:  # Nobody knows whether it is durable, so nothing may follow.
            self._break(problem)
            outcomes = [(turn, self._broken) for turn, _ in outcomes]
        self._tell(_settle_all, outcomes)

    def _flush_one_by_one(self, batch: list[Turn]) -> None:
        """Run each turn in a transaction of its own: one of them spoils the common one."""
        self._engine.abort()
        for turn in reversed(batch):
            turn.forget()
        outcomes: list[tuple[Turn, BaseException | None]] = []
        for turn in batch:
            error: BaseException | None = self._broken
            if error is None:
                error = self._run_alone(turn)
            outcomes.append((turn, error))
        self._tell(_settle_all, outcomes)

    def _run_alone(self, turn: Turn) -> BaseException | None:
        while True:
            try:
                self._begin()
                break
            except Busy:
                time.sleep(BUSY_WAIT_SECONDS)
        try:
            turn.run(self._engine.transaction)
            self._engine.keep_turn()
            self._commit()
        except CommitFailed as problem:
            self._engine.abort()
            turn.forget()
            return problem.__cause__ or problem
        except Exception as problem:  # The turn's own; its settle hears of it.
            self._engine.abort()
            turn.forget()
            return problem
        return None

    def _commit(self) -> None:
        self._environment.reach(COMMIT_BEFORE)
        self._engine.commit()
        self._environment.reach(COMMIT_AFTER)

    def _break(self, problem: Exception) -> None:
        log.critical("store %s failed while it committed: %s; restart the node", self._name, problem)
        self._broken = OutcomeUnknown(
            f"store {self._name} failed while it committed: {problem}; "
            "restart the node, which reads what is durable"
        )
        self._broken.__cause__ = problem

    def _report_slow(self, name: str, seconds: float) -> None:
        if seconds > self.slowest[1]:
            self.slowest = (name, seconds)
        log.warning(
            "%s held the write turn of store %s for %.3f s: everybody else waited; "
            "take slow work out of the transaction",
            name, self._name, seconds,
        )  # fmt: skip

    # ── Scopes ──────────────────────────────────────────────────────────────────────────────

    def _serve(self, item: _Call | _End) -> None:
        engine = self._engine
        if isinstance(item, _Call):
            try:
                answer = item.work(engine.transaction)
                engine.keep_turn()
            except Exception as problem:  # The statement's own; the scope goes on without it.
                if not engine.undo_turn():
                    self._let_go(TransactionAborted(f"{item.scope.name} was aborted by its store: {problem}"))
                self._reply(item.reply, problem)
            else:
                self._reply(item.reply, None, answer)
            return
        held = self._clock() - self._held_since
        if held > TURN_SECONDS_MAX:
            self._report_slow(item.scope.name, held)
        if not item.is_commit:
            self._let_go(None)
            self._reply(item.reply, None)
            return
        error = self._commit_scope(item)
        if item.turn is not None:
            self._tell(_settle_all, [(item.turn, error)])
        self._reply(item.reply, error)

    def _commit_scope(self, item: _End) -> BaseException | None:
        try:
            if item.turn is not None:
                item.turn.run(self._engine.transaction)
                self._engine.keep_turn()
            self._commit()
        except CommitFailed as problem:
            self._abort_scope(item)
            return problem.__cause__ or problem
        except Exception as problem:  # The turn's own: nothing of the scope remains.
            self._abort_scope(item)
            return problem
        self._holder = None
        return None

    def _abort_scope(self, item: _End) -> None:
        self._let_go(None)
        if item.turn is not None:
            item.turn.forget()

    def _let_go(self, failure: BaseException | None) -> None:
        if self._holder is not None:
            self._holder.failure = failure
        self._holder = None
        self._engine.abort()

    def _expire(self) -> None:
        holder = self._holder
        if holder is None:
            return
        self._report_slow(holder.name, SCOPE_SECONDS_MAX)
        self._let_go(
            TransactionAborted(
                f"{holder.name} was aborted: it held the write turn of store {self._name} for more than "
                f"{SCOPE_SECONDS_MAX:.0f} seconds; call services before the first statement"
            )
        )

    def _reply(
        self, reply: asyncio.Future[Any], error: BaseException | None, answer: Any = None
    ) -> None:
        self._tell(_answer, reply, error, answer)


def _settle_all(outcomes: list[tuple[Turn, BaseException | None]]) -> None:
    for turn, error in outcomes:
        turn.settle(error)


def _answer(reply: asyncio.Future[Any], error: BaseException | None, answer: Any) -> None:
    if reply.done():
        return
    if error is not None:
        reply.set_exception(error)
    else:
        reply.set_result(answer)
