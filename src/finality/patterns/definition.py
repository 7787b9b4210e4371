"""A declaration with its types: what the coordinator runs.

Annotations are resolved here, when a definition is first used, and everything that depends on a
type is checked: who must accept None, what a list is made of, what the codec can carry.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import UnionType
from typing import Any, Union, get_args, get_origin
from uuid import UUID

from finality.adapters.msgspec.codec import JsonCodec
from finality.core.breaker import BreakerPolicy
from finality.core.errors import DefinitionError
from finality.patterns.declaration import Declaration, fields_of
from finality.patterns.options import Signal
from finality.patterns.part import Method, Part
from finality.patterns.shape import version_of
from finality.patterns.signature import ATTEMPT, ITEM, TX, accepts_none, hints_of, text_of
from finality.runtime.definition import Action, Definition, Parameter, Source, StepCode, Style

CODEC = JsonCodec()
PLAIN = (str, int, float, bool, bytes, Decimal, UUID, date, datetime, timedelta, type(None), Ellipsis)
PLAIN_CONTAINERS = (list, tuple, set, frozenset, dict, Union, UnionType)
LISTS = ("list", "tuple", "Sequence", "Collection", "Iterable")


class Resolved:
    """A declaration whose annotations stand for types."""

    def __init__(self, cls: type, declaration: Declaration) -> None:
        self.cls = cls
        self.declaration = declaration
        self.saga = declaration.saga
        self.parts = declaration.parts
        self.graph = declaration.graph
        self.scope = declaration.scope
        self.fields = self._fields()
        self.hints = {name: self.hints_of(part.action) for name, part in self.parts.items()}
        self.signals = self._signals()

    def hints_of(self, method: Method) -> dict[str, Any]:
        """Return the types of a method's parameters and of its result."""
        annotations = method.function.__annotations__
        hints = hints_of(method.function, annotations, self.scope, method.who)
        check_tx(method, hints.get(TX))
        return hints

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for owner in reversed(self.cls.__mro__):
            own = {k: v for k, v in vars(owner).get("__annotations__", {}).items() if k in fields_of(owner)}
            fields.update(hints_of(owner, own, self.scope, f"saga {owner.__name__}"))
        return fields

    def _signals(self) -> dict[str, Any]:
        signals: dict[str, Any] = {}
        for name, part in self.parts.items():
            wait = part.options.wait_for
            if not isinstance(wait, Signal):
                continue
            hint = self.hints[name].get(wait.name, Any)
            if signals.setdefault(wait.name, hint) != hint:
                raise DefinitionError(
                    f"signal {wait.name!r} of {self.saga} has two types: "
                    "every step that waits for it takes the same; annotate them alike"
                )
            self._check_default(part, wait.name, hint)
        return signals

    def _check_default(self, part: Part, signal: str, hint: Any) -> None:
        wait = self.graph.by_name[part.name].wait
        if wait is None or wait.default is None:
            return
        try:
            CODEC.decode(wait.default, hint)
        except ValueError as error:
            raise DefinitionError(
                f"{part.action.who} takes signal {signal!r} and its default is of another type: {error}; "
                "annotate the parameter so that it takes both"
            ) from error


def define(cls: type, declaration: Declaration) -> Definition:
    """Return the definition of *cls*.

    Raises:
        DefinitionError: A type cannot be resolved, or breaks a promise.
    """
    _check_dataclass(cls, declaration)
    resolved = Resolved(cls, declaration)
    write_out(cls, resolved.fields)
    check_carried(cls, f"the input of {declaration.saga}")
    types = {name: hints.get("return", Any) for name, hints in resolved.hints.items()}
    for name, hint in types.items():
        part = declaration.parts[name]
        if part.declared.is_child:
            _check_child(part, hint)
        else:
            check_carried(hint, f"the result of {part.action.who}")
    types |= {f"?{name}": hint for name, hint in resolved.signals.items()}
    version = version_of(declaration.graph, declaration.parts, resolved.fields, types)
    return Definition(
        graph=replace(declaration.graph, version=version),
        type=cls,
        codes={name: _code(resolved, part) for name, part in declaration.parts.items()},
        signals=resolved.signals,
        accepts=declaration.accepts,
        result=result_of(declaration, declaration.graph.returns),
        may_hold_secrets=not all(_is_plain(hint) for hint in resolved.fields.values()),
    )


