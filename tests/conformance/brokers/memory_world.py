"""The broker in memory: nobody else reaches it, and it is gone with its process."""

from __future__ import annotations

from typing import Self

import pytest

from finality.adapters.memory.broker import MemoryBroker
from finality.adapters.memory.topics import MemoryTopics
from tests.conformance.brokers.worlds import Embedded


class MemoryWorld(Embedded):
    """Fulfils ``World``."""

    is_shared = is_durable = False
    unsafe: tuple[str, ...] = ("durable",)

    def __init__(self) -> None:
        self._topics = MemoryTopics("suite")

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        """Return an empty one."""
        return cls()

    def broker(self) -> MemoryBroker:
        """Return one more that shares the topics."""
        return MemoryBroker(self._topics)

    def code(self) -> str:
        """Nobody can: it is not shared."""
        raise NotImplementedError

    def misset(self, word: str) -> MemoryBroker:
        """It is never durable."""
        return self.broker()

    def close(self) -> None:
        """Let the topics go with it."""
