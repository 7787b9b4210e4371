"""How a batch is divided, so that order within a key holds when a part of it fails."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from finality.adapters.waves import Outcomes, portions, waves
from finality.core.envelope import Envelope
from finality.core.errors import Unavailable

KEYS = st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=20)


def batch(keys: list[str]) -> list[Envelope]:
    return [Envelope(str(n), "/shop", "Placed", "orders", b"", key=key) for n, key in enumerate(keys)]


@settings(max_examples=50, deadline=None)
@given(KEYS)
def test_no_wave_has_a_key_twice_and_none_comes_before_an_earlier_one(keys: list[str]) -> None:
    events = batch(keys)
    found = waves(range(len(events)), events)

    assert sorted(index for wave in found for index in wave) == [*range(len(events))]
    for key in {"a", "b", "c"}:
        of_key = [(n, index) for n, wave in enumerate(found) for index in wave if keys[index] == key]
        assert len({n for n, _ in of_key}) == len(of_key)
        assert [index for _, index in of_key] == sorted(index for _, index in of_key)


@settings(max_examples=50, deadline=None)
@given(KEYS, st.data())
def test_what_is_behind_a_failure_of_its_key_may_not_go(keys: list[str], data: st.DataObject) -> None:
    events = batch(keys)
    failing = data.draw(st.sets(st.integers(0, len(keys) - 1))) if keys else set()
    outcomes = Outcomes(events)
    for index in failing:
        outcomes.fail(index, Unavailable("it is away"))

    for index, key in enumerate(keys):
        is_behind = any(failed < index and keys[failed] == key != "" for failed in failing)
        assert outcomes.may_go(index) != is_behind
        assert (outcomes.each[index] is None) != (is_behind or index in failing)


@dataclass(frozen=True)
class Parcel:
    bytes: int


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=20))
def test_portions_keep_the_order_and_the_limit(sizes: list[int]) -> None:
    parcels = [Parcel(size) for size in sizes]
    found = portions(parcels, 10)

    assert [parcel for portion in found for parcel in portion] == parcels
    assert all(len(portion) == 1 or sum(each.bytes for each in portion) <= 10 for portion in found if portion)
