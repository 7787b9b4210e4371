"""The other side of the table: what a participant has recorded of one branch, and what it answers.

```
                     ┌── action ──▶ DONE ────── compensation ──▶ UNDONE
    nothing known ───┤
                     ├── action, refused ─▶ REFUSED ── compensation ──▶ UNDONE   (nothing to undo)
                     └── compensation ───────────────────────────────▶ UNDONE   (empty cancel)
                                              late action ──▶ refused, for ever
```

The network may repeat a request, and bring it long after the one that was sent to take it back.
So a participant writes a *witness* in the local transaction of each operation, and looks there
first: an operation that ran answers what it answered then, and an action that comes after its
own compensation never runs.

Source: Life beyond Distributed Transactions, P. Helland, 2007; Seata's TCC fence, 2022.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from finality.core.ids import Json


class Operation(Enum):
    """What a branch may be asked to do."""

    ACTION = "action"
    COMPENSATION = "compensation"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answered. A refusal is an answer: asked again it must not turn into a yes."""

    value: Json
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class Witness:
    """What a participant's own store holds about one branch: a row for each operation that ran."""

    action: Answer | None = None
    compensation: Answer | None = None

    @property
    def has_effect(self) -> bool:
        """Say whether the action's effect stands."""
        return self.action is not None and not self.action.is_refusal and self.compensation is None


NOTHING_KNOWN = Witness()


@dataclass(frozen=True, slots=True)
class Proceed:
    """Run the operation and record its answer in the same local transaction.

    Attributes:
        undoes: For a compensation, the answer of the action that took effect; None when there is
            nothing to undo: the action never ran, or refused. The compensation is recorded all
            the same, so that an action still on its way is refused when it comes.
    """

    undoes: Answer | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """The operation ran before: change nothing and give its first answer again."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class RefuseLate:
    """The action comes after its own compensation: it must not run any more."""

    because: str = "it was compensated before it came"


Reply = Proceed | Repeat | RefuseLate


def answer_to(witness: Witness, operation: Operation) -> Reply:
    """Return what a participant that holds *witness* does when it is asked for *operation*."""
    if operation is Operation.ACTION:
        if witness.action is not None:
            return Repeat(witness.action)
        return Proceed() if witness.compensation is None else RefuseLate()
    if witness.compensation is not None:
        return Repeat(witness.compensation)
    has_effect = witness.action is not None and not witness.action.is_refusal
    return Proceed(undoes=witness.action if has_effect else None)


def recorded(witness: Witness, operation: Operation, answer: Answer) -> Witness:
    """Return *witness* once *operation* ran and gave *answer*.

    Write it in the local transaction of the effect. A compensation has no right to refuse: one
    that cannot be done fails, and is asked again.
    """
    reply = answer_to(witness, operation)
    assert isinstance(reply, Proceed), f"{operation} must not run: {reply}"
    if operation is Operation.ACTION:
        return replace(witness, action=answer)
    assert not answer.is_refusal, f"a compensation cannot refuse: {answer}"
    return replace(witness, compensation=answer)
