"""A reservation at its participant, asked in every order."""

from __future__ import annotations

from itertools import product

import pytest

from finality.core.ids import Json
from finality.core.reservation import (
    LAPSE_SECONDS,
    NEVER_TRIED,
    Ask,
    Mistake,
    Proceed,
    RecordOnly,
    Repeat,
    Reply,
    Reserved,
    Stage,
    answer_to,
    finished,
    may_lapse,
    may_vote_yes,
    refused,
    tried,
)
from finality.core.two_phase import Decision

TRY, CONFIRM, CANCEL, LAPSE = Ask.TRY, Ask.CONFIRM, Ask.CANCEL, Ask.LAPSE
SEAT = Json('"12A"')
TRIED, REFUSED = tried(SEAT), refused("sold out")
CONFIRMED, CANCELLED = finished(TRIED, CONFIRM), finished(TRIED, CANCEL)
EMPTY = finished(NEVER_TRIED, CANCEL)

# fmt: off
TABLE = [
    # it has recorded  try         confirm        cancel         lapse
    (NEVER_TRIED,      Proceed(),  Mistake,       RecordOnly(),  Repeat()),
    (TRIED,            Repeat(),   Proceed(SEAT), Proceed(SEAT), Proceed(SEAT)),
    (REFUSED,          Repeat(),   Mistake,       Repeat(),      Repeat()),
    (CONFIRMED,        Repeat(),   Repeat(),      Repeat(),      Repeat()),
    (CANCELLED,        Repeat(),   Repeat(),      Repeat(),      Repeat()),
    (EMPTY,            Repeat(),   Repeat(),      Repeat(),      Repeat()),   # The late try, too.
]
# fmt: on


@pytest.mark.parametrize("recorded, to_try, to_confirm, to_cancel, to_lapse", TABLE)
def test_a_reservation_answers_from_what_is_recorded(
    recorded: Reserved, to_try: Reply, to_confirm: Reply | type, to_cancel: Reply, to_lapse: Reply
) -> None:
    for ask, expected in ((TRY, to_try), (CONFIRM, to_confirm), (CANCEL, to_cancel), (LAPSE, to_lapse)):
        reply = answer_to(recorded, ask)

        assert reply == expected or (expected is Mistake and isinstance(reply, Mistake)), ask


@pytest.mark.parametrize("answer", [TRIED, REFUSED], ids=["held", "refused"])
def test_in_every_order_of_five_each_runs_at_most_once_and_answers_never_change(answer: Reserved) -> None:
    """A crash between the effect and its answer is the same request, asked again."""
    for order in product(Ask, repeat=5):
        recorded, ran = NEVER_TRIED, []
        outcomes: list[Decision] = []
        for ask in order:
            reply = answer_to(recorded, ask)
            if isinstance(reply, Proceed | RecordOnly):
                recorded = answer if ask is TRY else finished(recorded, ask)
                ran += [ask] if isinstance(reply, Proceed) else []
            if recorded.did is not None and recorded.stage is not Stage.NEVER_TRIED:
                outcomes.append(recorded.did)

        assert len(ran) == len(set(ran)), f"{order} ran something twice: {ran}"
        assert ran[:1] in ([], [TRY]), f"{order} ran {ran}: nothing runs before the try"
        assert len(ran) <= 2, f"{order} finished twice: {ran}"
        assert len(set(outcomes)) <= 1, f"{order} changed its mind: {outcomes}"


def test_what_becomes_of_a_branch_is_known_unless_it_is_tried() -> None:
    assert [each.did for each in (NEVER_TRIED, TRIED, REFUSED, CONFIRMED, CANCELLED, EMPTY)] == [
        Decision.ABORT, None, Decision.ABORT, Decision.COMMIT, Decision.ABORT, Decision.ABORT,
    ]  # fmt: skip


def test_only_what_may_run_is_recorded() -> None:
    with pytest.raises(AssertionError, match="must not run"):
        finished(CONFIRMED, CANCEL)
    with pytest.raises(AssertionError, match="with its answer"):
        finished(NEVER_TRIED, TRY)


def test_a_hold_votes_until_it_expires_and_lapses_only_long_after() -> None:
    assert may_vote_yes(None, 1e12)
    assert not may_lapse(None, 1e12)
    assert [may_vote_yes(100.0, now) for now in (99.9, 100.0)] == [True, False]
    assert [may_lapse(100.0, 100.0 + LAPSE_SECONDS + late) for late in (-0.1, 0.0)] == [False, True]
