"""An event of the user's own: a dataclass, with a name and a version once its shape has changed.

```
    @finality.event(version=2, tags=["account"])
    @dataclass(frozen=True)
    class Withdrawn:
        account: str
        amount: int
        currency: str

    @finality.upcast(Withdrawn, from_version=1)
    def with_currency(old: dict[str, Any]) -> dict[str, Any]:
        return {**old, "currency": "EUR"}
```

A plain dataclass is an event, too: it is called as its class is, and its version is 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from finality.core.errors import DefinitionError
from finality.core.sourcing import Forgotten, Upcaster, check_category, missing_upcaster, type_name
from finality.patterns.definition import check_carried
from finality.patterns.part import did_you_mean
from finality.runtime.sourcing.kind import EventType

T = TypeVar("T")


@dataclass(slots=True)
class Declared:
    """What ``@finality.event`` says of a class, and what leads to it from earlier versions."""

    name: str
    version: int = 1
    tags: tuple[str, ...] = ()
    upcasters: dict[int, Upcaster] = field(default_factory=dict)


def event(
    *, name: str | None = None, version: int = 1, tags: Iterable[str] = ()
) -> Callable[[type[T]], type[T]]:
    """Say of a dataclass how the journal calls it, and what its events can be found by.

    Args:
        name: By default the class's own; keep it when you rename the class.
        version: Of its shape; raise it with an upcaster whenever an old event would not fit.
        tags: Fields whose values its events are found by, across streams: ``finality.events``.

    Raises:
        DefinitionError: The name is none, or a tag is no field.
    """

    def declare(cls: type[T]) -> type[T]:
        if version < 1:
            raise DefinitionError(f"event {cls.__name__} has version {version}: the first is 1")
        for tag in (listed := tuple(tags)):
            if tag not in _fields(cls):
                raise DefinitionError(
                    f"event {cls.__name__} has the tag {tag!r}, which is no field of it"
                    f"{did_you_mean(tag, _fields(cls))}"
                )
        declared = Declared(check_category(name or cls.__name__), version, listed)
        cls.__finality_event__ = declared  # type: ignore[attr-defined]  # kept beside the class that it is of
        return cls

    return declare


def upcast(cls: type, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register what makes an event of version *from_version* one of the next, field by field.

    It takes and returns a dict, as the event's JSON has it; it may change and return what it got.

    Raises:
        DefinitionError: The class has no such version, or another upcaster from there.
    """
    declared = vars(cls).get("__finality_event__")
    if declared is None or not 1 <= from_version < declared.version:
        at = 1 if declared is None else declared.version
        raise DefinitionError(
            f"event {cls.__name__} cannot be upcast from version {from_version}: it is at version {at}; "
            "declare the newer version with @finality.event(version=…)"
        )
    if from_version in declared.upcasters:
        raise DefinitionError(f"event {cls.__name__} has two upcasters from version {from_version}")

    def register(function: Upcaster) -> Upcaster:
        declared.upcasters[from_version] = function
        return function

    return register


def event_type(cls: Any) -> EventType:
    """Return what records and reads events of *cls*; made once a class.

    Raises:
        DefinitionError: They cannot be kept, or not all of their versions read.
    """
    check_event(cls, "an event")
    made = vars(cls).get("__event_type__")
    if made is None:
        made = cls.__event_type__ = _define(cls)
    assert isinstance(made, EventType), f"{cls.__name__}.__event_type__ is {made!r}"
    return made


def _define(cls: type) -> EventType:
    check_carried(cls, f"event {cls.__name__}")
    declared = declared_of(cls)
    missing = missing_upcaster(declared.upcasters, declared.version)
    if missing is not None:
        raise DefinitionError(
            f"event {cls.__name__} is at version {declared.version} and nothing reads version {missing}: "
            f"write @finality.upcast({cls.__name__}, from_version={missing})"
        )
    type_ = type_name(declared.name, declared.version)
    return EventType(
        cls, declared.name, type_, declared.version, declared.tags, declared.upcasters, cls is Forgotten
    )


def check_event(cls: Any, what: str) -> None:
    """See that *cls* is a dataclass.

    Raises:
        DefinitionError: It is not.
    """
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        name = cls.__name__ if isinstance(cls, type) else repr(cls)
        raise DefinitionError(
            f"{what} is {name}, which is no dataclass: write @dataclass(frozen=True) above the class"
        )


def declared_of(cls: type) -> Declared:
    """Return what is declared of *cls*; a plain dataclass says it by itself.

    Raises:
        DefinitionError: Its name cannot be kept.
    """
    declared: Declared | None = vars(cls).get("__finality_event__")
    return declared or Declared(check_category(cls.__name__))


def _fields(cls: type) -> list[str]:
    # Above @dataclass the annotations say it, below it the fields do.
    return [*getattr(cls, "__dataclass_fields__", {}), *vars(cls).get("__annotations__", {})]
