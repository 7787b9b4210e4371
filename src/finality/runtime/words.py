"""A person's word: recorded in the home store, and done in that very commit where it is about that store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from finality.core.envelope import Envelope
from finality.core.errors import VersionConflict
from finality.core.ids import StreamName, Version
from finality.core.inbox import Discarded, RetryAsked, Word, inbox_stream
from finality.ports.events import REACTION, Parked
from finality.ports.home import Home, HomeTransaction
from finality.ports.store import LocalTransaction, Store
from finality.runtime.asked import Asked
from finality.runtime.envelopes import envelope_of_parked
from finality.runtime.failure import bury
from finality.runtime.inbox import DISCARDED, Arrived, name_of, put_aside
from finality.runtime.inbox import say as tell


async def do(home: Home, place: int, consumer: str, word: Word, now: float) -> bool:
    """Do what a person says about a parked event; False: it is not parked any more."""

    def deed(tx: LocalTransaction) -> bool:
        row = tx.parked_at(place)
        if row is None:
            return False
        match word:
            case RetryAsked():
                _retry(tx, row, f"{word.by} says: {word.because}", now)
            case Discarded():
                _discard(tx, row, consumer, f"{DISCARDED} by {word.by}: {word.because}", now)
            case _:
                assert_never(word)
        return True

    return await say(home, home, inbox_stream(consumer, word.event), word, deed)


async def say(
    home: Home, store: Store, stream: StreamName, word: Any, deed: Callable[[LocalTransaction], bool]
) -> bool:
    """Do in *store* what a person says, and record the word; durable on return. False: nothing was to do.

    In the home store both are one commit, and what was not to do is not recorded. Another store has no
    journal: there the word is recorded first.
    """
    if store is not home:
        await record(home, stream, word)
        elsewhere = Deed(deed)
        store.submit(elsewhere)
        return await elsewhere.done
    while True:
        turn = SaidDeed(deed, stream, word, await _version(home, stream))
        home.submit(turn)
        try:
            return await turn.done
        except VersionConflict:
            continue  # Somebody else has said something at the same moment.


async def record(home: Home, stream: StreamName, word: Any) -> None:
    """Record what a person says, before it is done."""
    while True:
        try:
            await home.append(stream, [word], expected=await _version(home, stream))
            return
        except VersionConflict:
            continue  # Somebody else was first.


async def _version(home: Home, stream: StreamName) -> Version:
    version = Version(0)
    while page := await home.read(stream, after=version):
        version = page[-1].version
    return version


class Deed(Asked[bool]):
    """Does what a person says; answers whether there was something to do."""

    def __init__(self, deed: Callable[[LocalTransaction], bool]) -> None:
        super().__init__("a person's word", answer=False)
        self._deed = deed

    def run(self, tx: Any) -> None:
        """Do it."""
        self.answer = self._deed(tx)


class SaidDeed(Deed):
    """Records the word beside it."""

    def __init__(
        self, deed: Callable[[LocalTransaction], bool], stream: StreamName, word: Any, version: Version
    ) -> None:
        super().__init__(deed)
        self._stream, self._word, self._version = stream, word, version

    def run(self, tx: HomeTransaction) -> None:
        """Do it; if there was something to do, record it."""
        super().run(tx)
        if self.answer:
            tx.append_to(self._stream, [self._word], expected=self._version)


def _retry(tx: LocalTransaction, row: Parked, because: str, now: float) -> None:
    """Make it due, or the one that it waits behind."""
    first = tx.parked(row.reader, row.topic, row.key)[0] if row.key else row
    tx.repark(first.place, because=because, attempts=first.attempts, retry_at=now)


def _discard(tx: LocalTransaction, row: Parked, consumer: str, because: str, now: float) -> None:
    """Take it out, so that it never runs, also if it is delivered again; what waits behind it goes on."""
    envelope = envelope_of_parked(row)
    tx.unpark(row.place)
    tell(tx, consumer, envelope, because)
    bury(tx, consumer, envelope, because, row.attempts)
    following = tx.parked(row.reader, row.topic, row.key) if row.key else []
    if following and not following[0].because:
        first = following[0]
        tx.repark(first.place, because="", attempts=first.attempts, retry_at=now)


class ReplayTurn(Asked[int]):
    """Parks events that the inbox does not know, to be run at once; answers how many."""

    def __init__(self, reader: str, consumer: str, events: list[Envelope], now: float, because: str) -> None:
        super().__init__(f"replay for {consumer}", answer=0)
        self._reader, self._consumer, self._events = reader, consumer, events
        self._now, self._because = now, because

    def run(self, tx: LocalTransaction) -> None:
        """Park them."""
        self.answer = 0
        for event in self._events:
            if tx.witness(name_of(event), self._consumer, REACTION) is None:
                arrived = Arrived(self._reader, event, None)
                put_aside(tx, self._consumer, arrived, self._now, because=self._because, retry_at=self._now)
                self.answer += 1
