"""A step as the user declares it: ``@step``, ``@pivot``, ``@child``, and its compensation.

A declared step takes the place of its function in the class. On the class it is itself, so that
a compensation can be attached to it; on an instance it is the bound method, so that a unit test
calls it like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from finality.core.backoff import Retry
from finality.core.errors import DefinitionError
from finality.core.saga import Kind
from finality.patterns.options import Breaker, Options, Signal, Timer

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class DeclaredStep(Generic[P, R]):
    """One step of a saga, with its compensation once there is one.

    Attributes:
        name: What the class calls it, and what others need it by.
        undo_retry: The compensation's; None leaves it to the default.
        is_sealed: Its class is complete, so that nothing can be attached any more.
    """

    def __init__(
        self,
        function: Callable[Concatenate[Any, P], R],
        kind: Kind,
        options: Options,
        *,
        is_child: bool = False,
    ) -> None:
        self.function = function
        self.kind = kind
        self.options = options
        self.is_child = is_child
        self.name: str = getattr(function, "__name__", "?")
        self.compensation: Callable[..., Any] | None = None
        self.undo_retry: Retry | None = None
        self.is_sealed = False
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self.__isabstractmethod__ = getattr(function, "__isabstractmethod__", False)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, R]: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Callable[P, R]:
        if instance is None:
            return self
        bound: Callable[P, R] = self.function.__get__(instance, owner)
        return bound

    @overload
    def compensate(self, function: F, /) -> F: ...
    @overload
    def compensate(self, /, *, retry: Retry | None = None) -> Callable[[F], F]: ...
    def compensate(self, function: Callable[..., Any] | None = None, /, *, retry: Retry | None = None) -> Any:
        """Declare what semantically undoes the step; the method stays a plain method.

        Args:
            retry: When to try again; by default 20 attempts, then the saga is stuck.
        """

        def attach(undo: F) -> F:
            self._check_attachable()
            self.compensation, self.undo_retry = undo, retry
            return undo

        return attach if function is None else attach(function)

    def _check_attachable(self) -> None:
        if self.is_child:
            raise DefinitionError(
                f"child {self.name!r} has a compensation: it is undone by its own steps' compensations; "
                "move this one into the child saga"
            )
        if self.is_sealed:
            raise DefinitionError(
                f"step {self.name!r} gets a compensation after its class is complete: every user of that "
                "class would get it too; declare the step again in the subclass and compensate that one"
            )
        if self.compensation is not None:
            raise DefinitionError(
                f"step {self.name!r} has two compensations, {_name(self.compensation)!r} and another: "
                "one function undoes one step; merge them"
            )

    def __repr__(self) -> str:
        return f"<{'child' if self.is_child else self.kind.value} step {self.name}>"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "?")


class Declare(Protocol):
    """Turns a method into a declared step."""

    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> DeclaredStep[P, R]:
        """Return the step that runs *function*."""
        ...


@overload
def step(function: Callable[Concatenate[Any, P], R], /) -> DeclaredStep[P, R]: ...
@overload
def step(
    *,
    retry: Retry | None = None,
    timeout: timedelta | None = None,
    breaker: str | Breaker | None = None,
    when: Callable[..., object] | None = None,
    each: str | None = None,
    at_once: int = 10,
    wait_for: Signal | Timer | None = None,
    at: str | None = None,
    raises: str | None = None,
    lowers: str | None = None,
) -> Declare: ...
def step(
    function: Callable[Concatenate[Any, P], R] | None = None,
    /,
    *,
    retry: Retry | None = None,
    timeout: timedelta | None = None,
    breaker: str | Breaker | None = None,
    when: Callable[..., object] | None = None,
    each: str | None = None,
    at_once: int = 10,
    wait_for: Signal | Timer | None = None,
    at: str | None = None,
    raises: str | None = None,
    lowers: str | None = None,
) -> DeclaredStep[P, R] | Declare:
    """Declare a step: named for what it yields, its parameters name what it needs.

    Args:
        retry: When to try again; by default 5 attempts, behind the pivot until it succeeds.
        timeout: How long one attempt may take.
        breaker: The circuit breaker in front of it, by name; steps of one name share it.
        when: Called with the saga and the steps its parameters name; the step is skipped, and
            yields None, when it answers false.
        each: A field of the saga or a step that holds a list: the step runs once for each
            ``item`` and yields the list of the answers.
        at_once: How many items may be in flight together.
        wait_for: What has to come before it runs: ``signal(…)`` or ``timer(…)``.
        at: The store that it works in; by default the node's own.
        raises: What it makes more of, as in ``"credit"``: it must stand where nothing is undone
            any more, at the pivot or behind it, or others could use what is taken away again.
        lowers: What it makes less of: it must come before the pivot, or be it.
    """
    options = Options(retry, timeout, breaker_of(breaker), when, each, at_once, wait_for, at, raises, lowers)
    return _declare(function, Kind.COMPENSATABLE, options)


@overload
def pivot(function: Callable[Concatenate[Any, P], R], /) -> DeclaredStep[P, R]: ...
@overload
def pivot(
    *,
    retry: Retry | None = None,
    timeout: timedelta | None = None,
    breaker: str | Breaker | None = None,
    when: Callable[..., object] | None = None,
    wait_for: Signal | Timer | None = None,
    at: str | None = None,
    raises: str | None = None,
    lowers: str | None = None,
) -> Declare: ...
def pivot(
    function: Callable[Concatenate[Any, P], R] | None = None,
    /,
    *,
    retry: Retry | None = None,
    timeout: timedelta | None = None,
    breaker: str | Breaker | None = None,
    when: Callable[..., object] | None = None,
    wait_for: Signal | Timer | None = None,
    at: str | None = None,
    raises: str | None = None,
    lowers: str | None = None,
) -> DeclaredStep[P, R] | Declare:
    """Declare the point of no return: once it is done, the saga only goes forward.

    It waits for every step that does not need it. The options are those of ``step``; a pivot
    without ``tx`` is tried until it succeeds, because nobody could tell whether it did.
    """
    options = Options(
        retry=retry, timeout=timeout, breaker=breaker_of(breaker), when=when, wait_for=wait_for, at=at,
        raises=raises, lowers=lowers,
    )  # fmt: skip
    return _declare(function, Kind.PIVOT, options)


@overload
def child(function: Callable[Concatenate[Any, P], R], /) -> DeclaredStep[P, R]: ...
@overload
def child(
    *,
    retry: Retry | None = None,
    when: Callable[..., object] | None = None,
    wait_for: Signal | Timer | None = None,
) -> Declare: ...
def child(
    function: Callable[Concatenate[Any, P], R] | None = None,
    /,
    *,
    retry: Retry | None = None,
    when: Callable[..., object] | None = None,
    wait_for: Signal | Timer | None = None,
) -> DeclaredStep[P, R] | Declare:
    """Declare a step that is a saga of its own: the function returns the saga to run.

    Whoever needs the step gets the child's result. When the parent is undone, so is the child.
    """
    options = Options(retry=retry, when=when, wait_for=wait_for)
    return _declare(function, Kind.COMPENSATABLE, options, is_child=True)


def breaker_of(breaker: str | Breaker | None) -> Breaker | None:
    """Return the breaker that *breaker* is, or is the name of."""
    return Breaker(breaker) if isinstance(breaker, str) else breaker


def _declare(
    function: Callable[Concatenate[Any, P], R] | None, kind: Kind, options: Options, *, is_child: bool = False
) -> DeclaredStep[P, R] | Declare:
    def declare(function: Callable[Concatenate[Any, P], R], /) -> DeclaredStep[P, R]:
        return DeclaredStep(function, kind, options, is_child=is_child)

    return declare if function is None else declare(function)  # type: ignore[return-value]  # the caller's P and R
