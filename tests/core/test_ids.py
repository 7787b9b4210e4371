"""Ids: a time-ordered UUID has the layout of RFC 9562 and sorts by time."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from finality.core.ids import TransactionId, transaction_stream, uuid7

MILLISECONDS = st.integers(0, (1 << 48) - 1)
CHANCES = st.integers(0, (1 << 74) - 1)


@given(MILLISECONDS, CHANCES)
def test_its_fields_are_where_the_rfc_puts_them(milliseconds: int, chance: int) -> None:
    made = UUID(uuid7(milliseconds, chance))

    assert made.version == 7
    assert made.variant == RFC_4122
    assert made.int >> 80 == milliseconds
    assert (made.int >> 64 & 0xFFF) << 62 | made.int & (1 << 62) - 1 == chance


@given(MILLISECONDS, MILLISECONDS, CHANCES, CHANCES)
def test_a_later_one_sorts_after_an_earlier_one(one: int, other: int, chance: int, luck: int) -> None:
    if one < other:
        assert uuid7(one, chance) < uuid7(other, luck)
    if one == other:
        assert (uuid7(one, chance) < uuid7(other, luck)) == (chance < luck)


def test_the_example_of_the_rfc_comes_out() -> None:
    """RFC 9562, appendix A.6: 0x017F22E279B0 milliseconds, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F."""
    chance = 0xCC3 << 62 | 0x18C4DC0C0C07398F

    assert uuid7(0x017F22E279B0, chance) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_a_transaction_is_the_stream_of_its_name() -> None:
    assert transaction_stream(TransactionId("trip-42")) == "transaction/trip-42"
