"""Known mistakes of an inbox, planted into ours: the simulation must catch every one of them.

python -m tests.sim.planted_reactions        prints the table of docs/internals/planted-bugs.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from finality.adapters.sqlite.broker import SqliteBroker
from finality.ports.broker import Delivery
from finality.runtime import failure, reacting
from finality.runtime.asked import Asked
from finality.runtime.consumer import Consumer
from finality.runtime.inbox import MOVED, Verdict, say
from finality.runtime.lanes import Lanes
from finality.runtime.reacting import Reacting, SettleTurn
from tests.sim.planted_relay import Patch, print_table
from tests.sim.reactions import simulate, simulate_on_disk

DUE_SECONDS = 0.2
_under_way: set[asyncio.Task[None]] = set()  # Else they are forgotten while they run.


def witness_behind_the_commit(patch: Patch) -> None:
    """The witness of an event is written in a transaction of its own, behind the effect's."""
    real = Reacting.react

    async def react(self: Reacting, code: Any, arrived: Any) -> Any:
        verdicts = await real(self, code, arrived)
        ran = [each for each, verdict in zip(arrived, verdicts, strict=True) if verdict is Verdict.DONE]
        turn = SettleTurn(code.consumer, ran, is_home=code.store is None)
        self._kit.context.store_of(code.store).submit(turn)
        await turn.done
        return verdicts

    patch.setattr(reacting, "conclude", lambda *rest, **named: None)
    patch.setattr(Reacting, "react", react)


def acknowledged_before_the_commit(patch: Patch) -> None:
    """An event is acknowledged as soon as its reaction begins."""
    real = Lanes.put

    def put(self: Lanes, lane: Any, delivery: Delivery) -> None:
        real(self, lane, delivery)
        self._done([delivery])

    patch.setattr(Lanes, "put", put)


def acknowledged_before_it_is_moved(patch: Patch) -> None:
    """An event that has failed is acknowledged first, and moved to its retry topic when it is due there."""
    park = Consumer._park

    async def later(self: Consumer, *told: Any, **named: Any) -> None:
        await asyncio.sleep(DUE_SECONDS)
        await park(self, *told, **named)

    async def park_later(self: Consumer, code: Any, *told: Any, **named: Any) -> None:
        if code.retry_topic:
            _begin(later(self, code, *told, **named))
        else:
            await park(self, code, *told, **named)

    patch.setattr(Consumer, "_park", park_later)


def moved_without_a_word(patch: Patch) -> None:
    """The inbox does not say that an event was moved, so nobody takes it from its retry topic."""

    def say_little(tx: Any, consumer: str, envelope: Any, what: str) -> None:
        if not what.startswith(MOVED):
            say(tx, consumer, envelope, what)

    patch.setattr(failure, "say", say_little)


def buried_behind_the_commit(patch: Patch) -> None:
    """A dead letter is published from memory, behind the commit that parks its event."""
    park, bury = Consumer._park, failure.bury
    unburied: dict[str, Any] = {}

    class BuryTurn(Asked[None]):
        def __init__(self, letter: Any) -> None:
            super().__init__("a dead letter", None)
            self._letter = letter

        def run(self, tx: Any) -> None:
            bury(tx, *self._letter)

    async def later(self: Consumer, letter: Any) -> None:
        await asyncio.sleep(DUE_SECONDS)
        turn = BuryTurn(letter)
        self._kit.context.home.submit(turn)
        await turn.done

    async def park_and_bury(self: Consumer, code: Any, arrived: Any, *told: Any, **named: Any) -> None:
        unburied.pop(arrived.envelope.id, None)
        await park(self, code, arrived, *told, **named)
        if arrived.envelope.id in unburied:
            _begin(later(self, unburied.pop(arrived.envelope.id)))

    def note(tx: Any, consumer: str, envelope: Any, *why: Any) -> None:
        unburied[envelope.id] = consumer, envelope, *why

    patch.setattr(failure, "bury", note)
    patch.setattr(Consumer, "_park", park_and_bury)


def unflushed(patch: Patch) -> None:
    """A broker in a file acknowledges what the disk has not flushed yet."""
    real = SqliteBroker.open

    async def open_(self: SqliteBroker, environment: Any) -> None:
        await real(self, environment)
        self._connection.execute("PRAGMA synchronous = NORMAL")

    patch.setattr(SqliteBroker, "open", open_)


def _begin(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)


PLANTED = (
    witness_behind_the_commit,
    acknowledged_before_the_commit,
    acknowledged_before_it_is_moved,
    moved_without_a_word,
    buried_behind_the_commit,
)
PLANTED_ON_DISK = (unflushed,)


if __name__ == "__main__":
    print_table(PLANTED, simulate)
    print_table(PLANTED_ON_DISK, simulate_on_disk)
