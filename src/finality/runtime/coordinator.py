"""The coordinator: folds open sagas, does what is outstanding, records what came of it.

```
   start ──▶ journal ─┐                        ┌─▶ ask a step ──▶ turn ─┐
   timers ──▶ load ───┴─▶ drive ─▶ outstanding ┼─▶ wait: let go of it   │
      ▲                     ▲                  └─▶ ended: tell who asked│
      └──── wake_at         └────────── settle: it is durable ──────────┘
```

Recovery is not a feature: starting is folding what is open and doing what is outstanding.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from finality.core.errors import Fenced, FinalityError, OutcomeUnknown, Unavailable
from finality.core.ids import TransactionId
from finality.core.saga import events as e
from finality.core.saga import summary_of
from finality.core.saga.summary import NEVER
from finality.ports.home import Head
from finality.runtime.admission import Admission
from finality.runtime.answers import reason
from finality.runtime.arguments import Unreadable, items_of
from finality.runtime.asking import Asking
from finality.runtime.breakers import Breakers
from finality.runtime.context import Context
from finality.runtime.drive import Drive
from finality.runtime.leases import LetGoTurn
from finality.runtime.loading import ParkTurn
from finality.runtime.parents import Children
from finality.runtime.posting import PostTurn, RestTurn, StartTurn
from finality.runtime.telling import TROUBLE_SECONDS
from finality.runtime.turns import NotAwaited
from finality.runtime.waiting import Waiting

log = logging.getLogger("finality.coordinator")

IN_FLIGHT_MAX = 1_000  # Sagas with something to do at once; the others wait on disk, not in memory.
DRAIN_LOOK_SECONDS = 0.01
COMPANY_SECONDS = 0.25  # For so long it is remembered: sagas that end together come together again.
ANSWER_SECONDS_MAX = 0.02  # For a start to be answered that is durable: some batches of commits.
TROUBLES_MAX = 5  # So often a saga is tried again after an error that nobody has foreseen.


class Coordinator:
    """Drives the sagas of one node."""

    def __init__(
        self, context: Context, *, in_flight_max: int = IN_FLIGHT_MAX, is_observer: bool = False
    ) -> None:
        self.waiting = Waiting(context)
        self.drives: dict[int, Drive] = {}
        self.ids: set[TransactionId] = set()
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._is_observer = is_observer
        self._starting: set[StartTurn] = set()
        self._is_watching = False
        self._company_until = 0.0
        self._resting: set[Drive] = set()
        self._called: set[Drive] = set()
        self._troubles: Counter[int] = Counter()
        self._asking = Asking(context, Breakers(context), self._settled)
        self._admission = Admission(
            context, self.drives, self._starting, in_flight_max,
            take=self._take_in_hand, look_at=self._look_at, kick=lambda: self.kick(),
        )  # fmt: skip
        self.admit = self._admission.admit
        self._children = Children(
            context, self._asking, self._is_in_hand, self._signal, self._undo_child,
            begun=self._child_begun, advance=self._advance, rest=self._rest, settled=self._settled,
        )  # fmt: skip
        self._is_draining = False
        self.kick: Callable[[], None] = lambda: None
        """Called when there may be something due at once."""
        self.sleeps: Callable[[float | None], None] = lambda wake_at: None
        """Called with the time at which a saga that was let go of wakes."""

    # ── What comes in ───────────────────────────────────────────────────────────────────────

    def start(self, turn: StartTurn) -> None:
        """Submit a start; that of a saga which is alone brings its first step along.

        So the event loop hears of the start while the step's commit is in the disk's hands. With
        company it does not: sagas that wait for the loop gather there, and share more of their commits.
        """
        if not self._is_observer:
            turn.begun = self._begun
            if not (self._has_company() or self._is_draining or self._admission.room <= 0):
                turn.along = self._asking.first(turn.drive)
        self._context.home.submit(turn)
        if turn.along is not None:
            self._starting.add(turn)
            self._watch()

    def _has_company(self) -> bool:
        """Say whether another saga was in hand just now; a step that comes along yet waits for it, too."""
        now = self._loop.time()
        if self.drives or self._starting:
            self._company_until = now + COMPANY_SECONDS
            for turn in self._starting:
                turn.along = None
        return now < self._company_until

    def _watch(self) -> None:
        """See to it that starts are answered soon, even while the step that follows one blocks."""
        if self._context.environment.is_threaded and not self._is_watching:
            self._is_watching = True
            self._loop.call_later(ANSWER_SECONDS_MAX, self._answer)

    def _answer(self) -> None:
        self._is_watching = False
        for turn in [turn for turn in self._starting if turn.is_followed]:
            turn.settle(None)
        if self._starting:
            self._watch()

    def _begun(self, turn: StartTurn, is_new: bool) -> None:
        """Take over a saga that was started just now."""
        drive = turn.drive
        self._starting.discard(turn)
        if not is_new:
            self._admission.load_soon()  # Perhaps others have waited for its room.
        elif not drive.busy and (self._is_draining or self._admission.room <= 0):
            self.admit([(drive.key, drive.definition.kind)])
        else:
            self._take_in_hand(drive)

    def _take_in_hand(self, drive: Drive) -> None:
        self.drives[drive.key] = drive
        self.ids.add(drive.id)
        self._advance(drive)

    async def look(self) -> None:
        """See whether sagas that somebody waits for have ended elsewhere."""
        await self.waiting.look(self.ids)

    async def post(self, head: Head, signal: e.SagaSignal) -> bool:
        """Let a saga hear *signal*, whoever drives it; return whether that made anything true."""
        graph = await self._context.graph_of(head.kind, head.definition)
        turn = PostTurn(graph, head.key, signal)
        self._context.home.submit(turn)
        is_new = await turn.done
        if head.key in self.drives:
            self._look_at(self.drives[head.key])
        self.kick()
        return is_new

    async def drain(self, seconds: float) -> None:
        """Begin nothing more and wait for the steps that are under way, for so long at most.

        A saga in which nothing is under way any more is handed over at once.
        """
        self._is_draining = True
        self._admission.close()
        for drive in (*self.drives.values(), *(turn.drive for turn in self._starting)):
            drive.is_held = True
        give_up = self._loop.time() + seconds
        kept: set[int] | None = None
        while True:
            busy = {key for key, drive in self.drives.items() if drive.busy}
            if busy != kept:
                await self._hand_over(busy, give_up - self._loop.time())
                kept = busy
            if not busy or self._loop.time() >= give_up:
                break
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        await self._asking.cancel()

    async def _hand_over(self, keep: set[int], seconds: float) -> None:
        if self._is_observer:
            return
        turn = LetGoTurn(self._context.node, keep)
        self._context.home.submit(turn)
        try:
            await asyncio.wait_for(turn.done, max(seconds, DRAIN_LOOK_SECONDS))
        except (FinalityError, TimeoutError) as error:
            log.warning("sagas could not be handed over yet: %s", error)  # The end of the lease does it.

    # ── The loop ────────────────────────────────────────────────────────────────────────────

    def _settled(self, drive: Drive, error: BaseException | None) -> None:
        """Go on after a turn: it is durable, or nothing of it is."""
        if error is None:
            self._advance(drive)
        elif isinstance(error, NotAwaited):
            self._look_at(drive)  # Asked at once, it would be asked again and again for nothing.
        elif isinstance(error, Fenced):
            log.info("%s", error)
            drive.is_lost = True
            self._let_go(drive)
            # It may have come back to this node meanwhile, and then nobody else looks at it.
            self.admit([(drive.key, drive.definition.kind)])
        elif isinstance(error, OutcomeUnknown):
            drive.is_lost = True
        elif isinstance(error, Unreadable):
            self._park(drive, f"it cannot be read: {error}")
        elif isinstance(error, Unavailable):
            self._loop.call_later(TROUBLE_SECONDS, self._advance, drive)
        else:
            self._in_trouble(drive, error)

    def _in_trouble(self, drive: Drive, error: BaseException) -> None:
        """Try again after what should not happen, and park the saga if it happens again and again."""
        self._troubles[drive.key] += 1
        log.error("saga %s could not be advanced", drive.id, exc_info=error)
        if self._troubles[drive.key] < TROUBLES_MAX:
            self._loop.call_later(TROUBLE_SECONDS, self._advance, drive)
        else:
            self._park(drive, f"it cannot be driven: {reason(self._context, drive, error)}")

    def _park(self, drive: Drive, because: str) -> None:
        if drive.is_lost:
            return
        drive.is_lost = True
        self._let_go(drive)
        turn = ParkTurn(drive.key, drive.version, because)
        turn.done = partial(self._admission.load_later, drive.key, drive.definition.kind)
        self._context.home.submit(turn)

    def _advance(self, drive: Drive) -> None:
        if drive.is_lost:
            return
        if not drive.commands and drive.state.has_ended:
            self._let_go(drive)
            self.waiting.ended(drive.id, drive.state)
        elif not self._is_draining:
            try:
                self._go_on(drive)
            except Exception as error:  # One saga that cannot go on must not stop the others.
                self._settled(drive, error)

    def _go_on(self, drive: Drive) -> None:
        later = NEVER
        for command in drive.commands:
            if type(command) is e.Run or type(command) is e.Compensate:
                if command.not_before and command.not_before > self._context.environment.now():
                    later = min(later, command.not_before)
                else:
                    self._asking.ask(drive, command)
            else:
                later = min(later, self._do(drive, command))
        if not drive.busy:
            self._rest(drive)
        elif later < NEVER:
            self._set_timer(drive, later)

    def _set_timer(self, drive: Drive, at: float) -> None:
        """Come back to a saga that is kept in hand while some branch of it is being asked."""
        if drive.timer is not None:
            drive.timer.cancel()
        seconds = max(at - self._context.environment.now(), 0.0)
        drive.timer = self._loop.call_later(seconds, self._advance, drive)

    def _do(self, drive: Drive, command: e.SagaCommand) -> float:
        """Do what needs no step's code; return when it is due if it is not due yet."""
        now = self._context.environment.now()
        match command:
            case e.StartWait(step):
                if step not in drive.busy and self._asking.is_wanted(drive, step, is_waiting=True):
                    self._signal(drive, e.WaitBegun(step, now), step)
            case e.AwaitTime(step, until):
                if until is not None and until > now:
                    return until
                if until is not None:
                    self._signal(drive, e.TimeCame(step, now), step)
            case e.AwaitDeadline(at):
                if at > now:
                    return at
                self._signal(drive, e.DeadlineCame(now), "the deadline")
            case e.CountItems(step):
                self._count(drive, step)
            case e.StartChild(step):
                self._children.start(drive, step)
            case e.AwaitChild() | e.UndoChild():
                self._children.look_at(drive, command)
            case e.FindAnswer(step):
                self._signal(drive, e.AnswerLost(step), step)
            case _:
                pass  # A person is asked: there is nothing for a node to do.
        return NEVER

    def _signal(self, drive: Drive, signal: e.SagaSignal, branch: str) -> None:
        if branch not in drive.busy:
            drive.busy.add(branch)
            self._asking.signal(drive, signal, branch)

    def _rest(self, drive: Drive) -> None:
        """Let go of a saga that has nothing to do now; its head says when it wakes."""
        if drive.is_claimed:
            self._refresh(drive)
            return
        self._let_go(drive)
        self.waiting.rests(drive.id, drive.state)
        self.sleeps(summary_of(drive.state, drive.commands).wake_at)

    def _rested(self, drive: Drive, has_news: bool, error: BaseException | None) -> None:
        self._resting.discard(drive)
        is_called = drive in self._called
        self._called.discard(drive)
        if self.drives.get(drive.key) is not drive:
            # It was let go of meanwhile, and its head says that it is in hand: somebody has to look.
            if error is None and (is_called or drive.is_claimed):
                self.admit([(drive.key, drive.definition.kind)])
        elif error is not None or has_news:
            self._settled(drive, error)
        elif is_called:
            drive.is_claimed = True
            self._advance(drive)
        elif not drive.busy:
            self._rest(drive)

    def _let_go(self, drive: Drive) -> None:
        if drive.timer is not None:
            drive.timer.cancel()
        if self.drives.get(drive.key) is drive:
            del self.drives[drive.key]
            self.ids.discard(drive.id)
            if self._troubles:
                self._troubles.pop(drive.key, None)
            self._admission.load_soon()

    def _refresh(self, drive: Drive) -> None:
        """Look at what somebody else has appended to a saga in our hands."""
        if drive not in self._resting:
            self._resting.add(drive)
            self._context.home.submit(RestTurn(drive, self._context.called, self._rested))

    def _look_at(self, drive: Drive) -> None:
        """Let a saga in our hands go on, because something that it waits for has happened."""
        self._called.add(drive)
        self._refresh(drive)

    # ── Fan-out and children ────────────────────────────────────────────────────────────────

    def _count(self, drive: Drive, step: str) -> None:
        if step in drive.busy or not self._asking.is_wanted(drive, step):
            return
        try:
            items = len(items_of(drive, drive.state, self._context.codec, step))
        except Unreadable:
            raise
        except Exception as error:  # It is pure, so another try would raise the same.
            because = f"its list failed: {reason(self._context, drive, error)}"
            self._signal(drive, e.RefusedBy(step, 1, because), step)
        else:
            self._signal(drive, e.ItemsCounted(step, items), step)

    def _child_begun(self, drive: Drive, error: BaseException | None) -> None:
        self._settled(drive, error)
        self.kick()

    def _is_in_hand(self, drive: Drive) -> bool:
        return not (drive.is_lost or self._is_draining) and self.drives.get(drive.key) is drive

    def _undo_child(self, drive: Drive, step: str, child: Head) -> None:
        """Tell a child to undo itself, once."""
        if step not in drive.told:
            drive.told.add(step)
            because = f"saga {drive.id} is undone"
            task = self._loop.create_task(self.post(child, e.UndoAsked(because)))
            task.add_done_callback(partial(self._told_child, drive, step))

    def _told_child(self, drive: Drive, step: str, told: asyncio.Task[bool]) -> None:
        if told.cancelled() or told.exception() is not None:
            drive.told.discard(step)
            self._loop.call_later(TROUBLE_SECONDS, self._advance, drive)
