"""The promises of ``ports.home.Home``: many transactions in one look."""

from __future__ import annotations

from typing import Any

from finality.core.ids import TransactionId, Version
from finality.core.saga import Summary
from finality.ports.codec import DecodeError
from finality.ports.home import Birth
from tests.conformance.worlds import (
    ENDED,
    RUNNING,
    AnyHome,
    Noted,
    World,
    append,
    begin,
    do,
    do_all,
    prepare,
)


def test_many_are_read_in_one_look_and_one_that_cannot_be_read_keeps_nobody_from_the_others(
    world: World,
) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        not_noted = Noted("a text")  # type: ignore[arg-type]  # so that nobody can read it
        first, broken, last = [await begin(home, id) for id in ("t1", "t2", "t3")]
        await do_all(
            home,
            append(last, 1, RUNNING, 2, 3),
            lambda tx: tx.append(broken, [not_noted], expected=Version(1), summary=RUNNING),
            append(broken, 2),
            append(first, 1, RUNNING, 4),
        )

        histories = await home.histories([last, first, broken, 99])
        error = histories.pop(broken)
        assert isinstance(error, DecodeError)
        assert "value" in str(error)
        assert histories == {key: [r.event for r in await home.load(key)] for key in (first, last)}
        assert histories[last] == [Noted(1), Noted(2), Noted(3)]
        heads = await home.heads_of([last, 99, broken])
        assert sorted(heads, key=lambda head: head.key) == [await home.head(key) for key in (broken, last)]
        assert (await home.heads_of([]), await home.histories([])) == ([], {})

    world.run(main)


def test_of_some_ids_those_that_have_begun_are_known(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        for id in ("t1", "t%", 't"3'):
            await begin(home, id)
        asked = ["t1", "t2", "t%", 't"3', ""]

        assert await home.begun([*map(TransactionId, asked)]) == {"t1", "t%", 't"3'}
        assert await home.begun([]) == set()

    world.run(main)


def test_heads_come_newest_first_by_page_and_by_filter(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        await do(home, lambda tx: tx.define("Order", "1", "{}"))
        keys = [await begin(home, f"t{n}", summary=ENDED if n % 2 else RUNNING) for n in range(5)]
        birth = Birth(TransactionId("o"), "Order", "1")
        order = await do(home, lambda tx: tx.create(birth, [Noted(1)], Summary("stuck", wake_at=9.0)))

        async def found(**filters: Any) -> list[int]:
            return [head.key for head in await home.heads(**filters)]

        assert await found() == [order, *reversed(keys)]
        assert await found(limit=2) == [order, keys[4]]
        assert await found(before=keys[4], limit=2) == [keys[3], keys[2]]
        assert await found(before=keys[0]) == []
        assert await found(kind="Order") == await found(status="stuck") == [order]
        assert await found(is_open=True) == [order, keys[4], keys[2], keys[0]]
        assert await found(is_open=False, kind="Trip") == [keys[3], keys[1]]
        assert await found(status="running", before=keys[4]) == [keys[2], keys[0]]
        assert await home.counts() == {
            ("Trip", "running"): 3,
            ("Trip", "completed"): 2,
            ("Order", "stuck"): 1,
        }

    world.run(main)


def test_children_are_found_by_their_parent(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        parent = await begin(home, "p")
        children = [await begin(home, f"c{n}", parent=parent) for n in range(2)]
        await begin(home, "other")

        assert [head.key for head in await home.children(parent)] == children
        assert [head.parent for head in await home.children(parent)] == [parent, parent]
        assert await home.children(children[0]) == []

    world.run(main)
