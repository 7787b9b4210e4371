"""A participant's connections: bounded, clean, and never all taken by those that wait for the others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from finality.adapters import connections
from finality.adapters.connections import FINISHING_MAX, Connections
from finality.core.errors import Unavailable


@dataclass(eq=False)
class Line:
    """Stands for a driver's connection."""

    is_clean: bool = True
    is_dropped: bool = False


class Lines(Connections[Line]):
    """Counts what it opens."""

    def __init__(self, branches_max: int) -> None:
        self.opened: list[Line] = []
        super().__init__(
            "bank", branches_max, connect=self._open, is_clean=lambda line: line.is_clean, drop=self._cut
        )

    async def _open(self) -> Line:
        await asyncio.sleep(0)
        self.opened.append(Line())
        return self.opened[-1]

    def _cut(self, line: Line) -> None:
        line.is_dropped = True


def test_a_connection_that_something_is_open_on_is_never_handed_out_again() -> None:
    async def story() -> None:
        lines = Lines(5)
        first = await lines.take()
        first.is_clean = False
        lines.give_back(first)
        second = await lines.take()
        lines.give_back(second)
        second.is_clean = False  # Its server has gone while it was idle.

        assert await lines.take() not in (first, second)
        assert first.is_dropped
        assert second.is_dropped

    asyncio.run(story())


def test_they_are_bounded_and_whoever_finishes_branches_has_some_more() -> None:
    async def story() -> None:
        lines = Lines(2)
        taken = [await lines.take() for _ in range(2)]
        waiting = [asyncio.ensure_future(lines.take()) for _ in range(3)]
        finishing = [await lines.take(is_finishing=True) for _ in range(FINISHING_MAX)]
        late = asyncio.ensure_future(lines.take(is_finishing=True))
        await asyncio.sleep(0.01)

        assert not any(each.done() for each in (*waiting, late))

        lines.give_back(taken[0])  # Not to the one who has waited longest: he waits for what is finished.

        assert await late is taken[0]
        for line in (*finishing, *taken):
            lines.give_back(line)
        assert len({id(await each) for each in waiting[:2]}) == 2
        assert len(lines.opened) == 2 + FINISHING_MAX
        assert not waiting[2].done()
        lines.close()
        with pytest.raises(Unavailable, match="closed"):
            await waiting[2]

    asyncio.run(story())


def test_whoever_waits_too_long_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TAKE_SECONDS_MAX", 0.01)

    async def story() -> None:
        lines = Lines(1)
        line = await lines.take()
        with pytest.raises(Unavailable, match="connections_max="):
            await lines.take()
        gone = asyncio.ensure_future(lines.take())
        await asyncio.sleep(0)
        gone.cancel()
        lines.give_back(line)

        assert await lines.take() is line  # Nobody who has left is counted.

    asyncio.run(story())


def test_what_is_taken_when_it_closes_is_cut_too() -> None:
    async def story() -> None:
        lines = Lines(2)
        idle, taken = await lines.take(), await lines.take()
        lines.give_back(idle)
        lines.close()

        assert idle.is_dropped
        assert taken.is_dropped
        lines.give_back(taken)
        with pytest.raises(Unavailable, match="closed"):
            await lines.take()

    asyncio.run(story())


def test_one_that_is_given_back_while_it_is_renewed_leaves_no_other_behind() -> None:
    async def story() -> None:
        lines = Lines(1)
        lost = await lines.take()
        renewing = asyncio.ensure_future(lines.renewed(lost))
        await asyncio.sleep(0)
        lost.is_clean = False
        lines.give_back(lost)
        with pytest.raises(Unavailable, match="back"):
            await renewing

        assert [line.is_dropped for line in lines.opened] == [True, True]
        assert await lines.take() is lines.opened[2]

    asyncio.run(story())
