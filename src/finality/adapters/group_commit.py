"""The write turn of a store, and who has it: group commit for turns, one at a time for scopes.

```
   turns:  a b c d ──▶ begin  a b c d  commit ──▶ settled together      while this flush is in the
   scopes: s       ──▶ begin  s ··· s  commit ──▶ settled alone         disk's hands, e f g gather
```

The writer runs on a thread of its own, or in line on the event loop of a simulation; both run
the same ``_pump``. It knows nothing of SQL: an engine begins, commits and keeps savepoints.

Source: Implementation Techniques for Main Memory Database Systems, D. DeWitt et al., 1984.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from finality.adapters.batch import BATCH_TURNS_MAX, TURN_SECONDS_MAX, Batches, settle_all
from finality.adapters.engine import Busy, CommitFailed, Engine, Stale
from finality.adapters.fork import keep_out_of_children
from finality.adapters.scope import Call, End, LastTurn, WriterScope, answer, ended, refuse
from finality.core.errors import OutcomeUnknown, TransactionAborted, Unavailable
from finality.ports.environment import Environment

log = logging.getLogger("finality.store")

SCOPE_SECONDS_MAX = 5.0  # A scope that takes longer is aborted.
BUSY_SECONDS_MAX = 30.0  # Another process that holds the database longer makes it unavailable.
BUSY_WAIT_SECONDS = 0.0005  # About the time of one fsync, after which the other may be done.
IDLE_SECONDS = 5.0  # How soon the thread sees that its event loop has gone without a word.


class Writer:
    """Runs turns and scopes on an engine, one flush at a time.

    Everything public belongs to the event loop that was running when it was made.
    """

    def __init__(self, engine: Engine, name: str, environment: Environment) -> None:
        self.loop = asyncio.get_running_loop()
        # A simulation's clock may not depend on how fast this machine is.
        self._clock = time.perf_counter if environment.is_threaded else self.loop.time
        self.batches = Batches(engine, name, environment, self._clock, self._tell)
        self._engine = engine
        self._name = name
        self._environment = environment
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._turns = self.batches.turns
        self._scopes: deque[WriterScope] = deque()
        self._holder: WriterScope | None = None
        self._held_since = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self._busy_since: float | None = None
        self._refusal: str | None = None
        self._is_forked = False
        self._is_pumping = False
        self._is_closing = False
        self._closed = self.loop.create_future()
        self._thread: threading.Thread | None = None
        if environment.is_threaded:
            self._thread = threading.Thread(target=self._run, name=f"finality {name}", daemon=True)
            self._thread.start()
        keep_out_of_children(self)

    def scope(self, name: str) -> WriterScope:
        """Return a transaction for ``async`` code, not begun yet."""
        return WriterScope(self, name)

    def put(self, turn: Any) -> None:
        """Queue a turn, a scope's call or its end; None closes the writer."""
        if self._refusal is not None:
            self._turn_away(turn)
            return
        self._queue.put(turn)
        if self._thread is None and not self._is_pumping:
            self._pump_soon(0.0)

    async def close(self) -> None:
        """Settle what was queued and what open scopes still ask, then stop."""
        if self._is_forked:
            return
        if self._refusal is None:
            self.put(None)
        await asyncio.shield(self._closed)
        if self._thread is not None:
            self._thread.join()

    def abandon(self) -> None:
        """Stop as a crash does: what is not committed is gone, and nobody hears anything.

        Only for a writer that runs in line; a thread is stopped with its process.
        """
        assert self._thread is None, "a writer with a thread ends with close, or with its process"
        self._refusal = f"store {self._name} is unavailable: its process has crashed"
        self._is_closing = True
        self.batches.abort()
        self._turns.clear()
        self._scopes.clear()
        self._holder = None
        if self._expiry is not None:
            self._expiry.cancel()
        if not self._closed.done():
            self._closed.set_result(None)

    def keep_out(self) -> None:
        """Refuse everything in a child process that was forked with this writer in it."""
        self._is_forked = True
        self._refusal = (
            f"store {self._name} is unavailable: it was opened before this process was forked; "
            "open it again in this process"
        )

    # ── Two ways to be driven ───────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while not self._is_done and not self.loop.is_closed():
                self._take()
                if self._clock() - self._held_since > SCOPE_SECONDS_MAX:
                    self._expire()
                try:
                    self._pump()
                except Busy:
                    self._wait_busy()
                    self._engine.wait(BUSY_WAIT_SECONDS * (1 + self._environment.chance()))
            self.batches.close()
            self._tell(self._stop, "it is closed")
        except BaseException as problem:  # Nobody would ever be answered, so everybody is, now.
            self._die(problem)

    def _pump_soon(self, seconds: float) -> None:
        if self._is_pumping:
            return
        self._is_pumping = True
        if seconds:
            self.loop.call_later(seconds, self._pump_inline)
        else:
            self.loop.call_soon(self._pump_inline)

    def _pump_inline(self) -> None:
        self._is_pumping = False
        if self._refusal is not None:
            return
        try:
            self._take()
            self._pump()
        except Busy:
            self._wait_busy()
            self._pump_soon(BUSY_WAIT_SECONDS)
            return
        except BaseException:
            self.abandon()
            raise
        if self._is_done:
            self._stop("it is closed")
        elif not self._queue.empty() or (self._holder is None and (self._turns or self._scopes)):
            self._pump_soon(0.0)

    @property
    def _is_done(self) -> bool:
        is_idle = not (self._turns or self._scopes or self._holder or self.batches.is_committing)
        return self._is_closing and is_idle

    def _expire_inline(self) -> None:
        self._expire()
        self._pump_soon(0.0)

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        if self._thread is None:
            self.loop.call_soon(call, *arguments)
            return
        try:
            self.loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            log.debug("store %s: the event loop has gone before its answers", self._name)

    # ── The end, wished for or not ──────────────────────────────────────────────────────────

    def _stop(self, why: str) -> None:
        """Refuse whatever comes from now on; on the event loop."""
        self._refusal = f"store {self._name} is unavailable: {why}; nothing was written"
        while not self._queue.empty():
            self._turn_away(self._queue.get())
        if not self._closed.done():
            self._closed.set_result(None)

    def _turn_away(self, item: Any) -> None:
        error = Unavailable(self._refusal or "")
        if self._is_forked:  # The loop that would answer runs in the other process.
            raise error
        if item is not None:
            self.loop.call_soon(refuse, item, error)

    def _die(self, problem: BaseException) -> None:
        """Answer everybody when the thread itself has failed."""
        log.critical("store %s: its writer failed; restart the node", self._name, exc_info=problem)
        why = f"its writer failed with {problem!r}; restart the node"
        for item in self.batches.in_hand:
            self._tell(refuse, item, OutcomeUnknown(f"store {self._name} is unavailable: {why}"))
        self._let_go(Unavailable(f"store {self._name} is unavailable: {why}"))
        self._refuse_all(f"store {self._name} is unavailable: {why}")
        self._tell(self._stop, why)

    def _refuse_all(self, why: str) -> None:
        for turn in self.batches.drop_all():
            self._tell(refuse, turn, Unavailable(why))
        for scope in self._scopes:
            self._refuse_pending(scope, Unavailable(why))
        self._scopes.clear()

    def _refuse_pending(self, scope: WriterScope, error: Exception) -> None:
        scope.failure = error
        for item in scope.pending:
            self._tell(refuse, item, error)
        scope.pending.clear()

    # ── Sorting what comes in ───────────────────────────────────────────────────────────────

    def _take(self) -> None:
        """Sort what is queued, at most a batch of it; wait for the first if there is nothing to do."""
        try:
            item = self._first()
            while True:
                self._sort(item)
                if len(self._turns) >= BATCH_TURNS_MAX:
                    return
                item = self._queue.get_nowait()
        except Empty:
            return

    def _first(self) -> Any:
        if self._thread is None:
            return self._queue.get_nowait()
        if self._holder is not None:
            left = self._held_since + SCOPE_SECONDS_MAX - self._clock()
            return self._queue.get(timeout=max(left, 0.0))
        if self._turns or self._scopes or self._is_closing or self.batches.is_committing:
            return self._queue.get_nowait()
        return self._queue.get(timeout=IDLE_SECONDS)

    def _sort(self, item: Any) -> None:
        kind = type(item)
        if item is None:
            self._is_closing = True
        elif kind is not Call and kind is not End:
            self._turns.append(item)
        elif item.scope is self._holder:
            self._serve(item)
        elif item.scope.failure is not None:
            self._tell(refuse, item, item.scope.failure)
        else:
            self._line_up(item)

    def _line_up(self, item: Call | End) -> None:
        """Let a scope that has not begun wait for its turn, or end at once."""
        scope = item.scope
        if isinstance(item, End) and (not item.is_commit or not scope.pending):
            self._refuse_pending(scope, ended(scope))
            if item.turn is None:
                self._tell(answer, item.reply, None)
            else:
                self._turns.append(LastTurn(item, item.turn))
            return
        if not scope.pending:
            self._scopes.append(scope)
        scope.pending.append(item)

    def _pump(self) -> None:
        """Run what can be run now. Turns and scopes alternate, so that neither starves."""
        if self.batches.broken is not None:
            self._refuse_all(self.batches.broken)
            return
        if self._holder is None and self._turns:
            self.batches.flush()
            self._busy_since = None
        else:
            self.batches.finish()
        if self._holder is None and self._scopes:
            self.batches.finish()
            self._begin_scope()
            self._busy_since = None

    def _wait_busy(self) -> None:
        now = self._clock()
        self._busy_since = self._busy_since or now
        if now - self._busy_since > BUSY_SECONDS_MAX:
            self._busy_since = None
            self.batches.abort()  # Nobody waits for the write turn any more.
            self._refuse_all(
                f"store {self._name} is unavailable: another process has held its write turn for "
                f"{BUSY_SECONDS_MAX:.0f} seconds; find the process that has the file open"
            )

    # ── Scopes ──────────────────────────────────────────────────────────────────────────────

    def _begin_scope(self) -> None:
        scope = self._scopes[0]
        if all(isinstance(item, Call) and item.reply.cancelled() for item in scope.pending):
            self._scopes.popleft().pending.clear()  # Nobody waits for its first call any more,
            self.batches.abort()  # nor for the write turn.
            return
        try:
            self._engine.begin()
        except Busy:
            raise
        except Exception as problem:  # The database is out of reach, and nothing was written.
            self._refuse_pending(scope, problem)
            self._scopes.popleft()
            return
        self._scopes.popleft()
        self._holder = scope
        self._held_since = self._clock()
        if self._thread is None:
            self._expiry = self.loop.call_later(SCOPE_SECONDS_MAX, self._expire_inline)
        pending, scope.pending = scope.pending, []
        for item in pending:
            self._sort(item)

    def _serve(self, item: Call | End) -> None:
        self.batches.in_hand = [item]
        if isinstance(item, Call):
            self._serve_call(item)
        else:
            self._serve_end(item)
        self.batches.in_hand = []

    def _serve_call(self, item: Call) -> None:
        try:
            result = item.work(self._engine.transaction)
            self._engine.keep_turn()
        except self.batches.turn_errors as problem:  # The statement's own; the scope goes on without it.
            if not self.batches.undo_turn():
                why = f"{item.scope.name} was aborted by its store: {problem}; run it again"
                self._let_go(TransactionAborted(why))
            self._tell(answer, item.reply, self._engine.explain(problem))
        else:
            self._tell(answer, item.reply, None, result)

    def _serve_end(self, item: End) -> None:
        held = self._clock() - self._held_since
        if held > TURN_SECONDS_MAX:
            self.batches.report_slow(item.scope.name, held)
        error = self._committed(item) if item.is_commit else None
        if error is not None:
            error = self._engine.explain(error)
        self._let_go(ended(item.scope))
        if item.turn is not None:
            self._tell(settle_all, [(item.turn, error)])
        self._tell(answer, item.reply, error)

    def _committed(self, item: End) -> BaseException | None:
        """Commit; return why nothing of the scope is durable, if so."""
        error: BaseException | None = None
        if item.turn is not None:
            try:
                item.turn.run(self._engine.transaction)
                self._engine.keep_turn()
            except self.batches.turn_errors as problem:  # The turn's own: nothing of the scope remains.
                error = problem
        if error is None:
            try:
                self.batches.commit()
            except OutcomeUnknown as problem:
                return problem
            except (Stale, Unavailable) as problem:
                error = problem
            except CommitFailed as problem:
                error = problem.__cause__ or problem
        if error is not None and item.turn is not None:
            item.turn.forget()
        return error

    def _let_go(self, failure: Exception) -> None:
        """Abort whatever is not committed, and let the next one have the write turn."""
        if self._holder is not None:
            self._holder.failure = failure
        self._holder = None
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self.batches.abort()

    def _expire(self) -> None:
        holder = self._holder
        if holder is None:
            return
        self.batches.report_slow(holder.name, SCOPE_SECONDS_MAX)
        self._let_go(
            TransactionAborted(
                f"{holder.name} was aborted: it held the write turn of store {self._name} for more than "
                f"{SCOPE_SECONDS_MAX:.0f} seconds; call services before the first statement"
            )
        )
