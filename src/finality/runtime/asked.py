"""A turn that somebody waits for: what it found out in the store is the answer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Asked(ABC, Generic[T]):
    """Fulfils ``ports.store.Turn`` but for ``run``, which sets ``answer``.

    Attributes:
        name: Who holds the store, for the report about slow turns.
        done: The answer, once it is durable.
    """

    def __init__(self, name: str, answer: T) -> None:
        self.name = name
        self.answer = answer
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._first_answer = answer

    @abstractmethod
    def run(self, tx: Any) -> None:
        """Find the answer."""

    def forget(self) -> None:
        """Find it anew."""
        self.answer = self._first_answer

    def settle(self, error: BaseException | None) -> None:
        """Answer whoever still waits."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(self.answer)
        else:
            self.done.set_exception(error)
            self.done.exception()  # Whoever ends a scope with this turn hears it from the scope.
