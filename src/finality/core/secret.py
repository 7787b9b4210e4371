"""A secret: a value that is never shown by accident, and is sealed wherever it is kept.

```
    Secret("4111…")  repr, str, format ▶ Secret(***)      journal ▶ {"$secret": …}      .reveal() ▶ "4111…"
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T")

MASK = "***"

# Rather more than the password than less: one with an "@" in it should have been quoted, and was not.
PASSWORD = re.compile(
    r"(?<=://)([^:/@]*:).*(?=@)|(?<=[?&])([^=&]*(?:password|secret|token)[^=&]*=)[^&]*", re.I
)


class Secret(Generic[T]):
    """Wraps a value that must not reach a log, a journal in the clear, or a person.

    Equal to another secret of an equal value. It can be neither pickled nor turned into JSON
    other than by a codec that has a key.
    """

    __slots__ = ("_value",)
    _value: T

    def __init__(self, value: T) -> None:
        # A secret does not change, so that a copy can be the thing itself.
        object.__setattr__(self, "_value", value)

    def reveal(self) -> T:
        """Return the value. Do not log, raise or return it from a step."""
        return self._value

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret does not change: make a new one")

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, memo: object) -> Secret[T]:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a secret is not pickled: it would lie there in the clear; reveal it where it is needed"
        )


def secret_values(value: Any) -> tuple[str, ...]:
    """Return the texts inside the secrets in *value*, as they could turn up in a message.

    Looks into dataclasses and other objects with named fields, mappings and collections. Short
    texts count too: a card's check digits are three characters.
    """
    texts: set[str] = set()
    for secret in _secrets(value, set()):
        for leaf in _leaves(secret.reveal(), set()):
            texts |= _spellings(leaf)
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))


def redact(text: str, values: Collection[str]) -> str:
    """Return *text* with every occurrence of one of *values* masked, overlapping ones too."""
    if not values:
        return text
    hidden = bytearray(len(text))
    for value in values:
        start = text.find(value) if value else -1
        while start >= 0:
            hidden[start : start + len(value)] = b"\1" * len(value)
            start = text.find(value, start + 1)
    if not any(hidden):
        return text
    shown = []
    for place, letter in enumerate(text):
        if not hidden[place]:
            shown.append(letter)
        elif place == 0 or not hidden[place - 1]:
            shown.append(MASK)
    return "".join(shown)


def without_password(url: str) -> str:
    """Return a URL as a person may see it, in a log or an error: with *** for what it lets one in by."""
    return PASSWORD.sub(lambda found: f"{found[1] or found[2]}{MASK}", url)


def _secrets(value: Any, seen: set[int]) -> Iterator[Secret[Any]]:
    if isinstance(value, Secret):
        yield value
        return
    for part in _parts(value, seen):
        yield from _secrets(part, seen)


def _leaves(value: Any, seen: set[int]) -> Iterator[Any]:
    if isinstance(value, Secret):
        value = value.reveal()
    parts = list(_parts(value, seen))
    if not parts:
        yield value
    for part in parts:
        yield from _leaves(part, seen)


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """Return what *value* consists of; nothing if it is one piece, or was looked into before."""
    if value is None or isinstance(value, str | bytes | bool | int | float) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif not isinstance(value, type):
        for name in _field_names(value):
            yield getattr(value, name, None)


def _field_names(value: Any) -> Iterator[str]:
    names: dict[str, None] = dict.fromkeys(getattr(value, "__dict__", ()))
    for owner in type(value).__mro__:
        slots = vars(owner).get("__slots__", ())
        names |= dict.fromkeys([slots] if isinstance(slots, str) else slots)
    names |= dict.fromkeys(getattr(value, "__struct_fields__", ()))
    yield from (name for name in names if name not in ("__dict__", "__weakref__"))


def _spellings(leaf: Any) -> set[str]:
    """Return *leaf* as a message could spell it: plain, within quotes, and within JSON."""
    if leaf is None or isinstance(leaf, bool):
        return set()
    text = leaf.decode("utf-8", "backslashreplace") if isinstance(leaf, bytes) else str(leaf)
    quoted = repr(leaf)[2:-1] if isinstance(leaf, bytes) else repr(text)[1:-1]
    return {text, quoted, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]} - {""}
