"""The options that several commands share, and how a command opens the store that it looks at."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from finality.node import AsyncNode

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

STORE_VARIABLE = "FINALITY_STORE"


def store_option(command: F) -> F:
    """Add ``--store``."""
    return click.option(
        "--store",
        metavar="URL",
        required=True,
        envvar=STORE_VARIABLE,
        show_envvar=True,
        help="The store, as sqlite:///shop.db (relative) or sqlite:////var/lib/shop.db (absolute).",
    )(command)


def json_option(command: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def reason_options(command: F) -> F:
    """Add ``--because`` and ``--by``."""
    because = click.option(
        "--because", metavar="WHY", required=True, help="The reason; it is kept in the journal."
    )
    return because(by_option(command))


def by_option(command: F) -> F:
    """Add ``--by``."""
    return click.option(
        "--by", metavar="WHO", default=user, show_default="you", help="Who decides this; kept in the journal."
    )(command)


def user() -> str:
    """Return the name of the user of the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"  # A container may run under a number that has no name.


def look(store: str, work: Callable[[AsyncNode], Coroutine[Any, Any, T]]) -> T:
    """Run *work* with a node on *store* that drives nothing and makes no file."""
    from finality.node import open_async

    async def looked() -> T:
        async with open_async(store, is_observer=True, must_exist=True) as node:
            return await work(node)

    return asyncio.run(looked())
