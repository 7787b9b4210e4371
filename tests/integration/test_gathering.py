"""Where many transactions are under way, a decision waits a moment for others."""

from __future__ import annotations

import asyncio

import pytest

import finality
from finality.core.ids import TransactionId
from finality.core.two_phase import Decided, Decision
from finality.runtime import gathering
from finality.runtime.gathering import GATHER_MIN

COMMIT = Decided(Decision.COMMIT, ("bank",))
ALL = [TransactionId(f"t{number}") for number in range(GATHER_MIN)]


def test_decisions_wait_for_each_other_until_all_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is so long that only the last of them can be what lets them go."""
    monkeypatch.setattr(gathering, "GATHER_SECONDS", 3_600.0)

    async def main() -> None:
        async with finality.open_async("memory://gathered") as node:
            commitments = node._insides.commitments
            await commitments.decisions.identity()
            commitments.under_way.update(ALL)
            held = [asyncio.create_task(commitments.gathering.decide(id, COMMIT)) for id in ALL[:-1]]
            await asyncio.sleep(0)
            undecided = await commitments.decisions.undecided({*ALL})
            await commitments.gathering.decide(ALL[-1], COMMIT)
            await asyncio.gather(*held)

            assert undecided == {*ALL}
            assert await commitments.decisions.undecided({*ALL}) == set()

    asyncio.run(main())


def test_a_decision_waits_for_a_moment_and_where_few_are_under_way_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody else decides here, so the first comes by its time alone, and the second has none to wait."""

    async def main() -> None:
        async with finality.open_async("memory://moment") as node:
            commitments = node._insides.commitments
            await commitments.decisions.identity()
            commitments.under_way.update(ALL)
            await commitments.gathering.decide(ALL[0], COMMIT)
            monkeypatch.setattr(gathering, "GATHER_SECONDS", 3_600.0)
            commitments.under_way.discard(ALL[0])
            await commitments.gathering.decide(ALL[1], COMMIT)

            assert await commitments.decisions.undecided({*ALL[:2]}) == set()

    asyncio.run(main())
