"""The turns that wait for a commit, and the commits that they share.

A turn that spoils the commit for all is found and run alone, and its neighbours run again:

| what a turn does                         | what becomes of its batch                                |
| ---------------------------------------- | -------------------------------------------------------- |
| raises, and its savepoint undoes it      | goes on; the turn hears of it                            |
| raises, and only an abort undoes it      | runs again, with that turn in a commit of its own        |
| breaks a deferred rule found at commit   | runs again in halves, until that turn is alone           |
| cannot be committed, as on a full disk   | hears that nothing was written                           |
| an error on commit of any other kind     | hears that nobody knows; nothing more is written         |

Where an engine can, the next batch runs while the last one is in the database's hands:

```
    engine      run A │ run B ────── │ run C ──────          B is sent once A is durable; had A
    database          │ commit A ─── │ commit B ───          failed, both would have run again
```
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from finality.adapters.engine import Busy, CommitFailed, Engine, Stale
from finality.core.errors import OutcomeUnknown, Unavailable
from finality.ports.environment import COMMIT_AFTER, COMMIT_BEFORE, Environment
from finality.ports.store import Turn

log = logging.getLogger("finality.store")

BATCH_TURNS_MAX = 1_000  # Bounds how long the first turn of a batch waits for the last.
SHARE_TURNS_MIN = 64  # Fewer are better committed together than while others run.
BATCH_SECONDS_MAX = 0.02  # The same, in time: other processes want their turn, too.
TURN_SECONDS_MAX = 0.1  # A turn that takes longer is reported by name: it holds up everybody.

T = TypeVar("T")
Outcome = tuple[Turn, BaseException | None]


class Spoiled(Exception):
    """The turn that ran last failed in a way that only aborting everything undoes."""


class Batches:
    """Runs turns in shared commits on an engine.

    Attributes:
        turns: Those that wait.
        in_hand: Those that must hear of it if the writer itself fails.
        broken: Why nothing can be written any more, once that is so.
        turn_errors: What is a turn's own failure; anything else is the writer's.
        slowest: The turn that held the store longest, and for how many seconds.
        on_publish: Called on the event loop after each commit that has put an event into the outbox.
        on_commit: Called there after each commit.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        environment: Environment,
        clock: Callable[[], float],
        tell: Callable[..., None],
    ) -> None:
        self.turns: deque[Turn] = deque()
        self.in_hand: list[Any] = []
        self.broken: str | None = None
        # A thread survives what a turn raises; in line it is somebody's Ctrl-C, or a planted crash.
        self.turn_errors: type[BaseException] = BaseException if environment.is_threaded else Exception
        self.slowest: tuple[str, float] = ("", 0.0)
        self.on_publish: Callable[[], None] | None = None
        self.on_commit: Callable[[], None] | None = None
        self._engine = engine
        self._name = name
        self._reach = environment.reach
        self._clock = clock
        self._tell = tell
        self._size_max = BATCH_TURNS_MAX
        self._spoilers: set[int] = set()
        self._waits: Callable[[], None] | None = None  # For the end of the commit under way.
        self._sent: list[Outcome] = []  # What that commits.
        self._overlaps = False
        self._unheard: list[Outcome] = []
        self._has_published = False

    @property
    def is_committing(self) -> bool:
        """Say whether a commit is under way, so that ``finish`` has something to wait for."""
        return self._waits is not None

    def flush(self) -> None:
        """Run a batch in one transaction, commit it, and tell each turn what became of it.

        Raises:
            Busy: Another process has the write turn; nothing has changed.
        """
        batch = self._next()
        try:
            self._engine.begin(is_guarded=id(batch[0]) in self._spoilers)
        except Busy:
            self.turns.extendleft(reversed(batch))
            self.tell()
            raise
        except Exception as error:  # The database is out of reach, and nothing was written.
            self._settle([(turn, error) for turn in batch])
            return
        self.in_hand = [*batch, *(turn for turn, _ in self._sent)]
        outcomes: list[Outcome] = []
        spoiled = self._ran(batch, outcomes)
        if self._waits is not None:
            sent, failure = self._sent, self._failure()
            if failure is not None:  # What these have been decided on is not so.
                self.abort()
                _forget(outcomes)
                self.turns.extendleft(reversed(batch))
            self._conclude(sent, failure)
            if failure is not None:
                return
            self.in_hand = batch
        if isinstance(spoiled, Spoiled):
            self._separate(batch, outcomes)
            return
        self.turns.extendleft(reversed(batch[len(outcomes) :]))
        problem = spoiled or self._failure(self._begin_commit)
        if self._waits is None:
            self._conclude(outcomes, problem)
            self._engine.keep_house()
        else:
            self._sent, self._overlaps = outcomes, True

    def finish(self) -> None:
        """Wait for the commit that is under way, if one is, and tell its turns what became of it."""
        is_committing = self.is_committing
        if is_committing:
            sent = self._sent
            self._conclude(sent, self._failure())
        self.tell()
        if not is_committing:
            self._engine.keep_house()  # After a scope's commit.

    def _next(self) -> list[Turn]:
        """Take the turns of the next commit from the queue."""
        turns = self.turns
        size = min(len(turns), self._size_max)
        if self._overlaps:  # Half of all, so that the database and we are both at work.
            size = min(size, max(SHARE_TURNS_MIN, (len(turns) + len(self._sent) + 1) // 2))
        if self._spoilers:  # One that is under way waits no more.
            places = [place for place, turn in enumerate(turns) if id(turn) in self._spoilers]
            size = min([size, *(max(place, 1) for place in places)])
        return [turns.popleft() for _ in range(size)]

    def _failure(self, commit: Callable[[], None] | None = None) -> Exception | None:
        """Return why a commit has failed, by default the one that is under way; None if it has not."""
        self._sent = []
        try:
            (commit or self._end_commit)()
        except (CommitFailed, Unavailable, OutcomeUnknown) as problem:
            return problem
        return None

    def _conclude(self, outcomes: list[Outcome], problem: Exception | None) -> None:
        """Tell turns that their commit has worked, or do what its *problem* takes."""
        match problem:
            case None:
                self._size_max = min(self._size_max * 2, BATCH_TURNS_MAX)
                self._settle(outcomes)
            case Stale():
                self.abort()
                _forget(outcomes)
                self.turns.extendleft(turn for turn, _ in reversed(outcomes))
            case CommitFailed():
                self._halve(outcomes, problem.__cause__ or problem)
            case Unavailable():
                self.abort()
                _forget(outcomes)
                self._settle([(turn, error or problem) for turn, error in outcomes])
            case _:
                self._settle([(turn, error or problem) for turn, error in outcomes])

    def _ran(self, batch: list[Turn], outcomes: list[Outcome]) -> Spoiled | Stale | None:
        """Run as many turns as there is time for; return why they cannot be committed, if so."""
        try:
            self._run(batch, outcomes)
        except (Spoiled, Stale) as problem:
            return problem
        return None

    def _run(self, batch: list[Turn], outcomes: list[Outcome]) -> None:
        engine, clock = self._engine, self._clock
        transaction, keep_turn = engine.transaction, engine.keep_turn
        begun = last = clock()
        for turn in batch:
            error: BaseException | None = None
            try:
                turn.run(transaction)
                keep_turn()
            except self.turn_errors as problem:  # The turn's own; its settle hears of it.
                error = problem
                turn.forget()
            outcomes.append((turn, error))
            if engine.is_stale:
                raise Stale
            if error is not None and not self.undo_turn():
                raise Spoiled
            now = clock()
            if now - last > TURN_SECONDS_MAX:
                self.report_slow(turn.name, now - last)
            last = now
            if now - begun > BATCH_SECONDS_MAX:
                return

    def _separate(self, batch: list[Turn], outcomes: list[Outcome]) -> None:
        """Run the batch again, and the turn that spoiled it in a commit of its own."""
        self.abort()
        _forget(outcomes)
        spoiler, error = outcomes[-1]
        if id(spoiler) in self._spoilers:
            self._settle([(spoiler, error)])
            return
        self._spoilers.add(id(spoiler))
        self.turns.extendleft(reversed(batch))

    def _halve(self, outcomes: list[Outcome], problem: BaseException) -> None:
        """Run the batch again in halves, so that the turn that spoils the commit ends up alone."""
        self.abort()
        _forget(outcomes)
        if len(outcomes) == 1:
            self._settle([(outcomes[0][0], outcomes[0][1] or problem)])
            return
        self._size_max = len(outcomes) // 2
        self.turns.extendleft(turn for turn, _ in reversed(outcomes))

    def _settle(self, outcomes: list[Outcome]) -> None:
        self.in_hand = []
        if self._spoilers:
            self._spoilers.difference_update(id(turn) for turn, _ in outcomes)
        is_urgent = False
        for turn, error in outcomes:
            follow = getattr(turn, "following", None)
            following = follow() if follow is not None and error is None else None
            if following is not None:
                self.turns.append(following)
            if following is not turn:
                self._unheard.append((turn, error and self._engine.explain(error)))
                is_urgent = is_urgent or following is None
        if is_urgent:
            self.tell()

    def tell(self) -> None:
        """Tell the turns that are settled.

        Those that another one follows hear of it only when that one's commit is in the database's
        hands: woken before, the event loop would want the interpreter while the turn runs.
        """
        if self._unheard:
            unheard, self._unheard = self._unheard, []
            self._tell(settle_all, unheard)

    def drop_all(self) -> list[Turn]:
        """Return every turn that waits, and forget it."""
        self.tell()
        dropped = [*self.turns]
        self.turns.clear()
        self._spoilers.clear()
        return dropped

    # ── What scopes need as well ────────────────────────────────────────────────────────────

    def commit(self) -> None:
        """Make everything durable.

        Raises:
            CommitFailed: For a turn's sake nothing is.
            Unavailable: For the database's sake nothing is.
            OutcomeUnknown: Nobody knows, so nothing may follow.
        """
        self._begin_commit()
        self._end_commit()

    def _begin_commit(self) -> None:
        transaction = self._engine.transaction
        self._has_published, transaction.has_published = transaction.has_published, False
        self._reach(COMMIT_BEFORE)
        self.tell()
        self._waits = self._committing(self._engine.commit)
        if self._waits is None:
            self._committed()

    def _end_commit(self) -> None:
        if self._waits is not None:
            waits, self._waits = self._waits, None
            self._committing(waits)
            self._committed()

    def _committing(self, commit: Callable[[], T]) -> T:
        try:
            return commit()
        except (CommitFailed, Unavailable, OutcomeUnknown):
            raise
        except Exception as problem:
            self._break("while it committed", problem)
            self.abort()
            raise OutcomeUnknown(f"{self.broken}, which reads what is durable") from problem

    def _committed(self) -> None:
        self._reach(COMMIT_AFTER)
        if self.on_commit is not None:
            self._tell(self.on_commit)
        if self._has_published and self.on_publish is not None:
            self._tell(self.on_publish)

    def abort(self) -> None:
        """Leave nothing of the transaction that is open, if one is."""
        try:
            self._engine.abort()
        except Exception as problem:
            self._break("while it aborted", problem)

    def close(self) -> None:
        """Leave nothing open; no turn runs any more."""
        self.abort()
        self._engine.close()

    def undo_turn(self) -> bool:
        """Undo the turn that ran last; False when only an abort can."""
        try:
            return self._engine.undo_turn()
        except Exception:
            log.exception("store %s could not undo a turn alone", self._name)
            return False

    def report_slow(self, name: str, seconds: float) -> None:
        """Name who held up everybody else."""
        if seconds > self.slowest[1]:
            self.slowest = (name, seconds)
        log.warning(
            "%s held the write turn of store %s for %.3f s: everybody else waited; "
            "take slow work out of the transaction",
            name, self._name, seconds,
        )  # fmt: skip

    def _break(self, when: str, problem: Exception) -> None:
        if self.broken is None:
            log.critical("store %s failed %s: %s; restart the node", self._name, when, problem)
            self.broken = f"store {self._name} failed {when}: {problem}; restart the node"


def _forget(outcomes: list[Outcome]) -> None:
    """Take back what the turns changed in memory, latest first; those that failed have done so."""
    for turn, error in reversed(outcomes):
        if error is None:
            turn.forget()


def settle_all(outcomes: list[Outcome]) -> None:
    """Tell each turn its outcome; on the event loop."""
    for turn, error in outcomes:
        try:
            turn.settle(error)
        except Exception:  # One that cannot bear its outcome must not keep theirs from the others.
            log.exception("%s failed while it heard that it is settled", turn.name)
