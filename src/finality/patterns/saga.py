"""A saga as users write it: a dataclass whose methods are its steps.

```
    @dataclass(frozen=True)
    class BookTrip(finality.Saga):
        card: str

        @finality.step
        async def payment(self, tx: finality.Tx) -> PaymentId: ...
        @payment.compensate
        async def refund(self, tx: finality.Tx, payment: PaymentId) -> None: ...

        @finality.pivot
        async def ticket(self, tx: finality.Tx, payment: PaymentId) -> TicketId: ...
```

A step is named for what it yields and its parameters name what it needs, so that order and
parallelism come from the signatures. Source: Sagas, H. Garcia-Molina and K. Salem, 1987.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from finality.core.errors import DefinitionError
from finality.patterns.declaration import Accepts, Declaration, declare, local_scope
from finality.patterns.definition import children, define
from finality.runtime.definition import Definition


class Saga:
    """What every saga extends. Class keywords say what holds for all of it.

    Keywords:
        deadline: How long it may take from its start until the pivot; then it is undone.
        returns: The step whose result is the saga's; by default the only one that no other needs.
        accepts: Older versions whose open sagas go on under this one, for renamed steps with the
            new names: ``("3f2a9c01",)`` or ``{"3f2a9c01": {"old_step": "new_step"}}``.
    """

    __finality__: ClassVar[Declaration]

    def __init_subclass__(
        cls,
        *,
        deadline: timedelta | None = None,
        returns: str | None = None,
        accepts: Accepts = (),
        **keywords: Any,
    ) -> None:
        super().__init_subclass__(**keywords)
        if "__finality__" in vars(cls):
            return  # @dataclass(slots=True) makes the class a second time, without its keywords.
        base = getattr(cls, "__finality__", None)
        inherited = {} if base is None else base.scope
        scope = {**inherited, **local_scope(cls, depth=1)}
        cls.__finality__ = declare(
            cls,
            deadline if deadline is not None or base is None else base.deadline,
            returns if returns is not None or base is None else base.returns,
            accepts,
            scope,
        )


def definition_of(cls: type[Saga]) -> Definition:
    """Return what the coordinator runs for *cls*; made once a class.

    Raises:
        DefinitionError: *cls* is no saga, or its declaration cannot keep its promise.
    """
    if not (isinstance(cls, type) and issubclass(cls, Saga)) or cls is Saga:
        if isinstance(cls, type) and issubclass(cls, type):
            raise DefinitionError("a class is not a saga to start: give its input, as in BookTrip('visa')")
        raise DefinitionError(f"{cls!r} is not a saga: extend finality.Saga")
    made = vars(cls).get("__definition__")
    if made is None:
        made = define(cls, cls.__finality__)
        cls.__definition__ = made  # type: ignore[attr-defined]  # kept here, beside the class that it is of
    assert isinstance(made, Definition), f"{cls.__name__}.__definition__ is {made!r}"
    return made


def children_of(cls: type[Saga]) -> tuple[type[Saga], ...]:
    """Return the sagas that *cls* runs as its child steps: whoever can run it must know them too.

    Raises:
        DefinitionError: A child step does not say which saga it runs.
    """
    return tuple(children(cls.__finality__))
