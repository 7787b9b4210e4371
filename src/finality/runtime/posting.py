"""The turns that begin a saga, tell any saga something, and let a saga rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from finality.core.ids import Json, TransactionId, Version
from finality.core.saga import Graph, Summary, advance, begun, outstanding, replay, summary_of
from finality.core.saga import events as e
from finality.ports.home import Birth, HomeTransaction
from finality.runtime.asked import Asked
from finality.runtime.context import Context
from finality.runtime.definition import Definition
from finality.runtime.drive import Drive
from finality.runtime.turns import ChainTurn


class StartTurn:
    """Begins a saga, unless its id is taken; *done* says whether it was free.

    Attributes:
        begun: Hears whether there is a saga to drive now; None leaves it for another node to drive.
        along: Its first step, which follows in the next commit.
        is_followed: That step is next, so the start is durable.
    """

    __slots__ = ("_context", "_definition", "_events", "along", "begun", "done", "drive", "id", "is_followed")

    def __init__(
        self, context: Context, definition: Definition, saga: Any, input: Json, id: TransactionId
    ) -> None:
        self.id = id
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.begun: Callable[[StartTurn, bool], None] | None = None
        self.along: ChainTurn | None = None
        self.is_followed = False
        self._context = context
        self._definition = definition
        begin = e.Begin(input, context.environment.now(), traceparent=context.tracing.current())
        self._events, state = begun(definition.graph, begin)
        self.drive = Drive(
            0, id, definition, saga, state, Version(len(self._events)), node=context.node,
            secrets=context.secrets_of(saga) if definition.may_hold_secrets else (),
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Return who holds the store, for the report about slow turns."""
        return f"start of saga {self.id}"

    def run(self, tx: HomeTransaction) -> None:
        """Begin."""
        drive, graph = self.drive, self._definition.graph
        driver = None if self.begun is None else self._context.node
        birth = Birth(self.id, graph.saga, graph.version, None, driver)
        summary = summary_of(drive.state, drive.commands)
        drive.key = tx.create(birth, self._events, summary) or 0
        drive.tip = (drive.state, drive.version, summary)

    def forget(self) -> None:
        """Nothing in memory has changed that a second run would not set again."""

    def following(self) -> ChainTurn | None:
        """Return the first step, unless the saga is not new, or its node drains."""
        drive, along = self.drive, self.along  # Another thread may take it back.
        if along is None or drive.key == 0 or drive.is_held:
            return None
        drive.busy.update(along.branches)  # The loop's thread has not got it in hand yet.
        self.is_followed = True
        return along

    def settle(self, error: BaseException | None) -> None:
        """Answer the caller, and drive the saga; heard twice, it does so once."""
        begun, self.begun = self.begun, None
        is_new = error is None and self.drive.key != 0
        if not self.done.done():
            if error is None:
                self.done.set_result(is_new)
            else:
                self.done.set_exception(error)
        if begun is not None:
            begun(self, is_new)


class PostTurn(Asked[bool]):
    """Lets a saga hear a signal, whoever drives it; answers whether it is news.

    The head is set to wake at once, so that the driver looks; what it was about to append
    conflicts with ours, and it decides anew.
    """

    def __init__(self, graph: Graph, key: int, signal: e.SagaSignal) -> None:
        super().__init__(f"{type(signal).__name__} to saga {key}", answer=False)
        self._graph = graph
        self._key = key
        self._signal = signal

    def run(self, tx: HomeTransaction) -> None:
        """Decide on what is durable, and record."""
        told = tx.read(self._key)
        state = replay(self._graph, [recorded.event for recorded in told])
        events, after = advance(state, self._signal)
        self.answer = bool(events)
        if not events:
            return
        summary = summary_of(after, outstanding(after))
        if not summary.has_ended:
            summary = Summary(summary.status, wake_at=0.0)
        tx.append(self._key, events, expected=Version(len(told)), summary=summary)
        if type(self._signal) is e.RetryAsked:
            tx.note(self._key, None)  # Why it was parked is put right, as a person says.
        parent = tx.head(self._key).parent
        if summary.has_ended and parent is not None:
            tx.wake(parent)


class RestTurn:
    """Sets the head of a saga that has nothing to do now, unless there is news of it."""

    __slots__ = ("_before", "_called", "_drive", "_has_news", "_is_kept", "_rested")

    def __init__(
        self, drive: Drive, called: set[int], rested: Callable[[Drive, bool, BaseException | None], None]
    ) -> None:
        self._is_kept = False
        self._drive = drive
        self._called = called
        self._rested = rested
        self._before = drive.tip
        self._has_news = False

    @property
    def name(self) -> str:
        """Return who holds the store, for the report about slow turns."""
        return f"rest of saga {self._drive.id}"

    def run(self, tx: HomeTransaction) -> None:
        """Look for news under the write turn, so that none can slip in between."""
        drive = self._drive
        self._before = drive.tip
        head = tx.head(drive.key)
        is_called = head.wake_at == 0 or drive.key in self._called
        self._called.discard(drive.key)
        self._has_news = head.version != drive.tip[1] or is_called
        if head.version != drive.tip[1]:
            drive.catch_up(tx)
        state = drive.tip[0]
        # What is being done is known in memory alone: until it is durable, the saga is in hand.
        self._is_kept = self._has_news or bool(drive.busy)
        wake_at = None if self._is_kept else summary_of(state, outstanding(state)).wake_at
        tx.set_wake(drive.key, wake_at)
        drive.tip = (state, drive.tip[1], None)  # The head may say now what no append has said.

    def forget(self) -> None:
        """Put the tip back to where it was, and look what the saga was woken for again."""
        self._drive.tip = self._before
        self._called.add(self._drive.key)

    def settle(self, error: BaseException | None) -> None:
        """Take over the news, and go on or let go."""
        drive = self._drive
        if error is None and self._has_news:
            state, version, _ = drive.tip
            if version > drive.version:
                drive.settle(drive.tip, outstanding(state))
        if error is None:
            drive.is_claimed = self._is_kept
        self._rested(drive, self._has_news, error)
