"""What a step's function is called with: needed results, the item, the signal, the attempt, tx."""

from __future__ import annotations

from typing import Any

from finality.core.ids import Json, TransactionId
from finality.core.saga import SagaState
from finality.core.saga.events import split_branch
from finality.ports.codec import Codec
from finality.runtime.definition import Action, Attempt, Source, StepCode
from finality.runtime.drive import Drive


def key_of(id: TransactionId, branch: str, *, is_undo: bool) -> str:
    """Return the idempotency key of a branch's action or compensation."""
    return f"{id}/{branch}/undo" if is_undo else f"{id}/{branch}"


def call(
    action: Action,
    drive: Drive,
    state: SagaState,
    codec: Codec,
    branch: str,
    *,
    tx: Any = None,
    attempt: int = 1,
    own: Json | None = None,
    is_undo: bool = False,
) -> Any:
    """Call *action* for *branch* of the saga.

    Args:
        own: For a compensation, what its action yielded; None when that is not known.
    """
    arguments: list[Any] = []
    for parameter in action.parameters:
        match parameter.source:
            case Source.TX:
                arguments.append(tx)
            case Source.RESULT:
                text = (
                    own
                    if is_undo and parameter.key == split_branch(branch)[0]
                    else _result(state, parameter.key)
                )
                arguments.append(None if text is None else codec.decode(text, parameter.type))
            case Source.ITEM:
                arguments.append(items_of(drive, state, codec, branch)[split_branch(branch)[1] or 0])
            case Source.SIGNAL:
                arguments.append(codec.decode(state.signals[parameter.key], parameter.type))
            case Source.ATTEMPT:
                arguments.append(_attempt(drive, state, branch, attempt, is_undo=is_undo))
    return action.function(drive.saga, *arguments)


def _result(state: SagaState, step: str) -> Json | None:
    branch = state.branches.get(step)
    return branch.result if branch else None


def items_of(drive: Drive, state: SagaState, codec: Codec, branch: str) -> list[Any]:
    """Return the list that the branch's step runs over."""
    step = split_branch(branch)[0]
    items = drive.items.get(step)
    if items is None:
        code: StepCode = drive.definition.codes[step]
        assert code.items is not None, f"step {step!r} runs over no list"
        items = drive.items[step] = list(call(code.items, drive, state, codec, step))
    return items


def _attempt(drive: Drive, state: SagaState, branch: str, number: int, *, is_undo: bool) -> Attempt:
    return Attempt(
        transaction_id=drive.id,
        step=branch,
        number=number,
        key=key_of(drive.id, branch, is_undo=is_undo),
        deadline=state.started.deadline if state.started else None,
        undoes=key_of(drive.id, branch, is_undo=False) if is_undo else None,
    )
