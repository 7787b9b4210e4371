"""What a reservation class may look like, and what its mistakes are told as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NewType

import pytest

import finality
from finality.core.reservation import Ask
from finality.patterns.reservation import code_of
from finality.runtime.definition import Style

FlightId = NewType("FlightId", str)


@dataclass(frozen=True)
class SeatHold(finality.Reservation[FlightId], expires=timedelta(minutes=5)):
    seat: str

    async def try_(self, tx: finality.Tx) -> FlightId:
        return FlightId(self.seat)

    def confirm(self, tx: finality.SyncTx, held: FlightId) -> None: ...

    async def cancel(self, tx: finality.Tx, held: FlightId | None) -> None: ...


@dataclass(frozen=True)
class WindowHold(SeatHold):
    """Extends another one."""

    def confirm(self, tx: finality.SyncTx, held: FlightId) -> None:
        raise NotImplementedError


def test_a_class_says_what_runs_and_how() -> None:
    code, extended = code_of(SeatHold), code_of(WindowHold)

    assert (code.kind, code.type, code.held, code.expires_seconds) == ("SeatHold", SeatHold, FlightId, 300.0)
    assert [code.method(ask).style for ask in Ask] == [Style.SCOPE, Style.TURN, Style.SCOPE, Style.SCOPE]
    assert code_of(SeatHold) is code
    assert (extended.kind, extended.expires_seconds) == ("WindowHold", 300.0)
    assert extended.confirm.function is WindowHold.confirm


def test_a_class_of_a_function_knows_its_names() -> None:
    Seat = NewType("Seat", int)

    @dataclass(frozen=True, slots=True)
    class Local(finality.Reservation[Seat], expires=timedelta(seconds=1)):
        seat: Seat

        def try_(self, tx: finality.SyncTx) -> Seat:
            return self.seat

        def confirm(self, tx: finality.SyncTx, held: Seat) -> None: ...

        def cancel(self, tx: finality.SyncTx, held: Seat) -> None: ...

    code = code_of(Local)

    assert (code.held, code.expires_seconds) == (Seat, 1.0)


def plain(**methods: Any) -> type[Any]:
    """Return a reservation class with some methods replaced, or taken out by None."""

    def try_(self: Any, tx: finality.SyncTx) -> int: ...  # type: ignore[empty-body]  # it is never called
    def confirm(self: Any, tx: finality.SyncTx, held: int) -> None: ...
    def cancel(self: Any, tx: finality.SyncTx, held: int) -> None: ...

    body = {"try_": try_, "confirm": confirm, "cancel": cancel} | methods
    body = {name: method for name, method in body.items() if method is not None}
    return dataclass(type("Broken", (finality.Reservation,), {"__module__": __name__} | body))


def without_tx(self: Any) -> int: ...  # type: ignore[empty-body]  # it is never called
def without_held(self: Any, tx: finality.SyncTx) -> None: ...
def of_text(self: Any, tx: finality.SyncTx, held: str) -> None: ...
def of_awaited_tx(self: Any, tx: finality.Tx, held: int) -> None: ...
def yielding(self: Any, tx: finality.SyncTx) -> Any:
    yield 1


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: plain(cancel=None), "has no 'cancel': it tries, and then confirms or cancels"),
        (lambda: plain(cancel=None, cancle=without_held), "did you mean 'cancle'"),
        (lambda: plain(try_=without_tx), r"takes \(self\): declare def try_\(self, tx\)"),
        (lambda: plain(confirm=without_held), r"declare def confirm\(self, tx, held\), plain or async"),
        (lambda: plain(try_=yielding), "yields"),
        (lambda: plain(try_=7), "is not a function"),
        (lambda: code_of(plain(confirm=of_text)), "takes held as str, and 'try_' holds int"),
        (lambda: code_of(plain(cancel=of_awaited_tx)), "plain def and its tx is finality.Tx"),
        (lambda: code_of(int), "is not a reservation"),  # type: ignore[arg-type]  # a mistake on purpose
        (lambda: code_of(finality.Reservation), "is not a reservation"),
    ],
)
def test_a_mistake_is_told_when_the_class_is_made_or_first_used(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(finality.DefinitionError, match=why):
        make()


def test_a_class_that_cannot_be_kept_is_refused() -> None:
    class NoDataclass(finality.Reservation[int]):
        seat: str

        def try_(self, tx: finality.SyncTx) -> int:
            return 1

        def confirm(self, tx: finality.SyncTx, held: int) -> None: ...

        def cancel(self, tx: finality.SyncTx, held: int) -> None: ...

    class Thing:
        """Nothing says how to read one from JSON."""

    @dataclass
    class HoldsAnything(finality.Reservation[Thing]):
        def try_(self, tx: finality.SyncTx) -> Thing:
            return Thing()

        def confirm(self, tx: finality.SyncTx, held: Thing) -> None: ...

        def cancel(self, tx: finality.SyncTx, held: Thing) -> None: ...

    @dataclass
    class HoldsAnother(finality.Reservation[str]):
        def try_(self, tx: finality.SyncTx) -> int:
            return 1

        def confirm(self, tx: finality.SyncTx, held: int) -> None: ...

        def cancel(self, tx: finality.SyncTx, held: int) -> None: ...

    for broken, why in (
        (NoDataclass, "is not a dataclass"),
        (HoldsAnything, "what reservation HoldsAnything holds cannot be journaled"),
        (HoldsAnother, r"is a Reservation\[str\], and its 'try_' holds int"),
    ):
        with pytest.raises(finality.DefinitionError, match=why):
            code_of(broken)
    with pytest.raises(finality.DefinitionError, match="expiry of Never"):
        type("Never", (SeatHold,), {}, expires=timedelta(0))
