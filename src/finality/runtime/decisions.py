"""Decisions in the journal: who writes the first event of a transaction's stream has decided.

Whoever comes second finds the first one's decision and keeps to it, whatever it wanted itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from finality.core.errors import Conflict, OutcomeUnknown, Unavailable, VersionConflict
from finality.core.ids import TransactionId, Version
from finality.core.protocol import fold
from finality.core.two_phase import (
    DEFINITION,
    HOME_STREAM,
    KIND,
    NEW,
    STUCK,
    Decided,
    Decision,
    Finish,
    HomeNamed,
    TwoPhaseEvent,
    TwoPhaseSignal,
    TwoPhaseState,
    decide,
    evolve,
    summary_of,
)
from finality.ports.home import HEADS_MAX, Birth, Head, HomeTransaction
from finality.runtime.asked import Asked
from finality.runtime.context import Context

IDENTITY_BITS = 48  # A dozen characters of a branch's name; homes that share a database are few.
HEAR_ATTEMPTS_MAX = 5  # Several nodes may record the same at the same time; one of them is enough.


class DefineTurn(Asked[None]):
    """Keeps the name of the kind of transaction that this is."""

    def run(self, tx: HomeTransaction) -> None:
        """Keep it."""
        tx.define(KIND, DEFINITION, "")


class DecideTurn(Asked[int | None]):
    """Begins the transaction's stream with a decision; answers its key, None if somebody was first.

    Attributes:
        state: What a transaction comes to that is decided so.
        is_last: It ends a local transaction, which must not commit when somebody was first.
    """

    def __init__(self, id: TransactionId, decided: Decided, *, is_last: bool = False) -> None:
        super().__init__(f"decision of transaction {id}", answer=None)
        self.id = id
        self.decided = decided
        self.state = evolve(NEW, decided)
        self._is_last = is_last

    def run(self, tx: HomeTransaction) -> None:
        """Decide, unless somebody has."""
        self.answer = tx.create(Birth(self.id, KIND, DEFINITION), [self.decided], summary_of(self.state))
        if self.answer is None and self._is_last:
            raise Conflict(f"transaction {self.id} was given up by another node", transaction_id=self.id)


class Known(NamedTuple):
    """A decided transaction: its key in the home store, and what is durable of it.

    Attributes:
        version: How many events *state* is made of; whoever appends behind them is refused if there
            are more by now.
    """

    id: TransactionId
    key: int
    state: TwoPhaseState
    version: Version


def heard_by(known: Known, signals: Sequence[TwoPhaseSignal]) -> tuple[list[TwoPhaseEvent], Known]:
    """Return what *signals* make true of a transaction, and what it comes to by that."""
    state = known.state
    events: list[TwoPhaseEvent] = []
    for signal in signals:
        new = decide(state, signal)
        events += new
        state = fold(evolve, state, new)
    return events, Known(known.id, known.key, state, Version(known.version + len(events)))


Answers = tuple[Known, Sequence[Finish]]
"""A decided transaction, and what its branches have answered."""


class HearTurn(Asked[None]):
    """Appends what decided transactions have heard, all or nothing."""

    def __init__(self, told: Sequence[tuple[Known, list[TwoPhaseEvent], Known]]) -> None:
        super().__init__(f"record of transaction {told[0][0].id}, {len(told)} in all", answer=None)
        self._told = told

    def run(self, tx: HomeTransaction) -> None:
        """Append, unless somebody has come first."""
        for known, events, heard in self._told:
            if events:
                tx.append(known.key, events, expected=known.version, summary=summary_of(heard.state))


class Decisions:
    """Reads and writes decisions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._identity = ""

    async def identity(self) -> str:
        """Return the home store's identity; the first node that asks gives it one."""
        home = self._context.home
        while not self._identity:
            told = await self.found_identity()
            if not told:
                named = HomeNamed(f"{self._context.environment.random_bits(IDENTITY_BITS):012x}")
                with contextlib.suppress(VersionConflict):  # Another node was first, and its name holds.
                    await home.append(HOME_STREAM, [named], expected=Version(0))
                continue
            turn = DefineTurn("definition of two-phase commit", None)
            home.submit(turn)
            await turn.done
            self._identity = told
        return self._identity

    async def found_identity(self) -> str:
        """Return the home store's identity, for who only looks; empty while nobody has given it one."""
        if self._identity:
            return self._identity
        told = await self._context.home.read(HOME_STREAM, limit=1)
        return str(told[0].event.identity) if told else ""

    async def decide(self, id: TransactionId, decided: Decided) -> Known:
        """Write the decision unless there is one; return what holds, durable. Raises as ``answer``."""
        turn = DecideTurn(id, decided)
        self.submit(turn)
        return await self.answer(turn)

    def submit(self, turn: DecideTurn) -> None:
        """Let the home store write a decision, which ``answer`` waits for."""
        self._context.home.submit(turn)

    async def answer(self, turn: DecideTurn) -> Known:
        """Wait for a decision that was submitted; return what holds.

        If its answer is lost, an abort is submitted: whichever of them was first holds for ever.

        Raises:
            OutcomeUnknown: The home store does not even say that.
            Unavailable: It is out of reach, and nothing was decided.
        """
        try:
            key = await turn.done
        except OutcomeUnknown as lost:
            abort = Decided(Decision.ABORT, turn.decided.branches, "the answer of the home store was lost")
            second = DecideTurn(turn.id, abort)
            self._context.home.submit(second)
            try:
                key = await second.done
            except (OutcomeUnknown, Unavailable):
                raise OutcomeUnknown(
                    f"nobody knows yet how transaction {turn.id} was decided: {lost}; "
                    f"ask `node.decision({turn.id!r})`",
                    transaction_id=turn.id,
                ) from lost
            turn = second
        if key is not None:
            return Known(turn.id, key, turn.state, Version(1))
        known = await self.find(turn.id)
        assert known is not None, f"transaction {turn.id} was decided by somebody else"
        return known

    async def find(self, id: TransactionId) -> Known | None:
        """Return a transaction as far as it is decided; None if it is not."""
        head = await self._context.home.find(id)
        if head is None or head.kind != KIND:
            return None
        return await self.load(id, head.key)

    async def undecided(self, ids: set[TransactionId]) -> set[TransactionId]:
        """Return those of *ids* that nobody has decided."""
        return ids - await self._context.home.begun(ids) if ids else ids

    async def load(self, id: TransactionId, key: int) -> Known:
        """Return a decided transaction as far as it is durable."""
        told = await self._context.home.load(key)
        return Known(id, key, fold(evolve, NEW, [item.event for item in told]), Version(len(told)))

    async def hear(self, known: Known, signals: Sequence[TwoPhaseSignal]) -> Known:
        """Record what is new in *signals*, which came from participants or from a person; durable.

        Raises:
            VersionConflict: Other nodes record at the same time, again and again; ask later.
        """
        for attempt in range(1, HEAR_ATTEMPTS_MAX + 1):
            events, heard = heard_by(known, signals)
            if not events:
                break
            turn = HearTurn([(known, events, heard)])
            self._context.home.submit(turn)
            try:
                await turn.done
            except VersionConflict:
                if attempt == HEAR_ATTEMPTS_MAX:
                    raise
                known = await self.load(known.id, known.key)
            else:
                return heard
        return known

    def record(self, answers: Sequence[Answers]) -> asyncio.Future[None]:
        """Record what branches of several transactions have answered, all or nothing; durable once done."""
        turn = HearTurn([(known, *heard_by(known, finished)) for known, finished in answers])
        self._context.home.submit(turn)
        return turn.done

    async def open(self) -> AsyncIterator[list[Head]]:
        """Give the heads of the decided transactions that some branch has not heard of, page by page."""
        before: int | None = None
        while True:
            page = await self._context.home.heads(kind=KIND, is_open=True, before=before)
            yield [head for head in page if head.status != STUCK]
            if len(page) < HEADS_MAX:
                return
            before = page[-1].key
