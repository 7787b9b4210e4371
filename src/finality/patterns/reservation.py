"""A reservation as users write it (TCC): a dataclass that tries, and then confirms or cancels.

```
    @dataclass(frozen=True)
    class SeatHold(finality.Reservation[FlightId]):
        seat: str

        async def try_(self, tx: finality.Tx) -> FlightId: ...
        async def confirm(self, tx: finality.Tx, held: FlightId) -> None: ...
        async def cancel(self, tx: finality.Tx, held: FlightId) -> None: ...
```

Each method is one local transaction, ``async def`` or plain ``def``, and runs once. A cancel gets
what the try has held; of a try that never ran, or said no, there is nothing to cancel and none is
called: the store itself remembers that the try must not run any more.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar

from finality.core.errors import DefinitionError
from finality.patterns.declaration import fields_of, local_scope
from finality.patterns.definition import check_carried, check_tx, write_out
from finality.patterns.options import positive
from finality.patterns.part import Method, did_you_mean
from finality.patterns.signature import TX, hints_of, signature_of, text_of
from finality.runtime.reservations import code

Held = TypeVar("Held")

HELD = "held"
METHODS = {"try_": (TX,), "confirm": (TX, HELD), "cancel": (TX, HELD)}


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the body of a reservation class says, as far as names go.

    Attributes:
        scope: The local names that its annotations may use, if it was defined in a function.
    """

    methods: Mapping[str, Method]
    expires: timedelta | None
    scope: Mapping[str, Any]


class Reservation(Generic[Held]):
    """What every reservation extends, naming what its try holds.

    Keywords:
        expires: How long what is held is promised; a transaction that ends later is aborted.
            Without it a hold stands until the transaction is decided.
    """

    __reservation__: ClassVar[Declaration]

    def __init_subclass__(cls, *, expires: timedelta | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "__reservation__" in vars(cls):
            return  # @dataclass(slots=True) makes the class a second time, without its keywords.
        base = getattr(cls, "__reservation__", None)
        if expires is not None:
            positive(expires, f"the expiry of {cls.__name__}")
        elif base is not None:
            expires = base.expires
        scope = {**({} if base is None else base.scope), **local_scope(cls, depth=1)}
        methods = {name: _method(cls, name, names) for name, names in METHODS.items()}
        cls.__reservation__ = Declaration(methods, expires, scope)


def _method(cls: type, name: str, names: tuple[str, ...]) -> Method:
    function = getattr(cls, name, None)
    who = f"{name!r} of reservation {cls.__name__}"
    if function is None:
        own = [each for each in vars(cls) if not each.startswith("__") and each not in METHODS]
        hint = did_you_mean(name, own) if own else ""
        raise DefinitionError(
            f"reservation {cls.__name__} has no {name!r}: it tries, and then confirms or cancels; "
            f"declare {_shape(name, names)}{hint}"
        )
    signature = signature_of(function, who)
    if signature.names != names:
        raise DefinitionError(
            f"{who} takes ({', '.join(('self', *signature.names))}): declare {_shape(name, names)}"
        )
    return Method(function, signature, who)


def _shape(name: str, names: tuple[str, ...]) -> str:
    return f"def {name}({', '.join(('self', *names))}), plain or async"


def code_of(cls: type[Reservation[Any]]) -> code.ReservationCode:
    """Return what a participant runs for *cls*; made once a class.

    Raises:
        DefinitionError: *cls* is no reservation, or its declaration cannot keep its promise.
    """
    if not (isinstance(cls, type) and issubclass(cls, Reservation)) or cls is Reservation:
        raise DefinitionError(f"{cls!r} is not a reservation: extend finality.Reservation")
    made = vars(cls).get("__reservation_code__")
    if made is None:
        made = _define(cls, cls.__reservation__)
        cls.__reservation_code__ = made  # type: ignore[attr-defined]  # kept here, beside the class that it is of
    assert isinstance(made, code.ReservationCode), f"{cls.__name__}.__reservation_code__ is {made!r}"
    return made


def _define(cls: type[Reservation[Any]], declared: Declaration) -> code.ReservationCode:
    kind = cls.__name__
    if "__dataclass_fields__" not in vars(cls) and not _inherits_fields(cls):
        raise DefinitionError(
            f"reservation {kind} is not a dataclass: its fields are what is kept until it is decided; "
            "write @dataclass(frozen=True) above the class"
        )
    fields = {
        name: hint
        for owner in reversed(cls.__mro__)
        for name, hint in hints_of(owner, _own_fields(owner), declared.scope, f"reservation {kind}").items()
    }
    write_out(cls, fields)
    check_carried(cls, f"the input of reservation {kind}")
    held = _held_of(cls, declared)
    check_carried(held, f"what reservation {kind} holds")
    methods = {
        name: code.Method(each.function, each.signature.style) for name, each in declared.methods.items()
    }
    return code.ReservationCode(
        kind, cls, held, methods["try_"], methods["confirm"], methods["cancel"],
        expires_seconds=None if declared.expires is None else declared.expires.total_seconds(),
    )  # fmt: skip


def _inherits_fields(cls: type) -> bool:
    return hasattr(cls, "__dataclass_fields__") and not vars(cls).get("__annotations__")


def _own_fields(owner: type) -> dict[str, Any]:
    known = fields_of(owner)
    return {name: hint for name, hint in vars(owner).get("__annotations__", {}).items() if name in known}


def _held_of(cls: type, declared: Declaration) -> Any:
    """Return the type of what the try holds, and see that the other methods take it."""
    hints = {
        name: hints_of(each.function, each.function.__annotations__, declared.scope, each.who)
        for name, each in declared.methods.items()
    }
    for name, each in declared.methods.items():
        check_tx(each, hints[name].get(TX))
    held = hints["try_"].get("return", Any)
    for name in ("confirm", "cancel"):
        taken = hints[name].get(HELD, Any)
        if not _takes(taken, held):
            raise DefinitionError(
                f"{declared.methods[name].who} takes held as {text_of(taken)}, and 'try_' holds "
                f"{text_of(held)}: annotate both alike"
            )
    named = _named_by(cls)
    if named is not None and not _takes(named, held):
        raise DefinitionError(
            f"reservation {cls.__name__} is a Reservation[{text_of(named)}], and its 'try_' holds "
            f"{text_of(held)}: name the same type in both places"
        )
    return held


def _named_by(cls: type) -> Any:
    """Return what the class says that it holds, ``Reservation[…]``; None if that is not known here."""
    for base in getattr(cls, "__orig_bases__", ()):
        if typing.get_origin(base) is Reservation:
            [named] = typing.get_args(base)
            return None if isinstance(named, TypeVar | typing.ForwardRef) else named
    return None


def _takes(taken: Any, held: Any) -> bool:
    return Any in (taken, held) or text_of(taken) in (text_of(held), text_of(typing.Optional[held]))  # noqa: UP045 - None | None is none
