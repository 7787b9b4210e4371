"""Backoff: waits grow up to a cap, chance only shortens them, and attempts run out when told to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finality.core.backoff import DEFAULT, FOREVER, PATIENT, Retry

SECONDS = st.floats(0, 1e6)
RETRIES = st.builds(
    Retry,
    attempts=st.none() | st.integers(1, 100),
    first_seconds=SECONDS,
    factor=st.floats(1, 100),
    cap_seconds=SECONDS,
    jitter=st.floats(0, 1),
)
ATTEMPTS = st.integers(1, 10_000)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(RETRIES, ATTEMPTS, CHANCES)
def test_no_wait_is_negative_or_above_the_cap(retry: Retry, attempt: int, chance: float) -> None:
    assert 0 <= retry.delay_seconds(attempt, chance) <= retry.cap_seconds


@given(RETRIES, ATTEMPTS)
def test_waits_never_shrink_from_one_attempt_to_the_next(retry: Retry, attempt: int) -> None:
    assert retry.delay_seconds(attempt, 0.0) <= retry.delay_seconds(attempt + 1, 0.0)


@given(RETRIES, ATTEMPTS, CHANCES)
def test_chance_takes_away_no_more_than_its_share(retry: Retry, attempt: int, chance: float) -> None:
    full = retry.delay_seconds(attempt, 0.0)

    assert full * (1 - retry.jitter) <= retry.delay_seconds(attempt, chance) <= full


@given(RETRIES, ATTEMPTS)
def test_once_exhausted_it_stays_so(retry: Retry, attempt: int) -> None:
    is_exhausted = retry.is_exhausted(attempt)

    assert is_exhausted == (retry.attempts is not None and attempt >= retry.attempts)
    assert retry.is_exhausted(attempt + 1) >= is_exhausted


# fmt: off
WAITS = [
    # attempt  seconds
    (1,         0.1),
    (2,         0.2),
    (3,         0.4),
    (9,        25.6),
    (10,       30.0),
    (10_000,   30.0),
]
# fmt: on


@pytest.mark.parametrize("attempt,seconds", WAITS)
def test_the_default_waits_double_from_a_tenth_of_a_second_to_half_a_minute(
    attempt: int, seconds: float
) -> None:
    assert DEFAULT.delay_seconds(attempt, 0.0) == pytest.approx(seconds)


def test_each_default_gives_up_when_its_name_says() -> None:
    assert (DEFAULT.attempts, PATIENT.attempts, FOREVER.attempts) == (5, 20, None)


# fmt: off
WRONG = [
    ({"attempts": 0},        "attempts is 0: the first counts; give 1 or more, or None"),
    ({"first_seconds": -1},  "a wait is negative: give seconds of 0 or more"),
    ({"cap_seconds": -1},    "a wait is negative: give seconds of 0 or more"),
    ({"factor": 0.5},        "factor is 0.5: waits may not shrink; give 1 or more"),
    ({"jitter": 1.5},        "jitter is 1.5: it is a share; give 0 to 1"),
]
# fmt: on


@pytest.mark.parametrize("fields,message", WRONG)
def test_a_retry_that_cannot_work_is_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match="give") as refused:
        Retry(**fields)  # type: ignore[arg-type]  # the table holds numbers of both kinds

    assert str(refused.value) == message
