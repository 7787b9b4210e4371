"""What an extra installs, and what is said where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from finality.core.errors import Unavailable


@contextmanager
def needs(what: str, install: str) -> Iterator[None]:
    """Import in its block, for *what*, packages that ``pip install`` brings with *install*.

    Raises:
        Unavailable: One is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None:
            raise Unavailable(str(error)) from error  # It is ours, and says what to install.
        if error.name.startswith("finality"):
            raise
        raise Unavailable(
            f"{what} needs the package {error.name}, which is not installed: pip install {install}"
        ) from error
