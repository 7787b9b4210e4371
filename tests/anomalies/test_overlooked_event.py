"""An event that is overlooked, because it commits late.

A course has one seat left. Ann's enrolment is recorded first and gets the lower position in the journal,
but its transaction takes long to commit. Bea's enrolment reads meanwhile, finds the seat free, and is
decided on that. A check that asks for events behind the position it has read never sees Ann's, since
that one is before it; a check that does not wait does not see it either. Both sit on one chair.

Countermeasure: whoever records shares the locks of its tags until its commit, and whoever decides takes
them alone, and counts afterwards, in a statement of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import pytest

import finality
from finality.adapters.checks import check_count
from finality.adapters.postgres.queries import QUERIES
from finality.adapters.postgres.sources import PostgresSources
from finality.testing import PostgresServer
from tests.core.accounts import SeatTaken
from tests.integration.kit import eventually, within

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]

Patch = pytest.MonkeyPatch
ASKED = finality.events(SeatTaken, course="c1")
NO_LOCK = "SELECT 1 WHERE cardinality($1::text[]) > 0"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@dataclass(frozen=True)
class Student(finality.Aggregate[SeatTaken]):
    """Whose enrolments are decided on nothing else: they are only recorded."""

    courses: int = 0

    def evolve(self, event: SeatTaken) -> Self:
        return replace(self, courses=self.courses + 1)


async def enrol_late(ann: finality.AsyncNode, bea: finality.AsyncNode) -> None:
    """Let Bea decide while Ann's enrolment is recorded and not committed."""
    async with ann.transaction() as tx:
        await tx.append(await tx.load(Student, "ann"), SeatTaken("c1", "ann"))
        assert len(await tx.read(ASKED)) == 1, "it is recorded"

        async def decide(tx: finality.Transaction) -> None:
            await tx.append(await tx.read(ASKED), SeatTaken("c1", "bea"))

        deciding = asyncio.ensure_future(bea.run(decide, retry=finality.Retry(attempts=1)))

        async def is_settled() -> bool:
            return deciding.done() or (await ann.query(WAITING))[0][0] > 0

        await eventually(is_settled)
    with pytest.raises(finality.Conflict):
        await deciding


def play(server: PostgresServer) -> None:
    """Play it on an empty database, and see that one of the two has the seat."""
    url = server.database()

    async def whole() -> None:
        async with finality.open_async(url) as ann, finality.open_async(url) as bea:
            await within(enrol_late(ann, bea))
            async with bea.transaction() as tx:
                assert [each.student for each in await tx.read(ASKED)] == ["ann"]

    asyncio.run(whole())


def test_a_decision_waits_for_an_event_that_commits_late(finality_postgres: PostgresServer) -> None:
    play(finality_postgres)

    assert QUERIES["hold_tags"] != NO_LOCK


def recording_locks_nothing(patch: Patch) -> None:
    patch.setitem(QUERIES, "share_tags", NO_LOCK)


def deciding_locks_nothing(patch: Patch) -> None:
    patch.setitem(QUERIES, "hold_tags", NO_LOCK)


def counting_before_the_lock(patch: Patch) -> None:
    def hold(self: Any, query: Any, *, expected: int) -> None:
        check_count(query, expected, len(self._places(query)))
        self._tx.write("hold_tags", sorted(query.tags))

    patch.setattr(PostgresSources, "hold", hold)


def asking_behind_the_position(patch: Patch) -> None:
    """What was read ends at the newest event that was seen; nothing before it is asked for again."""
    seen: dict[int, int] = {}
    real = PostgresSources.matching

    def matching(self: Any, query: Any) -> list[Any]:
        newest = self._tx.look("newest_position")[0][0] or 0
        seen[id(self)] = newest
        return real(self, query)

    def hold(self: Any, query: Any, *, expected: int) -> None:
        self._tx.write("hold_tags", sorted(query.tags))
        behind = [each for each in real(self, query) if each.position > seen[id(self)]]
        check_count(query, 0, len(behind))

    patch.setitem(QUERIES, "newest_position", "SELECT last_value FROM finality_event_position_seq")
    patch.setattr(PostgresSources, "matching", matching)
    patch.setattr(PostgresSources, "hold", hold)


PLANTED = [
    recording_locks_nothing,
    deciding_locks_nothing,
    counting_before_the_lock,
    asking_behind_the_position,
]


@pytest.mark.parametrize("plant", PLANTED)
def test_each_known_mistake_is_caught(
    plant: Callable[[Patch], None], finality_postgres: PostgresServer, monkeypatch: Patch
) -> None:
    plant(monkeypatch)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        play(finality_postgres)
