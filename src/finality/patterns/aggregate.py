"""An aggregate as users write it: a state that is the fold of its events.

```
    @dataclass(frozen=True)
    class Account(finality.Aggregate[Deposited | Withdrawn]):
        balance: int = 0                                              # the defaults are the empty state

        def withdraw(self, amount: int) -> Withdrawn: ...             # decide: what happens, if it may
        def evolve(self, event: Deposited | Withdrawn) -> Self: ...   # what an event changes
```

A business method returns events, or raises ``finality.Refused``; it changes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import typing
from collections.abc import Mapping
from types import UnionType
from typing import Any, ClassVar, Generic, Self, TypeVar, Union

from finality.core.errors import DefinitionError
from finality.core.sourcing import check_category
from finality.patterns.declaration import fields_of, local_scope
from finality.patterns.definition import check_carried, write_out
from finality.patterns.event import check_event, declared_of, event_type
from finality.patterns.signature import hints_of, text_of
from finality.runtime.sourcing.kind import PLACE, Kind, Loaded

E = TypeVar("E")

TAKEN = ("evolve", "loaded")  # What a field may not be called.


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """What the head and the body of an aggregate's class say."""

    name: str
    events: tuple[type, ...]
    version: int
    snapshot_every: int | None
    scope: Mapping[str, Any]


class Aggregate(Generic[E]):
    """What every aggregate extends, naming the events that it takes. Class keywords say the rest.

    Keywords:
        name: The category of its streams; by default the class's name. Keep it when you rename the class.
        snapshot_every: After how many events a snapshot is taken; by default none is.
        version: Of what ``evolve`` does; raise it when old snapshots would be wrong.
    """

    __aggregate__: ClassVar[Declaration]

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        snapshot_every: int | None = None,
        version: int | None = None,
        **keywords: Any,
    ) -> None:
        super().__init_subclass__(**keywords)
        if "__aggregate__" in vars(cls):
            return  # @dataclass(slots=True) makes the class a second time, without its keywords.
        base = getattr(cls, "__aggregate__", None)
        _check_fields(cls)
        _check_evolve(cls)
        if snapshot_every is not None and snapshot_every < 1:
            raise DefinitionError(
                f"{cls.__name__} takes a snapshot every {snapshot_every} events: write 1 or more"
            )
        cls.__aggregate__ = Declaration(
            check_category(name or cls.__name__),
            _events_of(cls, base),
            version if version is not None else base.version if base else 1,
            snapshot_every if snapshot_every is not None or base is None else base.snapshot_every,
            {**({} if base is None else base.scope), **local_scope(cls, depth=1)},
        )

    def evolve(self, event: E) -> Self:
        """Return the state that *event* makes of this one. It happened: nothing is refused here."""
        raise NotImplementedError  # A class without one of its own is refused when it is made.

    @property
    def loaded(self) -> Loaded:
        """Return where it was loaded from: its id and version. A state in between, or a copy, has none."""
        place = getattr(self, PLACE, None)
        if not isinstance(place, Loaded):
            raise DefinitionError(
                f"this {type(self).__name__} was not loaded, so it has no id and no version: pass on the one "
                "that load has returned; a copy of it, or what evolve returns, is another"
            )
        return place


def kind_of(cls: type[Aggregate[Any]]) -> Kind:
    """Return what folds and records aggregates of *cls*; made once a class.

    Raises:
        DefinitionError: *cls* is no aggregate, or its declaration cannot keep its promise.
    """
    if not (isinstance(cls, type) and issubclass(cls, Aggregate)) or cls is Aggregate:
        raise DefinitionError(f"{cls!r} is not an aggregate: extend finality.Aggregate")
    made = vars(cls).get("__kind__")
    if made is None:
        made = _define(cls, cls.__aggregate__)
        cls.__kind__ = made  # type: ignore[attr-defined]  # kept here, beside the class that it is of
    assert isinstance(made, Kind), f"{cls.__name__}.__kind__ is {made!r}"
    return made