def _is_plain(hint: Any) -> bool:
    """Say whether no value of the type can hold a secret, for sure."""
    origin = get_origin(hint)
    if origin is None:
        return hint in PLAIN
    # Of what else takes parameters nobody knows what it holds: Secret[str] does, and so may a Box[str].
    return origin in PLAIN_CONTAINERS and all(map(_is_plain, get_args(hint)))


def result_of(declaration: Declaration, name: str | None) -> Any:
    """Return the type of what step *name* yields to whoever needs it; a child yields its own result."""
    is_conditional = False
    seen: set[str] = set()
    while name is not None and declaration.saga not in seen:
        part = declaration.parts[name]
        is_conditional |= part.condition is not None
        hint = _annotated(declaration, part)
        if not part.declared.is_child:
            result = list[hint] if part.options.each is not None else hint  # type: ignore[valid-type]  # made at run time
            return result | None if is_conditional and not accepts_none(result) else result
        _check_child(part, hint)
        seen.add(declaration.saga)
        declaration = hint.__finality__
        name = declaration.graph.returns
    return Any  # A saga without a result, or one that runs itself.


def _annotated(declaration: Declaration, part: Part) -> Any:
    function = part.action.function
    own = {"return": function.__annotations__.get("return", Any)}
    return hints_of(function, own, declaration.scope, part.action.who)["return"]


def _check_dataclass(cls: type, declaration: Declaration) -> None:
    if not declaration.parts:
        raise DefinitionError(f"saga {cls.__name__} has no steps: give it one, with @finality.step")
    is_own = "__dataclass_fields__" in vars(cls)
    is_inherited = hasattr(cls, "__dataclass_fields__") and not vars(cls).get("__annotations__")
    if not is_own and not is_inherited:
        raise DefinitionError(
            f"saga {cls.__name__} is not a dataclass: its fields are the input that is journaled; "
            "write @dataclass(frozen=True) above the class"
        )


def write_out(cls: type, fields: Mapping[str, Any]) -> None:
    """Put the resolved types into the class, for a codec that knows nothing of a function's local names."""
    own = vars(cls).get("__annotations__", {})
    if any(isinstance(hint, str) for hint in own.values()):
        cls.__annotations__ = {name: fields.get(name, hint) for name, hint in own.items()}


def check_tx(method: Method, hint: Any) -> None:
    """See that the annotation of ``tx`` fits how the method is called.

    Raises:
        DefinitionError: It does not.
    """
    if hint is None or not method.signature.takes_tx:
        return
    from finality.patterns.transaction import SyncTx, Tx  # Imported late: only sagas with a tx need it.

    if method.signature.style is Style.TURN and hint is Tx:
        raise DefinitionError(
            f"{method.who} is a plain def and its tx is finality.Tx, whose methods are awaited: "
            "annotate finality.SyncTx, or make it async def"
        )
    if method.signature.style is Style.SCOPE and hint is SyncTx:
        raise DefinitionError(
            f"{method.who} is async def and its tx is finality.SyncTx, which is for plain functions: "
            "annotate finality.Tx, or make it a plain def"
        )


def check_carried(hint: Any, what: str) -> None:
    """See that the codec can carry values of *hint*.

    Raises:
        DefinitionError: It cannot; *what* says whose type it is.
    """
    try:
        CODEC.check(hint)
    except TypeError as error:
        raise DefinitionError(f"{what} cannot be journaled: {error}") from error


def children(declaration: Declaration) -> list[type]:
    """Return the sagas that the child steps run, in the order of their steps."""
    parts = [part for part in declaration.parts.values() if part.declared.is_child]
    sagas = [_annotated(declaration, part) for part in parts]
    for part, saga in zip(parts, sagas, strict=True):
        _check_child(part, saga)
    return sagas


def _check_child(part: Part, hint: Any) -> None:
    from finality.patterns.saga import Saga  # It makes definitions, so it cannot be imported above.

    if not (isinstance(hint, type) and issubclass(hint, Saga)):
        raise DefinitionError(
            f"{part.action.who} does not say which saga it runs: annotate what it returns, as in -> BookHotel"
        )
    pivot = hint.__finality__.graph.pivot
    if pivot is not None:
        raise DefinitionError(
            f"{part.action.who} runs {hint.__name__}, which has a pivot, {pivot.name!r}: once past it, "
            "the child could not be undone with its parent; make that pivot a step"
        )


