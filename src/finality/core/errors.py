"""Every error of ours, named for what the caller may assume.

```
FinalityError
├── TransactionAborted   nothing of it remains; run it again as a new transaction
│   ├── Conflict           someone was first; likely to work next time
│   ├── Refused            a participant said no
│   ├── DeadlinePassed
│   └── Compensated        a saga was undone
├── OutcomeUnknown       it may have happened; ask by id, never guess
├── Stuck                it cannot go on alone; a person is needed
│   ├── CompensationFailed
│   └── HeuristicOutcome   a participant decided by itself
├── Fenced               another node drives it now; stop
├── Unavailable          out of reach; nothing was recorded
│   └── MethodFailed       a confirm or cancel has raised; it is asked again
├── InputMismatch        the id is taken by a transaction with another input
├── NotFound             no transaction has this id
├── Erased               the person whose data it is was forgotten
├── LimitExceeded        it is larger than a stated bound; nothing was written
├── SchemaMismatch       the store was written by another version of Finality
└── DefinitionError      your declaration cannot keep its promise
```

Messages read *what happened: why; what to do*. Each class has a stable ``code``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class FinalityError(Exception):
    """The root of every error that Finality raises on purpose."""

    code: ClassVar[str] = "finality"

    def __init__(self, told: str, *, transaction_id: str | None = None) -> None:
        super().__init__(told)
        self.transaction_id = transaction_id


class TransactionAborted(FinalityError):
    """Nothing of the transaction remains; it may be run again as a new one."""

    code = "aborted"


class Conflict(TransactionAborted):
    """Someone else was first; the same call is likely to work next time."""

    code = "conflict"


class VersionConflict(Conflict):
    """The stream has moved on from the version that the caller decided on."""

    code = "version_conflict"

    def __init__(self, told: str, *, expected: int, actual: int) -> None:
        super().__init__(told)
        self.expected = expected
        self.actual = actual


class Refused(TransactionAborted):
    """A participant said no for a business reason: never retried, what was done is undone.

    Raise it from a step: ``raise finality.Refused("not enough money")``.
    """

    code = "refused"

    def __init__(self, because: str, *, branch: str | None = None, transaction_id: str | None = None) -> None:
        super().__init__(because, transaction_id=transaction_id)
        self.because = because
        self.branch = branch


class DeadlinePassed(TransactionAborted):
    """It was not decided in time, so nothing of it remains.

    Of a request: it was not answered in time, and nothing of it remains here; whoever was asked may
    have acted all the same.
    """

    code = "deadline_passed"


class Compensated(TransactionAborted):
    """The saga was undone: every step that was done has been compensated."""

    code = "compensated"

    def __init__(self, told: str, *, transaction_id: str, failed_step: str | None, because: str) -> None:
        super().__init__(told, transaction_id=transaction_id)
        self.failed_step = failed_step
        self.because = because


class OutcomeUnknown(FinalityError):
    """It may have happened; ask by id with the same id, never guess."""

    code = "outcome_unknown"


class Stuck(FinalityError):
    """It cannot go on alone; a person is needed. ``explain`` says what for."""

    code = "stuck"

    def __init__(self, told: str, *, transaction_id: str, explanation: str = "") -> None:
        super().__init__(told, transaction_id=transaction_id)
        self.explanation = explanation

    def explain(self) -> str:
        """Return what happened, what it waits for and what you can do, in sentences."""
        return self.explanation or str(self)


class CompensationFailed(Stuck):
    """A compensation failed for good; what it should undo still stands."""

    code = "compensation_failed"


class HeuristicOutcome(Stuck):
    """A participant decided by itself, against the decision.

    Attributes:
        did: What each branch has done, by its name: ``committed``, ``aborted``, or ``in doubt`` for one
            that has not been heard yet.
    """

    code = "heuristic_outcome"

    def __init__(self, told: str, *, transaction_id: str, did: Mapping[str, str]) -> None:
        super().__init__(told, transaction_id=transaction_id)
        self.did = dict(did)


class Fenced(FinalityError):
    """Another node drives this transaction now; this one must stop."""

    code = "fenced"


class Unavailable(FinalityError):
    """A store, broker or participant is out of reach; nothing was recorded."""

    code = "unavailable"


class MethodFailed(Unavailable):
    """A confirm or a cancel has raised: nothing of it remains, and it is asked again until it works."""

    code = "method_failed"


class InputMismatch(FinalityError):
    """The id belongs to a transaction that was started with another input, or a value does not fit it."""

    code = "input_mismatch"


class NotFound(FinalityError):
    """No transaction has this id in this store."""

    code = "not_found"


class Erased(FinalityError):
    """Personal data cannot be read or kept: the person was forgotten, and the key is deleted."""

    code = "erased"


class LimitExceeded(FinalityError):
    """Something is larger than its stated bound; nothing was written."""

    code = "limit_exceeded"


class SchemaMismatch(FinalityError):
    """The store was written by another version of Finality."""

    code = "schema_mismatch"


class DefinitionError(FinalityError, TypeError):
    """A declaration cannot keep its promise; raised when it is declared or first used."""

    code = "definition"
