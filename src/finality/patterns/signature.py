"""What a function's signature says: the names it takes, how it is called, the types behind it.

Names are read when a class is created; annotations only when a definition is first used, since
they may name what is defined further down.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finality.core.errors import DefinitionError
from finality.runtime.definition import Style

TX, ATTEMPT, ITEM = "tx", "attempt", "item"
RESERVED = (TX, ATTEMPT, ITEM)

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function, without ``self``, and how it has to be called."""

    names: tuple[str, ...]
    style: Style

    @property
    def takes_tx(self) -> bool:
        """Say whether it runs inside a local transaction."""
        return self.style in (Style.TURN, Style.SCOPE)


def signature_of(function: Callable[..., Any], who: str, *, is_method: bool = True) -> Signature:
    """Return what the signature of *function* says.

    Args:
        who: How an error speaks of it, as in ``step 'payment' of BookTrip``.
        is_method: It is one of a class and begins with ``self``.

    Raises:
        DefinitionError: It is no function of that kind, or has parameters that cannot be filled by name.
    """
    if not inspect.isfunction(function):
        what = "method" if is_method else "function"
        raise DefinitionError(f"{who} is not a function: declare a {what}, with def or async def")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{who} yields: it answers once; return the result")
    if inspect.iscoroutinefunction(inspect.unwrap(function)) and not inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{who} is async def under a decorator that is not: nobody would await it; "
            "make the decorator's function async def too"
        )
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters:
        if parameter.kind not in POSITIONAL:
            raise DefinitionError(
                f"{who} takes {str(parameter).split(':')[0]!r}: its parameters name what it needs, "
                "one by one and in order; write plain parameters"
            )
    if is_method and not parameters:
        raise DefinitionError(f"{who} takes no self: it is a method; write def {function.__name__}(self, …)")
    names = tuple(parameter.name for parameter in parameters[is_method:])
    if TX in names and names[0] != TX:
        where = "move it behind self" if is_method else "move it to the front"
        raise DefinitionError(f"{who} takes 'tx' behind other parameters: it comes first; {where}")
    return Signature(names, _style(inspect.iscoroutinefunction(function), TX in names))


def _style(is_async: bool, takes_tx: bool) -> Style:
    if takes_tx:
        return Style.SCOPE if is_async else Style.TURN
    return Style.TASK if is_async else Style.BLOCKING


def hints_of(
    owner: Any, annotations: Mapping[str, Any], scope: Mapping[str, Any], who: str
) -> dict[str, Any]:
    """Return the types that *annotations* stand for; what has none is missing.

    Args:
        owner: The function or class whose module they are read in.
        scope: Names that are known besides the module's.

    Raises:
        DefinitionError: One of them cannot be resolved.
    """
    module = sys.modules.get(owner.__module__)
    globals_ = getattr(inspect.unwrap(owner), "__globals__", None) or vars(module or types)
    hints = {}
    for name, annotation in annotations.items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints.update(typing.get_type_hints(one, globals_, dict(scope), include_extras=True))
        except Exception as error:
            # Whatever an annotation does when it is evaluated, it cannot be used.
            raise DefinitionError(
                f"{who} has an annotation that cannot be resolved, {annotation!r} of {name!r}: {error}; "
                "import or define it where the class is defined, not under TYPE_CHECKING"
            ) from error
    return hints


def local_names(function: Callable[..., Any], local: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of *local* that annotations of *function* may use, if it is declared in another one."""
    words = set(re.findall(r"\w+", " ".join(map(str, getattr(function, "__annotations__", {}).values()))))
    return {name: value for name, value in local.items() if name in words}


def parts_of(hint: Any) -> tuple[Any, ...]:
    """Return what a union consists of, or the only part of what is none."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def accepts_none(hint: Any) -> bool:
    """Say whether None is a value of *hint*."""
    if hint is Any or hint is object or hint is None or hint is type(None):
        return True
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return accepts_none(typing.get_args(hint)[0])
    if origin is typing.Union or origin is types.UnionType:
        return any(accepts_none(part) for part in typing.get_args(hint))
    beneath = getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)
    return beneath is not None and accepts_none(beneath)


def text_of(hint: Any) -> str:
    """Return *hint* as text that stays the same however it was spelt and wherever it was imported from."""
    if hint is None or hint is type(None):
        return "None"
    if hint is ...:
        return "..."
    if isinstance(hint, list):
        return f"[{', '.join(text_of(part) for part in hint)}]"
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return text_of(parts[0])
    if origin is typing.Union or origin is types.UnionType:
        return " | ".join(sorted(text_of(part) for part in parts))
    if origin is typing.Literal:
        return f"Literal[{', '.join(repr(part) for part in parts)}]"
    if origin is not None and parts:
        return f"{text_of(origin)}[{', '.join(text_of(part) for part in parts)}]"
    return str(getattr(hint, "__name__", None) or repr(hint))