def _code(resolved: Resolved, part: Part) -> StepCode:
    options = part.options
    breaker = options.breaker
    policy = (
        BreakerPolicy()
        if breaker is None
        else BreakerPolicy(breaker.failures, breaker.window.total_seconds(), breaker.open_for.total_seconds())
    )
    return StepCode(
        action=_action(resolved, part, part.action, resolved.hints[part.name]),
        compensation=_compensation(resolved, part),
        condition=_condition(resolved, part),
        items=_items(resolved, part),
        store=options.at,
        timeout_seconds=None if options.timeout is None else options.timeout.total_seconds(),
        breaker=None if breaker is None else breaker.name,
        breaker_policy=policy,
    )


def _action(resolved: Resolved, part: Part, method: Method, hints: Mapping[str, Any]) -> Action:
    for name in method.signature.names:
        if name in resolved.parts and resolved.parts[name].condition is not None:
            if name != part.name and not accepts_none(hints.get(name, Any)):
                raise DefinitionError(
                    f"{method.who} takes {name!r}, which its condition may skip: it is None then; "
                    f"annotate it with | None"
                )
    parameters = tuple(
        _parameter(part, name, hints.get(name, Any), method) for name in method.signature.names
    )
    return Action(method.function, method.signature.style, parameters)


def _parameter(part: Part, name: str, hint: Any, method: Method) -> Parameter:
    if name == TX:
        return Parameter(Source.TX)
    if name == ATTEMPT:
        return Parameter(Source.ATTEMPT)
    check_carried(hint, f"{name!r}, as {method.who} takes it,")
    if name == ITEM:
        return Parameter(Source.ITEM, type=hint)
    return Parameter(Source.SIGNAL if name == part.options.signal else Source.RESULT, name, hint)


def _compensation(resolved: Resolved, part: Part) -> Action | None:
    method = part.compensation
    if method is None:
        return None
    hints = resolved.hints_of(method)
    if part.name in method.signature.names and not part.action.signature.takes_tx:
        if not accepts_none(hints.get(part.name, Any)):
            raise DefinitionError(
                f"{method.who} takes {part.name!r}, which is None when the step's answer was lost: "
                "without tx nobody may know whether it took effect; annotate it with | None and undo by "
                "attempt.undoes, the key that the step sent"
            )
    return _action(resolved, part, method, hints)


def _condition(resolved: Resolved, part: Part) -> Action | None:
    method = part.condition
    if method is None:
        return None
    taken = resolved.hints[part.name]
    own = resolved.hints_of(method)
    hints = {
        name: own.get(name, taken.get(name, resolved.signals.get(name, Any)))
        if name in own or name in taken or name in resolved.signals
        else result_of(resolved.declaration, name)
        for name in method.signature.names
    }
    return _action(resolved, part, method, hints)


def _items(resolved: Resolved, part: Part) -> Action | None:
    each = part.options.each
    if each is None:
        return None
    hint = result_of(resolved.declaration, each) if each in resolved.parts else resolved.fields[each]
    if not _is_list(hint):
        raise DefinitionError(
            f"{part.action.who} runs over {each!r}, which is {text_of(hint)}: annotate it as list[…]"
        )
    if each in resolved.parts:
        return Action(_list_of, Style.BLOCKING, (Parameter(Source.RESULT, each, hint),))
    return Action(_field_list(each), Style.BLOCKING)


def _is_list(hint: Any) -> bool:
    if hint is Any:
        return True
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _is_list(typing.get_args(hint)[0])
    if origin is not None and type(None) in typing.get_args(hint):
        return any(_is_list(part) for part in typing.get_args(hint) if part is not type(None))
    beneath = getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)
    if beneath is not None:
        return _is_list(beneath)
    # A set has another order on another node, so that nobody could tell which item was the fourth.
    kind = origin or hint
    return isinstance(kind, type) and kind.__name__ in LISTS


def _list_of(saga: Any, result: Any) -> list[Any]:
    # A step that was skipped yields no list, so there is nothing to run over.
    return [] if result is None else list(result)


def _field_list(name: str) -> Callable[[Any], list[Any]]:
    return lambda saga: _list_of(saga, getattr(saga, name))
