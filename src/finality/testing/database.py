"""A database in memory that outlives the simulated nodes, and cannot be reached now and then."""

from __future__ import annotations

from threading import Lock

from finality.adapters.memory.database import MemoryDatabase
from finality.core.errors import Unavailable


class SimulatedDatabase(MemoryDatabase):
    """A database that cannot be reached now and then.

    Attributes:
        is_out: Whether it cannot be reached: nothing begins, and most reads fail.
    """

    def __init__(self) -> None:
        self.is_out = False
        self._lock = Lock()
        super().__init__()

    @property
    def lock(self) -> Lock:
        """Let nobody near while it is out of reach."""
        if self.is_out and self.holder is None:
            raise Unavailable("the store is out of reach: the simulation says so; try again")
        return self._lock

    @lock.setter
    def lock(self, lock: Lock) -> None:
        self._lock = lock
