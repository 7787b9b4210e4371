"""What a store keeps of a reservation: witnesses, and a hold while it waits for the decision.

```
    operation   answer                                         written by
    try         held JSON │ refused WHY │ never                the try, or the cancel that came before
    finish      confirmed │ cancelled WHY                      the confirm or the cancel
    hold        kind, input and until when, as JSON            the try; retracted by whoever finishes
    failed      why the confirm or the cancel has failed       whoever asked for it; retracted likewise
```

Whatever is first writes the row ``try``, and whatever ends it the row ``finish``: two nodes that
are at it at the same time want the same key, and one of them fails and asks again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from finality.core.ids import Json, TransactionId
from finality.core.reservation import NEVER_TRIED, Reserved, Stage
from finality.ports.codec import DecodeError
from finality.ports.participant import BranchId
from finality.ports.store import HOLD, Hold, LocalTransaction

TRY, FINISH, FAILED = "try", "finish", "failed"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is needed to finish a hold, on any node.

    Attributes:
        decided_by: When its transaction has been decided, or may be given up.
        expires_at: Until when the hold is promised.
    """

    kind: str
    input: Json
    decided_by: float
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What is recorded of a reservation, and its ``Standing`` while it waits for the decision."""

    reserved: Reserved
    standing: Json | None = None


def key_of(branch: BranchId) -> tuple[TransactionId, str]:
    """Return the key of a branch's witnesses: with its home, since ids are unique only there."""
    transaction, _, name = str(branch).rpartition(":")
    return TransactionId(transaction), name


def branch_of(hold: Hold) -> BranchId | None:
    """Return the branch that a hold is of; None if it is none of a reservation."""
    return BranchId.parse(f"{hold.transaction}:{hold.branch}")


def recorded(tx: LocalTransaction, branch: BranchId) -> Reserved:
    """Return what the store has recorded of a reservation.

    Raises:
        DecodeError: Its rows are none of ours.
    """
    key = key_of(branch)
    first, last = tx.witness(*key, TRY), tx.witness(*key, FINISH)
    match (first or "").partition(" "), (last or "").partition(" "):
        case ("", _, _), ("", _, _):
            return NEVER_TRIED
        case (Stage.REFUSED.value, _, because), ("", _, _):
            return Reserved(Stage.REFUSED, None, because)
        case ("held", _, held), ("", _, _):
            return Reserved(Stage.TRIED, Json(held))
        case ("held", _, held), ((Stage.CONFIRMED.value | Stage.CANCELLED.value) as end, _, because):
            return Reserved(Stage(end), Json(held), because)
        case ("never", _, _), (Stage.CANCELLED.value, _, because):
            return Reserved(Stage.CANCELLED, None, because)
        case _:
            raise DecodeError(f"the witness of branch {branch} is {first!r}, then {last!r}")


def found(tx: LocalTransaction, branch: BranchId) -> Found:
    """Return what is recorded, with what it takes to finish a hold."""
    reserved = recorded(tx, branch)
    standing = tx.witness(*key_of(branch), HOLD) if reserved.stage is Stage.TRIED else None
    return Found(reserved, None if standing is None else Json(standing))


def record(tx: LocalTransaction, branch: BranchId, reserved: Reserved, standing: Json | None = None) -> None:
    """Record what has become of a reservation, in the commit of its effect.

    Args:
        standing: A ``Standing``, for a try that holds.
    """
    key = key_of(branch)
    match reserved.stage:
        case Stage.TRIED:
            assert standing is not None, "a hold says what it takes to finish it"
            tx.testify(*key, TRY, f"held {reserved.held}")
            tx.testify(*key, HOLD, standing)
        case Stage.REFUSED:
            tx.testify(*key, TRY, f"{reserved.stage.value} {reserved.because}")
        case _:
            if reserved.held is None:
                tx.testify(*key, TRY, "never")
            tx.testify(*key, FINISH, f"{reserved.stage.value} {reserved.because}")
            tx.retract(*key, HOLD)
            tx.retract(*key, FAILED)


def note_failure(tx: LocalTransaction, branch: BranchId, because: str) -> bool:
    """Keep why a confirm or a cancel has failed; False if another node has done it meanwhile."""
    key = key_of(branch)
    is_due = tx.witness(*key, HOLD) is not None
    if is_due:
        tx.retract(*key, FAILED)
        tx.testify(*key, FAILED, because)
    return is_due


def failures(tx: LocalTransaction, holds: Iterable[Hold]) -> dict[Hold, str]:
    """Return why the confirm or the cancel of some of *holds* has failed."""
    said = ((hold, tx.witness(hold.transaction, hold.branch, FAILED)) for hold in holds)
    return {hold: because for hold, because in said if because is not None}
