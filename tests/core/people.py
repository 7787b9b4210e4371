"""An aggregate with personal data in its events and in its state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import finality


@dataclass(frozen=True)
class Joined:
    name: finality.Personal[str]


@dataclass(frozen=True)
class Moved:
    city: finality.Personal[dict[str, str]]


@dataclass(frozen=True)
class Customer(finality.Aggregate[Joined | Moved], snapshot_every=3):
    name: finality.Personal[str] | None = None
    moves: int = 0

    def evolve(self, event: Joined | Moved) -> Self:
        match event:
            case Joined(name):
                return replace(self, name=name)
            case Moved():
                return replace(self, moves=self.moves + 1)