def _check_fields(cls: type) -> None:
    for name in fields_of(cls):
        if name in TAKEN:
            raise DefinitionError(f"{cls.__name__} has a field {name!r}, which every aggregate has already")
    for name, hint in vars(cls).get("__annotations__", {}).items():
        default = vars(cls).get(name, dataclasses.MISSING)
        if isinstance(default, dataclasses.Field):
            has_default = default.default is not dataclasses.MISSING or not default.init
            if has_default or default.default_factory is not dataclasses.MISSING:
                continue
            default = dataclasses.MISSING
        if default is dataclasses.MISSING and "ClassVar" not in str(hint) and "KW_ONLY" not in str(hint):
            raise DefinitionError(
                f"{cls.__name__} has no default for {name!r}: the defaults are the state before the first "
                f"event; write {name}: … = …"
            )


def _check_evolve(cls: type) -> None:
    evolve = getattr(cls, "evolve", None)
    shape = "def evolve(self, event: …) -> Self"
    if evolve is Aggregate.evolve or not inspect.isfunction(evolve):
        raise DefinitionError(f"{cls.__name__} has no 'evolve': its state is what events make of it; {shape}")
    if inspect.iscoroutinefunction(evolve):
        raise DefinitionError(f"{cls.__name__}.evolve is async: it may wait for nothing; write {shape}")
    if len(inspect.signature(evolve).parameters) != 2:
        raise DefinitionError(f"{cls.__name__}.evolve takes the event and nothing else: write {shape}")


def _events_of(cls: type, base: Declaration | None) -> tuple[type, ...]:
    named = [
        typing.get_args(each)[0]
        for each in vars(cls).get("__orig_bases__", ())
        if isinstance(typing.get_origin(each), type) and issubclass(typing.get_origin(each), Aggregate)
    ]
    if not named or isinstance(named[0], TypeVar):
        if base is not None:
            return base.events
        raise DefinitionError(
            f"{cls.__name__} does not say which events it takes: write "
            f"class {cls.__name__}(finality.Aggregate[Deposited | Withdrawn])"
        )
    listed = typing.get_args(named[0]) if _is_union(named[0]) else (named[0],)
    names: dict[str, type] = {}
    for each in listed:
        check_event(each, f"an event of {cls.__name__}")
        other = names.setdefault(declared_of(each).name, each)
        if other is not each:
            raise DefinitionError(
                f"{cls.__name__} takes two events that the journal would call {declared_of(each).name}: give "
                "one of them another name with @finality.event(name=…)"
            )
    return listed


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, UnionType)


def _define(cls: type[Aggregate[Any]], declared: Declaration) -> Kind:
    name = cls.__name__
    parameters = getattr(cls, "__dataclass_params__", None)
    own = vars(cls).get("__annotations__")
    if parameters is None or not parameters.frozen or (own and "__dataclass_fields__" not in vars(cls)):
        raise DefinitionError(
            f"aggregate {name} is not a frozen dataclass: what happened changes it, and nothing else; write "
            "@dataclass(frozen=True) above the class"
        )
    fields: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        mine = {k: v for k, v in vars(owner).get("__annotations__", {}).items() if k in fields_of(owner)}
        fields |= hints_of(owner, mine, declared.scope, f"aggregate {name}")
    fields.pop("__aggregate__", None)
    write_out(cls, fields)
    if declared.snapshot_every is not None:
        check_carried(cls, f"the state of aggregate {name}")
    types = [event_type(each) for each in declared.events]
    return Kind(
        cls,
        declared.name,
        cls,
        {each.name: each for each in types},
        {each.cls: each for each in types},
        declared.snapshot_every,
        _shape(cls, fields, declared.version),
    )


def _shape(cls: type, fields: Mapping[str, Any], version: int) -> str:
    """Return what changes whenever an old snapshot could be misread."""
    text = json.dumps([version, _written(fields, {cls})], sort_keys=True)
    return hashlib.blake2b(text.encode()).hexdigest()[:16]


def _written(fields: Mapping[str, Any], seen: set[Any]) -> dict[str, Any]:
    return {name: [text_of(hint), _within(hint, seen)] for name, hint in fields.items()}


def _within(hint: Any, seen: set[Any]) -> list[Any]:
    """Return the shapes of the dataclasses that a field holds."""
    found: list[Any] = []
    for part in (hint, *typing.get_args(hint)):
        if part is not hint:
            found += _within(part, seen)
        elif isinstance(part, type) and dataclasses.is_dataclass(part) and part not in seen:
            seen.add(part)
            found.append(_written(typing.get_type_hints(part), seen))
    return found
