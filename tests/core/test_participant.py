"""The other side of the table: one branch at a participant, asked in every order."""

from __future__ import annotations

from itertools import permutations

import pytest

from finality.core.ids import Json
from finality.core.participant import (
    NOTHING_KNOWN,
    Answer,
    Operation,
    Proceed,
    RefuseLate,
    Repeat,
    Reply,
    Witness,
    answer_to,
    recorded,
)

ACTION, COMPENSATION = Operation.ACTION, Operation.COMPENSATION
PAID, REFUNDED, NO = Answer(Json('"paid"')), Answer(Json("null")), Answer(Json('"no money"'), is_refusal=True)

# fmt: off
TABLE = [
    # it holds                 it is asked for  it answers
    (NOTHING_KNOWN,            ACTION,          Proceed()),
    (Witness(PAID),            ACTION,          Repeat(PAID)),
    (Witness(NO),              ACTION,          Repeat(NO)),             # A no must not turn into a yes.
    (Witness(PAID, REFUNDED),  ACTION,          Repeat(PAID)),
    (Witness(None, REFUNDED),  ACTION,          RefuseLate()),           # The late try.
    (NOTHING_KNOWN,            COMPENSATION,    Proceed(undoes=None)),   # The empty cancel.
    (Witness(PAID),            COMPENSATION,    Proceed(undoes=PAID)),
    (Witness(NO),              COMPENSATION,    Proceed(undoes=None)),
    (Witness(PAID, REFUNDED),  COMPENSATION,    Repeat(REFUNDED)),
    (Witness(None, REFUNDED),  COMPENSATION,    Repeat(REFUNDED)),
]
# fmt: on


@pytest.mark.parametrize("holds,asked,answers", TABLE)
def test_a_participant_answers_from_what_it_holds(holds: Witness, asked: Operation, answers: Reply) -> None:
    assert answer_to(holds, asked) == answers


@pytest.mark.parametrize("action_answer", [PAID, NO], ids=["paid", "refused"])
def test_in_every_order_each_takes_effect_at_most_once_and_nothing_is_left(action_answer: Answer) -> None:
    """Each request is also cut off between the effect and its answer: it then simply comes again."""
    asked = (ACTION, ACTION, ACTION, COMPENSATION, COMPENSATION, COMPENSATION)
    for order in set(permutations(asked)):
        witness = NOTHING_KNOWN
        balance = 0
        ran: list[Operation] = []
        answers: dict[Operation, set[Answer]] = {ACTION: set(), COMPENSATION: set()}
        for operation in order:
            reply = answer_to(witness, operation)
            match reply:
                case Proceed(undoes):
                    answer = action_answer if operation is ACTION else REFUNDED
                    if operation is ACTION and not answer.is_refusal:
                        balance += 1
                    elif operation is COMPENSATION and undoes is not None:
                        balance -= 1
                    witness = recorded(witness, operation, answer)
                    ran.append(operation)
                    answers[operation].add(answer)
                case Repeat(answer):
                    answers[operation].add(answer)
                case RefuseLate():
                    assert order.index(COMPENSATION) < order.index(ACTION), order
            assert witness.has_effect == (balance == 1), order

        assert balance == 0, f"{order} leaves something behind"
        assert len(ran) == len(set(ran)), f"{order} ran something twice: {ran}"
        assert all(len(given) <= 1 for given in answers.values()), f"{order} changed an answer: {answers}"


def test_a_participant_records_only_what_may_run() -> None:
    with pytest.raises(AssertionError, match="must not run"):
        recorded(Witness(PAID), ACTION, PAID)
    with pytest.raises(AssertionError, match="cannot refuse"):
        recorded(Witness(PAID), COMPENSATION, NO)
