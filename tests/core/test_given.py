"""The fixtures for aggregates: they pass what is right and fail what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import pytest

import finality
from finality.testing import given
from tests.core.accounts import Account, Deposited, Withdrawn


def test_what_is_decided_is_compared_and_the_state_behind_it_is_returned() -> None:
    after = given(Account, Deposited(50)).when(lambda account: account.withdraw(30)).then(Withdrawn(30))

    assert after == Account(20)


def test_nothing_may_be_decided() -> None:
    assert given(Account).when(lambda account: None).then() == Account()


def test_a_refusal_is_expected_by_its_reason() -> None:
    refused = given(Account).when(lambda account: account.withdraw(30)).refuses("not enough money")

    assert refused.because == "not enough money: 0"


def test_an_aggregate_has_an_id_as_if_it_were_loaded() -> None:
    loaded = given(Account, Deposited(1), Deposited(2), id="acc-7").aggregate.loaded

    assert (loaded.id, loaded.version) == ("acc-7", 2)


def test_what_differs_is_told() -> None:
    decided = given(Account, Deposited(50)).when(lambda account: [account.withdraw(1), account.deposit(2)])

    with pytest.raises(AssertionError, match=r"expected Withdrawn\(amount=1\), and .*Deposited"):
        decided.then(Withdrawn(1))
    with pytest.raises(AssertionError, match="expected a refusal"):
        decided.refuses()
    refused = given(Account).when(lambda account: account.withdraw(1))
    with pytest.raises(AssertionError, match="it was refused: not enough money"):
        refused.then(Withdrawn(1))
    with pytest.raises(AssertionError, match="with 'closed' in it"):
        refused.refuses("closed")


def test_an_event_that_the_journal_could_not_give_back_is_found() -> None:
    @dataclass(frozen=True)
    class Noted:
        what: Any = None

    @dataclass(frozen=True)
    class Notes(finality.Aggregate[Noted]):
        def evolve(self, event: Noted) -> Self:
            return self

    with pytest.raises(AssertionError, match="the journal would give back"):
        given(Notes).when(lambda notes: Noted({1: 2}))
