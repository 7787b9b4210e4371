"""Decisions in the journal: who writes the first event of a transaction's stream has decided.

Whoever comes second finds the first one's decision and keeps to it, whatever it wanted itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from finality.core.errors import Conflict, OutcomeUnknown, Unavailable, VersionConflict
from finality.core.ids import TransactionId, Version
from finality.core.protocol import fold
from finality.core.two_phase import (
    DEFINITION,
    HOME_STREAM,
    KIND,
    NEW,
    Decided,
    Decision,
    HomeNamed,
    TwoPhaseEvent,
    TwoPhaseSignal,
    TwoPhaseState,
    decide,
    evolve,
    summary_of,
)
from finality.ports.home import Birth, HomeTransaction
from finality.runtime.asked import Asked
from finality.runtime.context import Context

IDENTITY_BITS = 48  # A dozen characters of a branch's name; homes that share a database are few.


class DefineTurn(Asked[None]):
    """Keeps the name of the kind of transaction that this is."""

    def run(self, tx: HomeTransaction) -> None:
        """Keep it."""
        tx.define(KIND, DEFINITION, "")


class DecideTurn(Asked[int | None]):
    """Begins the transaction's stream with a decision; answers its key, None if somebody was first.

    Attributes:
        is_last: It ends a local transaction, which must not commit when somebody was first.
    """

    def __init__(self, id: TransactionId, decided: Decided, *, is_last: bool = False) -> None:
        super().__init__(f"decision of transaction {id}", answer=None)
        self.id = id
        self.decided = decided
        self._is_last = is_last

    def run(self, tx: HomeTransaction) -> None:
        """Decide, unless somebody has."""
        summary = summary_of(evolve(NEW, self.decided))
        self.answer = tx.create(Birth(self.id, KIND, DEFINITION), [self.decided], summary)
        if self.answer is None and self._is_last:
            raise Conflict(f"transaction {self.id} was given up by another node", transaction_id=self.id)


class HearTurn(Asked[TwoPhaseState]):
    """Lets a decided transaction hear signals; answers what it has come to."""

    def __init__(self, id: TransactionId, key: int, signals: Sequence[TwoPhaseSignal]) -> None:
        super().__init__(f"record of transaction {id}", answer=NEW)
        self._key = key
        self._signals = signals

    def run(self, tx: HomeTransaction) -> None:
        """Decide on what is durable, and record what is new."""
        told = tx.read(self._key)
        state = fold(evolve, NEW, [item.event for item in told])
        events: list[TwoPhaseEvent] = []
        for signal in self._signals:
            new = decide(state, signal)
            events += new
            state = fold(evolve, state, new)
        if events:
            tx.append(self._key, events, expected=Version(len(told)), summary=summary_of(state))
        self.answer = state


@dataclass(frozen=True, slots=True)
class Known:
    """A decided transaction: its key in the home store, and what is durable of it."""

    id: TransactionId
    key: int
    state: TwoPhaseState


class Decisions:
    """Reads and writes decisions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._identity = ""

    async def identity(self) -> str:
        """Return the home store's identity; the first node that asks gives it one."""
        home = self._context.home
        while not self._identity:
            told = await home.read(HOME_STREAM, limit=1)
            if not told:
                named = HomeNamed(f"{self._context.environment.random_bits(IDENTITY_BITS):012x}")
                with contextlib.suppress(VersionConflict):  # Another node was first, and its name holds.
                    await home.append(HOME_STREAM, [named], expected=Version(0))
                continue
            turn = DefineTurn("definition of two-phase commit", None)
            home.submit(turn)
            await turn.done
            self._identity = told[0].event.identity
        return self._identity

    async def decide(self, id: TransactionId, decided: Decided) -> Known:
        """Write the decision unless there is one; return what holds, durable. Raises as ``answer``."""
        turn = DecideTurn(id, decided)
        self._context.home.submit(turn)
        return await self.answer(turn)

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
            return Known(turn.id, key, evolve(NEW, turn.decided))
        known = await self.find(turn.id)
        assert known is not None, f"transaction {turn.id} was decided by somebody else"
        return known

    async def find(self, id: TransactionId) -> Known | None:
        """Return a transaction as far as it is decided; None if it is not."""
        head = await self._context.home.find(id)
        if head is None or head.kind != KIND:
            return None
        told = await self._context.home.load(head.key)
        return Known(id, head.key, fold(evolve, NEW, [item.event for item in told]))

    async def hear(self, known: Known, signals: Sequence[TwoPhaseSignal]) -> TwoPhaseState:
        """Record what is new in *signals*, which came from participants or from a person; durable.

        Raises:
            VersionConflict: Another node records at the same time; ask again.
        """
        turn = HearTurn(known.id, known.key, signals)
        self._context.home.submit(turn)
        return await turn.done

    async def open(self) -> list[Known]:
        """Return the decided transactions that some branch has not heard of, or that have diverged."""
        heads = await self._context.home.heads(kind=KIND, is_open=True)
        found = [await self.find(head.id) for head in heads]
        return [known for known in found if known is not None]
