"""What the parts of an asynchronous ``Tx`` are built on, each in a module of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class TxPart(ABC):
    """A part of ``Tx``."""

    @abstractmethod
    def _call(self, work: Callable[[Any], T]) -> Awaitable[T]:
        """Run *work* with the local transaction, where that is."""
