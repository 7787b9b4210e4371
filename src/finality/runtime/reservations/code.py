"""A kind of reservation as a participant runs it; ``patterns`` makes it from what users write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from finality.core.reservation import Ask
from finality.runtime.definition import Style


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the user's, called as ``function(reservation, tx)`` or with what is held behind."""

    function: Callable[..., Any]
    style: Style


@dataclass(frozen=True, slots=True)
class ReservationCode:
    """One kind of reservation.

    Attributes:
        type: The class that inputs are decoded to.
        held: The type of what the try holds.
        expires_seconds: How long a hold is promised; None for as long as the decision takes.
    """

    kind: str
    type: Any
    held: Any
    try_: Method
    confirm: Method
    cancel: Method
    expires_seconds: float | None = None

    def method(self, ask: Ask) -> Method:
        """Return what runs when a reservation is asked *ask*."""
        return self.try_ if ask is Ask.TRY else self.confirm if ask is Ask.CONFIRM else self.cancel
