"""``node.transaction()``, ``node.run`` and ``node.query``: committed whole, or nothing of it."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import finality
from tests.integration.kit import effects, put, table, url_of, within


def test_a_block_commits_when_it_ends_and_leaves_nothing_when_it_raises(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            async with node.transaction() as tx:
                await tx.execute("INSERT INTO effect VALUES (?)", "one")
                await tx.execute("INSERT INTO effect VALUES (?)", "two")
                assert (await tx.execute("SELECT count(*) FROM effect")).scalar() == 2
                assert await effects(node) == []  # Others see what is committed.

            async def failing() -> None:
                async with node.transaction() as tx:
                    await tx.execute("INSERT INTO effect VALUES (?)", "three")
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await failing()
            async with node.transaction():
                pass  # A block without a statement opens no transaction.

            assert await effects(node) == ["one", "two"]

    asyncio.run(main())


def test_a_block_whose_task_is_cancelled_leaves_nothing_and_lets_the_next_one_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            written = asyncio.Event()

            async def endless() -> None:
                async with node.transaction() as tx:
                    await tx.execute("INSERT INTO effect VALUES (?)", "half")
                    written.set()
                    await asyncio.sleep(3600)

            task = asyncio.ensure_future(endless())
            await within(written.wait())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await node.run(lambda tx: put(tx, "next"))

            assert await effects(node) == ["next"]

    asyncio.run(main())


def test_a_statement_after_the_end_of_the_block_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            async with node.transaction() as tx:
                await tx.execute("INSERT INTO effect VALUES ('in')")
            with pytest.raises(finality.FinalityError, match="has ended, so nothing more can run in it"):
                await tx.execute("INSERT INTO effect VALUES ('out')")
            for statement in ("COMMIT", "ROLLBACK", "DELETE FROM finality_event"):
                with pytest.raises(finality.FinalityError, match="is refused"):
                    async with node.transaction() as tx:
                        await tx.execute(statement)

            assert await effects(node) == ["in"]

    asyncio.run(main())


def test_many_functions_share_a_commit_and_each_hears_its_own_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)

            def write(n: int, tx: finality.SyncTx) -> int:
                put(tx, str(n))
                if n % 10 == 0:
                    raise ValueError(n)
                return n

            runs = [node.run(partial(write, n)) for n in range(100)]
            answers: list[Any] = await within(asyncio.gather(*runs, return_exceptions=True))

            assert [a for a in answers if isinstance(a, int)] == [n for n in range(100) if n % 10]
            assert sum(isinstance(a, ValueError) for a in answers) == 10
            assert len(await effects(node)) == 90

    asyncio.run(main())


def test_the_synchronous_face_has_the_same_blocks_functions_and_queries(tmp_path: Path) -> None:
    with finality.open(url_of(tmp_path), stores={"bank": url_of(tmp_path, "bank")}) as node:
        for at in (None, "bank"):
            node.run(lambda tx: tx.execute("CREATE TABLE effect (what TEXT)"), at=at)
            with node.transaction(at=at) as tx:
                tx.execute("INSERT INTO effect VALUES (?)", "kept")
            for error in (KeyError, KeyboardInterrupt):
                with pytest.raises(error):
                    failing(node, at, error)
            assert node.query("SELECT * FROM effect", at=at) == [("kept",)]
        with pytest.raises(finality.NotFound, match="this node has no store 'shop'"):
            node.query("SELECT 1", at="shop")


def failing(node: finality.Node, at: str | None, error: type[BaseException]) -> None:
    """Write, and raise inside the block."""
    with node.transaction(at=at) as tx:
        tx.execute("INSERT INTO effect VALUES (?)", "gone")
        raise error


def test_a_query_cannot_write(tmp_path: Path) -> None:
    with finality.open(url_of(tmp_path)) as node:
        node.run(lambda tx: tx.execute("CREATE TABLE effect (what TEXT)"))
        with pytest.raises(finality.FinalityError, match="refused"):
            node.query("INSERT INTO effect VALUES ('x')")

        assert node.query("SELECT count(*) FROM effect WHERE what = ?", "x") == [(0,)]


def _slow(tx: finality.SyncTx, *, seconds: float) -> int:
    give_up = time.monotonic() + seconds
    return sum(1 for _ in iter(lambda: time.monotonic() < give_up, False))  # Busy, as a slow query is.


@pytest.mark.slow
def test_a_function_that_is_partly_given_is_reported_by_its_own_name(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await node.run(partial(_slow, seconds=0.12))

            assert [name for name, _ in (await node.health()).slowest_turns.values()] == ["function _slow"]

    asyncio.run(main())


def test_parameters_in_a_tuple_are_refused_with_a_word_on_how_to_give_them(tmp_path: Path) -> None:
    """As whoever comes from ``sqlite3`` writes them."""
    with finality.open(url_of(tmp_path)) as node:
        with pytest.raises(TypeError, match="give each parameter by itself"):
            node.run(lambda tx: tx.execute("SELECT ?", ("ann",)))

        assert node.query("SELECT ?", "ann") == [("ann",)]
