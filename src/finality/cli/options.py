"""The options that several commands share, and how a command opens the store that it looks at."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from finality.cli.parameters import NamedUrl, Url

if TYPE_CHECKING:
    from finality.node import AsyncNode

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

STORE_VARIABLE = "FINALITY_STORE"
BROKER_VARIABLE = "FINALITY_BROKER"
PARTICIPANTS_VARIABLE = "FINALITY_PARTICIPANTS"


def store_option(command: F) -> F:
    """Add ``--store``."""
    return click.option(
        "--store",
        type=Url(),
        required=True,
        envvar=STORE_VARIABLE,
        show_envvar=True,
        help="The store: sqlite:///shop.db (relative), sqlite:////var/lib/shop.db or postgresql://host/shop.",
    )(command)


def participant_option(command: F) -> F:
    """Add ``--participant``."""
    return click.option(
        "--participant",
        "participants",
        type=NamedUrl(),
        metavar="NAME=URL",
        multiple=True,
        envvar=PARTICIPANTS_VARIABLE,
        show_envvar=True,
        callback=_named_urls,
        help="A database or service that takes part in transactions, as bank=postgresql://…; repeat it.",
    )(command)


def at_option(command: F) -> F:
    """Add ``--at``."""
    return click.option(
        "--at",
        "stores",
        type=NamedUrl(),
        metavar="NAME=URL",
        multiple=True,
        callback=_named_urls,
        help="Another store, which at=NAME stands for; repeat it.",
    )(command)


def broker_option(command: F) -> F:
    """Add ``--broker``."""
    return click.option(
        "--broker",
        type=Url(),
        envvar=BROKER_VARIABLE,
        show_envvar=True,
        help="The broker: nats://host, kafka://host:9092, amqp://host, redis://host or sqlite:///events.db.",
    )(command)


def _named_urls(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for pair in given:
        name, _, url = pair.partition("=")
        if not (name and url):
            from finality.core.secret import without_password

            raise click.BadParameter(
                f"{without_password(pair)!r} is not NAME=URL, as in bank=sqlite:///bank.db", context, option
            )
        pairs[name] = url
    return pairs


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


def look(
    store: str,
    work: Callable[[AsyncNode], Coroutine[Any, Any, T]],
    participants: Mapping[str, str] | None = None,
    broker: str | None = None,
    stores: Mapping[str, str] | None = None,
) -> T:
    """Run *work* with a node on *store* that drives nothing and makes no file."""
    from finality.node import open_async
    from finality.node.opening import participant_at

    async def looked() -> T:
        given = [participant_at(name, url) for name, url in (participants or {}).items()]
        async with open_async(
            store, stores=stores, participants=given, broker=broker, is_observer=True, must_exist=True
        ) as node:
            return await work(node)

    return asyncio.run(looked())
