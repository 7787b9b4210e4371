"""Golden files find what would break the events that journals hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

import finality
from finality.testing import golden
from tests.core.accounts import Account, Deposited, Withdrawn
from tests.core.people import Customer, Joined, Moved

SAMPLES = (Deposited(50), Withdrawn(30))


@finality.event(name="Paid", version=2)
@dataclass(frozen=True)
class Paid:
    cents: int


@finality.upcast(Paid, from_version=1)
def in_cents(old: dict[str, Any]) -> dict[str, Any]:
    return {"cents": old["amount"] * 100}


@dataclass(frozen=True)
class Till(finality.Aggregate[Paid]):
    def evolve(self, event: Paid) -> Self:
        return self


def keep(folder: Path, name: str, data: dict[str, Any]) -> None:
    file = folder / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), "utf-8")


def test_what_is_new_is_written_once_and_then_compared(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"Deposited.json, Withdrawn.json was missing"):
        golden(tmp_path, Account, *SAMPLES)

    assert golden(tmp_path, Account, *SAMPLES) == {"Deposited": Deposited(50), "Withdrawn": Withdrawn(30)}


def test_events_of_old_versions_are_read_as_todays(tmp_path: Path) -> None:
    keep(tmp_path, "Till/Paid", {"amount": 3})
    keep(tmp_path, "Till/Paid@2", {"cents": 5})

    assert golden(tmp_path, Till, Paid(5)) == {"Paid": Paid(300), "Paid@2": Paid(5)}


BROKEN = [
    ("Account/Deposited", {"sum": 50}, r"declare @finality.event\(version=2\) and an upcaster"),
    ("Account/Deposited", {"amount": "50"}, "written as"),
    ("Account/Withdrawn@2", {"amount": 1}, "newer than this code's"),
    ("Account/Refunded", {"amount": 1}, "which nobody takes any more"),
]


@pytest.mark.parametrize("name, data, says", BROKEN)
def test_a_change_that_breaks_old_events_is_found(
    tmp_path: Path, name: str, data: dict[str, Any], says: str
) -> None:
    keep(tmp_path, "Account/Deposited", {"amount": 50})
    keep(tmp_path, "Account/Withdrawn", {"amount": 30})
    keep(tmp_path, name, data)

    with pytest.raises(AssertionError, match=says):
        golden(tmp_path, Account, *SAMPLES)


def test_an_upcaster_that_fails_on_an_old_event_is_found(tmp_path: Path) -> None:
    keep(tmp_path, "Till/Paid", {"price": 3})
    keep(tmp_path, "Till/Paid@2", {"cents": 5})

    with pytest.raises(AssertionError, match=r"is not read any more: an upcaster of Paid raised KeyError"):
        golden(tmp_path, Till, Paid(5))


def test_every_type_has_a_sample(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Account takes Withdrawn, and no sample"):
        golden(tmp_path, Account, Deposited(50))


def test_personal_data_is_written_without_its_seal(tmp_path: Path) -> None:
    ada = finality.Personal("Ada", of="c7")
    samples = Joined(ada), Moved(finality.Personal({}, of="c7"))
    with pytest.raises(AssertionError, match="has been written"):
        golden(tmp_path, Customer, *samples)

    read = golden(tmp_path, Customer, *samples)
    assert repr(read["Joined"]) == "Joined(name=Personal(sealed))"
    assert json.loads((tmp_path / "Customer" / "Joined.json").read_text("utf-8"))["name"]["of"] == "c7"
