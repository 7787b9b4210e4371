"""What a step's function is called with: needed results, the item, the signal, the attempt, tx.

What is decoded here was journaled before, so a value that cannot be read is nobody's answer: the
saga is parked, a person is told why, and can have it tried again.
"""

from __future__ import annotations

from typing import Any

from finality.core.ids import Json, TransactionId
from finality.core.saga import SagaState
from finality.core.saga.events import split_branch
from finality.core.secret import secret_values
from finality.ports.codec import Codec, DecodeError
from finality.runtime.definition import Action, Attempt, Parameter, Source, StepCode
from finality.runtime.drive import Drive

# Python 3.11 takes ten times as long to find Source.TX as this name.
TX, ITEM, SIGNAL, RESULT = Source.TX, Source.ITEM, Source.SIGNAL, Source.RESULT
SEALED = '"$secret"'  # What every sealed secret has in its journaled text.


class Unreadable(Exception):
    """The journal holds something for a step that cannot be read as what its code takes."""


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

    Raises:
        Unreadable: What the journal holds for it cannot be read.
        Exception: Whatever the action raises.
    """
    arguments: list[Any] = []
    for parameter in action.parameters:
        source = parameter.source
        if source is TX:
            arguments.append(tx)
        elif source is RESULT:
            if is_undo and parameter.key == split_branch(branch)[0]:
                text = own
            else:
                needed = state.branches.get(parameter.key)
                text = None if needed is None else needed.result
            arguments.append(None if text is None else _decoded(drive, codec, text, parameter))
        elif source is ITEM:
            arguments.append(items_of(drive, state, codec, branch)[split_branch(branch)[1] or 0])
        elif source is SIGNAL:
            arguments.append(_decoded(drive, codec, state.signals[parameter.key], parameter))
        else:
            arguments.append(_attempt(drive, state, branch, attempt, is_undo=is_undo))
    try:
        return action.function(drive.saga, *arguments)
    except SystemExit as error:  # It ends the step, not the store's thread or the node.
        raise RuntimeError(f"it raised {error!r}") from error


def _decoded(drive: Drive, codec: Codec, text: Json, parameter: Parameter) -> Any:
    try:
        value = codec.decode(text, parameter.type)
    except DecodeError as error:
        what = "signal" if parameter.source is SIGNAL else "the result of step"
        raise Unreadable(f"{what} {parameter.key!r} cannot be read: {error}") from error
    if SEALED in text:
        # An error of the step's may quote what it was given, so this is masked from now on, too.
        drive.secrets = tuple({*drive.secrets, *secret_values(value)})
    return value


def items_of(drive: Drive, state: SagaState, codec: Codec, branch: str) -> list[Any]:
    """Return the list that the branch's step runs over.

    Raises:
        Unreadable: The journal holds no such list.
        Exception: Whatever the saga's own code raises.
    """
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
