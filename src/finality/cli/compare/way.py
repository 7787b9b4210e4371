"""A way: one pattern at work on a story's case, with where it keeps what and how it is looked at."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import ClassVar, Protocol

from finality.cli.compare.place import Place
from finality.cli.compare.tally import Tally
from finality.node import AsyncNode
from finality.ports.environment import Environment

Services = Mapping[str, str]
"""The URL of each service that runs beside the coordinator, by its name."""

SILENCE = timedelta(seconds=1)  # After it a process that says nothing is taken for dead.
PATIENCE = timedelta(seconds=30)  # For a case that nobody disturbs, on a busy machine.


@dataclass(frozen=True, slots=True)
class Death:
    """Where a coordinator dies.

    Attributes:
        path: The crash points that it passes, in this order, from the call on; it dies at the last one,
            or if there is none, when the call has returned.
        says: What has happened by then.
    """

    path: tuple[str, ...]
    says: str


class Books(Protocol):
    """What somebody reads who asks all databases at one moment: a dataclass."""

    @property
    def is_whole(self) -> bool:
        """Say whether it all fits together, as if every case were done or not begun."""
        ...

    @property
    def is_held(self) -> bool:
        """Say whether something is set aside."""
        ...


class Way(ABC):
    """One way to do what a story tells.

    Attributes:
        finished: Where it is finished: whoever dies here or later, it will be done.
        isolation: What others may see of it before that.
        worst: Where a coordinator that dies does most harm.
        lease: Of a coordinator: after it another node takes over its sagas.
        databases: What has to be made for it.
        extra: What it needs beyond the base installation, and the module that shows that it is there.
        remark: What to know before its numbers are held against those of others.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    finished: ClassVar[Death]
    isolation: ClassVar[str]
    worst: ClassVar[Death]
    lease: ClassVar[timedelta] = PATIENCE  # It commits in between, which is one thing less to count.
    databases: ClassVar[tuple[str, ...]]
    extra: ClassVar[tuple[str, str] | None] = None
    remark: ClassVar[str] = ""

    @property
    def missing(self) -> str | None:
        """Return the extra that has to be installed first, if one has."""
        if self.extra is None or find_spec(self.extra[1]) is not None:
            return None
        return self.extra[0]

    # ── The databases, past all nodes ───────────────────────────────────────────────────────

    @abstractmethod
    async def found(self, place: Place) -> None:
        """Fill the databases, which are empty."""

    @abstractmethod
    async def books(self, place: Place) -> Books:
        """Read the books."""

    @abstractmethod
    async def done(self, place: Place) -> set[str]:
        """Return the ids of the cases that are done."""

    async def open(self, place: Place) -> set[str]:
        """Return the ids of the cases that the databases themselves say are open."""
        return set()

    # ── The nodes ───────────────────────────────────────────────────────────────────────────

    @contextlib.asynccontextmanager
    async def services(self, place: Place, tally: Tally) -> AsyncIterator[Services]:
        """Run what stands beside the coordinator and does not die with it."""
        yield {}

    @abstractmethod
    def node(self, place: Place, services: Services, environment: Environment) -> AsyncNode:
        """Return a coordinator; it knows all that it needs to finish what another has begun."""

    async def ready(self, node: AsyncNode) -> None:  # noqa: B027 - most are as soon as they are open
        """Wait until *node* would do the whole of a case if it did not die."""

    @abstractmethod
    async def act(
        self, node: AsyncNode, id: str, *, deadline: timedelta, is_refused: bool = False
    ) -> float | None:
        """Do one case; on return the customer may be told.

        Args:
            is_refused: Take a case whose last part says no.

        Returns:
            When it was accepted, on the clock of ``time.perf_counter``, if somebody is told so before
            the end.

        Raises:
            TransactionAborted: Nothing of it remains.
        """
