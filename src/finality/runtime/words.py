"""A person's word: recorded in the home store; about a parked event, done in that very commit."""

from __future__ import annotations

from typing import assert_never

from finality.core.envelope import Envelope
from finality.core.errors import VersionConflict
from finality.core.ids import StreamName, Version
from finality.core.inbox import Discarded, ReplayAsked, RetryAsked, Word, inbox_stream
from finality.core.projection import ProjectionEvent
from finality.ports.events import REACTION, Parked
from finality.ports.home import Home, HomeTransaction
from finality.ports.store import LocalTransaction
from finality.runtime.asked import Asked
from finality.runtime.envelopes import envelope_of_parked
from finality.runtime.failure import bury
from finality.runtime.inbox import DISCARDED, Arrived, name_of, put_aside, say


async def do(home: Home, place: int, consumer: str, word: Word, now: float) -> bool:
    """Do what a person says about a parked event; False: it is not parked any more."""
    while True:
        version = await _version(home, inbox_stream(consumer, word.event))
        turn = WordTurn(place, consumer, word, now, version)
        home.submit(turn)
        try:
            return await turn.done
        except VersionConflict:
            continue  # Somebody else has said something about it at the same moment.


async def record(home: Home, stream: StreamName, said: ReplayAsked | ProjectionEvent) -> None:
    """Record what a person says about a consumer or a projection, before it is done."""
    while True:
        try:
            await home.append(stream, [said], expected=await _version(home, stream))
            return
        except VersionConflict:
            continue  # Somebody else was first.


async def _version(home: Home, stream: StreamName) -> Version:
    version = Version(0)
    while page := await home.read(stream, after=version):
        version = page[-1].version
    return version


class WordTurn(Asked[bool]):
    """Has a parked event tried again soon, or gives it up, as a person says."""

    def __init__(self, place: int, consumer: str, word: Word, now: float, version: Version) -> None:
        super().__init__("a person's word about a parked event", answer=False)
        self._place, self._consumer, self._word = place, consumer, word
        self._now, self._version = now, version

    def run(self, tx: HomeTransaction) -> None:
        """Record it and do it."""
        row, word = tx.parked_at(self._place), self._word
        self.answer = row is not None
        if row is None:
            return
        tx.append_to(inbox_stream(self._consumer, word.event), [word], expected=self._version)
        match word:
            case RetryAsked():
                self._retry(tx, row, f"{word.by} says: {word.because}")
            case Discarded():
                self._discard(tx, row, f"{DISCARDED} by {word.by}: {word.because}")
            case _:
                assert_never(word)

    def _retry(self, tx: LocalTransaction, row: Parked, because: str) -> None:
        """Make it due, or the one that it waits behind."""
        first = tx.parked(row.reader, row.topic, row.key)[0] if row.key else row
        tx.repark(first.place, because=because, attempts=first.attempts, retry_at=self._now)

    def _discard(self, tx: LocalTransaction, row: Parked, because: str) -> None:
        """Take it out, so that it never runs, also if it is delivered again; what waits behind it goes on."""
        envelope = envelope_of_parked(row)
        tx.unpark(row.place)
        say(tx, self._consumer, envelope, because)
        bury(tx, self._consumer, envelope, because, row.attempts)
        following = tx.parked(row.reader, row.topic, row.key) if row.key else []
        if following and not following[0].because:
            first = following[0]
            tx.repark(first.place, because="", attempts=first.attempts, retry_at=self._now)


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
