"""What is asked of a reservation, and the turns of its store that answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from finality.core.ids import Json
from finality.core.reservation import (
    NEVER_TRIED,
    Ask,
    Mistake,
    Proceed,
    RecordOnly,
    Reserved,
    answer_to,
    finished,
)
from finality.ports.participant import BranchId
from finality.ports.store import LocalTransaction
from finality.runtime.asked import Asked
from finality.runtime.reservations.code import Method, ReservationCode
from finality.runtime.reservations.rows import Found, found, record


class NothingToConfirm(Exception):
    """A confirm came for what holds nothing; it has changed nothing."""


class KnownAtEnd(Exception):
    """The last turn of a scope finds that its work was done before: nothing of the scope may remain."""

    def __init__(self, known: Found) -> None:
        super().__init__("the store has an answer of this reservation already")
        self.known = known


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a branch.

    Attributes:
        code: None when there is nothing to run: the empty cancel.
        held: What the try answered, for a confirm or a cancel.
        standing: What the hold of a try must keep.
    """

    branch: BranchId
    ask: Ask
    code: ReservationCode | None = None
    reservation: Any = None
    held: Any = None
    standing: Json | None = None

    @property
    def name(self) -> str:
        """Return who holds the store, for the report about slow turns."""
        return f"{self.ask.value} of {self.code.kind if self.code else 'reservation'} {self.branch}"

    @property
    def method(self) -> Method:
        """Return what runs."""
        assert self.code is not None, f"{self.name} runs nothing"
        return self.code.method(self.ask)

    def call(self, tx: Any) -> Any:
        """Call the user's method.

        Raises:
            Exception: Whatever it raises.
        """
        arguments = () if self.ask is Ask.TRY else (self.held,)
        try:
            return self.method.function(self.reservation, tx, *arguments)
        except SystemExit as error:  # It ends the request, not the store's thread or the node.
            raise RuntimeError(f"it raised {error!r}") from error


class AskTurn(Asked[Found]):
    """Looks at what is recorded, does what is due, and records it.

    Args:
        work: Does it and returns what to record; called only when it is due.
        is_last: The work was done in the scope that this turn ends.
    """

    def __init__(
        self,
        request: Request,
        work: Callable[[LocalTransaction, Reserved], Reserved],
        *,
        is_last: bool = False,
    ) -> None:
        super().__init__(request.name, answer=Found(NEVER_TRIED))
        self._request = request
        self._work = work
        self._is_last = is_last

    def run(self, tx: LocalTransaction) -> None:
        """Answer the request.

        Raises:
            NothingToConfirm: There is nothing to confirm.
            KnownAtEnd: It was done before, and the scope has done it again.
        """
        request = self._request
        self.answer = known = found(tx, request.branch)
        match answer_to(known.reserved, request.ask):
            case Proceed():
                reserved = self._work(tx, known.reserved)
                record(tx, request.branch, reserved, request.standing)
                self.answer = Found(reserved, request.standing)
            case RecordOnly():
                reserved = finished(known.reserved, request.ask)
                record(tx, request.branch, reserved)
                self.answer = Found(reserved)
            case Mistake(because):
                raise NothingToConfirm(f"reservation {request.branch} was not confirmed: {because}")
            case _ if self._is_last:
                raise KnownAtEnd(known)


class LookTurn(Asked[Any]):
    """Reads what is recorded."""

    def __init__(self, name: str, read: Callable[[LocalTransaction], Any]) -> None:
        super().__init__(name, answer=None)
        self._read = read

    def run(self, tx: LocalTransaction) -> None:
        """Read it."""
        self.answer = self._read(tx)
