"""A way to withdraw: which pattern it is, where it keeps what, and how its coordinator is opened."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

import finality

if TYPE_CHECKING:
    from finality.cli.compare.place import Place
    from finality.cli.compare.tally import Tally
    from finality.cli.compare.withdrawal import Order
    from finality.ports.environment import Environment

Services = Mapping[str, str]
"""The URL of each service that runs beside the coordinator, by its name."""

SILENCE = timedelta(seconds=1)  # After it a process that says nothing is taken for dead.
PATIENCE = timedelta(seconds=30)  # For a withdrawal that nobody disturbs, on a busy machine.


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


class Way(ABC):
    """One way to withdraw.

    Attributes:
        finished: Where it is finished: whoever dies here or later, it will be done.
        isolation: What others may see of it before that.
        worst: Where a coordinator that dies does most harm.
        lease: Of a coordinator: after it another node takes over its sagas.
        bank: The database that holds the accounts.
        provider: The database that holds the payments.
        extra: What it needs beyond the base installation, and the module that shows that it is there.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    finished: ClassVar[Death]
    isolation: ClassVar[str]
    worst: ClassVar[Death]
    lease: ClassVar[timedelta] = PATIENCE  # It commits in between, which is one thing less to count.
    bank: ClassVar[str] = "bank"
    provider: ClassVar[str] = "provider"
    extra: ClassVar[tuple[str, str] | None] = None

    @property
    def missing(self) -> str | None:
        """Return the extra that has to be installed first, if one has."""
        if self.extra is None or find_spec(self.extra[1]) is not None:
            return None
        return self.extra[0]

    @contextlib.asynccontextmanager
    async def services(self, place: Place, tally: Tally) -> AsyncIterator[Services]:
        """Run what stands beside the coordinator and does not die with it."""
        yield {}

    @abstractmethod
    def node(self, place: Place, services: Services, environment: Environment) -> finality.AsyncNode:
        """Return a coordinator; it knows all that it needs to finish what another has begun."""

    @abstractmethod
    async def withdraw(self, node: finality.AsyncNode, order: Order, *, deadline: timedelta) -> None:
        """Withdraw; on return the customer may be told.

        Raises:
            TransactionAborted: Nothing of it remains.
        """
