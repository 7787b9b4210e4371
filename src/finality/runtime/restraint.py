"""What keeps a projection from doing more than keeping its tables: it may be run again from the beginning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from finality.core.errors import DefinitionError

_PROJECTING: ContextVar[str | None] = ContextVar("finality_projecting", default=None)


@contextmanager
def projecting(name: str) -> Iterator[None]:
    """Run a projection's function, in the block."""
    token = _PROJECTING.set(name)
    try:
        yield
    finally:
        _PROJECTING.reset(token)


def check_not_projecting(what: str) -> None:
    """See that no projection does *what*.

    Raises:
        DefinitionError: One does.
    """
    name = _PROJECTING.get()
    if name is not None:
        raise DefinitionError(
            f"projection {name!r} would {what}, and do so again whenever it is rebuilt; let it write its "
            "tables only, and do the rest in a reaction"
        )
