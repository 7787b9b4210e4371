"""A group's progress survives as a short text."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finality.adapters.kept_progress import NOT_DONE_MAX, progress_of, text_of
from finality.adapters.progress import Progress

TEXT_CHARACTERS_MAX = 4_096  # What Kafka keeps beside an offset.


def progress_after(steps: list[tuple[str, int]], begin: int) -> tuple[Progress, set[int]]:
    """Return progress, and what was done, after the group was given some, did some and gave some back."""
    progress = Progress(begin - 1)
    done: set[int] = set()
    for what, number in steps:
        position = begin + number
        if what == "give" and position > progress.read_to:
            progress.give(position)
        elif what == "done" and position in progress.in_hand:
            progress.done(position)
            done.add(position)
        elif what == "later":
            progress.put_back(position, 1.0)
    return progress, done


STEPS = st.lists(st.tuples(st.sampled_from(["give", "done", "later"]), st.integers(0, 30)), max_size=40)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.integers(0, 2**62))
def test_the_text_says_what_is_done(steps: list[tuple[str, int]], begin: int) -> None:
    progress, done = progress_after(steps, begin)

    again = progress_of(text_of(progress))

    assert (again.read_to, again.done_to) == (progress.read_to, progress.done_to)
    assert set(again.later) == {*progress.in_hand, *progress.later}
    assert done.isdisjoint(again.later)


def test_what_is_behind_the_most_that_fits_is_given_again() -> None:
    progress = Progress(2**62)
    positions = range(2**62 + 1, 2**62 + 2 * NOT_DONE_MAX + 1)
    for position in positions:
        progress.give(position)
    progress.done(positions[0])
    progress.done(positions[-1])

    text = text_of(progress)
    again = progress_of(text)

    assert len(text) <= TEXT_CHARACTERS_MAX
    assert sorted(again.later) == list(positions[1 : NOT_DONE_MAX + 1])
    assert again.read_to == positions[NOT_DONE_MAX]


@pytest.mark.parametrize("text", ["", "by kafka-consumer-groups", "17,3"])
def test_a_text_of_somebody_else_is_no_progress(text: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|literal"):
        progress_of(text)
