"""Histories out of a SQLite file: in one row, and in many where that would be a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from finality.adapters.sqlite import store as sqlite_store
from finality.core.ids import Version
from finality.ports.codec import DecodeError
from tests.conformance.worlds import RUNNING, SQLITE_INLINE, AnyHome, Noted, World, append, begin, do, prepare


@pytest.mark.parametrize("bytes_max", [0, sqlite_store.ONE_ROW_BYTES_MAX])
def test_histories_are_the_same_however_many_rows_they_come_in(
    bytes_max: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        first, broken, last = [await begin(home, id) for id in ("t1", "t2", "t3")]
        await do(home, append(last, 1, RUNNING, *range(2, 13)))  # So that 10 would come before 9 as text.
        not_noted = Noted("größer")  # type: ignore[arg-type]  # so that nobody can read it
        await do(home, lambda tx: tx.append(broken, [not_noted], expected=Version(1)))
        monkeypatch.setattr(sqlite_store, "ONE_ROW_BYTES_MAX", bytes_max)

        histories = await home.histories([last, broken, first])
        assert isinstance(histories.pop(broken), DecodeError)
        assert histories == {first: [Noted(1)], last: [Noted(number) for number in range(1, 13)]}

    World(SQLITE_INLINE, tmp_path).run(main)
