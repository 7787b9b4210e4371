"""From a URL to a store, and from settings to a node."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from finality.adapters.msgspec.codec import JsonCodec
from finality.adapters.msgspec.seal import secret_keys_of
from finality.adapters.system.environment import SystemEnvironment
from finality.core.choreography.run import PATIENCE
from finality.core.errors import DefinitionError, NotFound, Unavailable
from finality.core.secret import without_password
from finality.node.async_node import AsyncNode, Settings
from finality.node.brokers import broker_at, url_beside
from finality.node.extras import needs
from finality.patterns.choreography import Choreography
from finality.patterns.projection import Projection
from finality.patterns.reaction import Reaction
from finality.patterns.reservation import Reservation
from finality.ports.branch_names import check_name
from finality.ports.broker import Broker
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.home import Home
from finality.ports.participant import Branch, Participant
from finality.ports.store import Store
from finality.ports.tracing import NO_TRACING, Tracing
from finality.runtime.commitment import HOME
from finality.runtime.coordinator import IN_FLIGHT_MAX
from finality.runtime.leases import LEASE_SECONDS
from finality.runtime.reactions import INBOX_KEPT_SECONDS
from finality.runtime.relay import OUTBOX_KEPT_SECONDS
from finality.runtime.reservations.participant import RESERVATIONS

SECRET_KEY_VARIABLE = "FINALITY_SECRET_KEY"  # noqa: S105 - the name of a variable, not what is in it
FACTORIES = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "mariadb": "mariadb",
    "mysql": "mariadb",
    "sqlite": "sqlite",
    "http": "service",
    "https": "service",
}
ON_DISK = "sqlite:///shop.db, sqlite:////var/lib/shop.db or postgresql://host/shop"
POSTGRES = ("postgresql://", "postgres://")
SERVER = ("the store at postgresql://", "finality[postgres]")


def open_async(
    url: str,
    *,
    sagas: Iterable[type[Any]] = (),
    stores: Mapping[str, str] | None = None,
    participants: Iterable[Participant[Branch]] = (),
    reservations: Iterable[type[Reservation[Any]]] = (),
    reactions: Iterable[Reaction[..., Any]] = (),
    choreographies: Iterable[Choreography] = (),
    projections: Iterable[Projection[..., Any]] = (),
    broker: str | Broker | None = None,
    schemas: str = "",
    outbox_kept: timedelta = timedelta(seconds=OUTBOX_KEPT_SECONDS),
    inbox_kept: timedelta = timedelta(seconds=INBOX_KEPT_SECONDS),
    secret_key: str | None = None,
    in_flight_max: int = IN_FLIGHT_MAX,
    lease: timedelta = timedelta(seconds=LEASE_SECONDS),
    is_observer: bool = False,
    tracing: bool | Tracing = False,
    must_exist: bool = False,
    environment: Environment | None = None,
) -> AsyncNode:
    """Return a node on the store at *url*; it opens at its first use, or as a context manager.

    Args:
        url: ``sqlite:///shop.db`` (relative), ``sqlite:////var/lib/shop.db`` (absolute),
            ``postgresql://user@host/shop`` or ``memory://`` (gone with the process).
        sagas: What this node can drive besides what it starts; name all of them, so that it
            finishes what a node before it has left open.
        stores: Other stores for steps with ``at=``, by name.
        participants: The databases and services that transactions may enlist; name all of them, so
            that this node finishes what a node before it has left in doubt.
        reservations: The kinds that transactions may reserve; name all of them, for the same reason.
        reactions: What this node does about events, besides what ``node.react`` declares.
        choreographies: Those whose runs this node puts together, each as one transaction.
        projections: The tables that this node keeps, besides what ``node.project`` declares.
        broker: Where events are published to and come from: ``nats://host``, ``kafka://host:9092``,
            ``amqp://host``, ``redis://host``, ``sqlite:///events.db``. Without one they stay in the
            outbox until some node of the store has a reaction; then a node in a file has a broker in
            a file beside it, as ``shop.db-events``, and one in memory has one there.
        schemas: Where the folder of ``finality schema`` is published, as ``https://shop.example/schemas``:
            what is relayed names its schema there, in the attribute ``dataschema``.
        outbox_kept: How long events stay in the outbox, so that they can be sent again if the broker
            loses them.
        inbox_kept: How long a reaction's store knows an event again; longer than *outbox_kept*. An
            event that is older when it comes is parked, for a person to say whether it has run.
        secret_key: What seals ``Secret`` fields; by default the variable FINALITY_SECRET_KEY.
        in_flight_max: Sagas with something to do at once; the others wait on disk.
        lease: How long after its last sign of life a node's sagas are taken over.
        is_observer: Read, and tell sagas something, but drive none.
        tracing: Tell OpenTelemetry of spans; to the SDK that the program has set up, before or after.
        must_exist: Make no store where there is none, and migrate none, beside the home neither.

    Raises:
        DefinitionError: The URL or a saga is not usable.
        NotFound: The store must exist and does not.
        SchemaMismatch: The store must exist and is newer or older than this code.
        Unavailable: ``python -O`` takes out the assertions that stop a node before it splits a commit, or
            tracing is asked for and OpenTelemetry's API is not installed.
    """
    if not __debug__:
        raise Unavailable(
            "a node does not open under python -O: its assertions stop it before it does harm; "
            "run it without -O"
        )
    for each in (url, *(stores or {}).values()):
        check_url(each)
    if must_exist:
        check_exists(url)
        for each in (stores or {}).values():
            check_exists(each, is_home=False)
    choreographies = tuple(choreographies)
    _check_inbox(inbox_kept, outbox_kept, choreographies)
    keys = secret_keys_of(secret_key or os.environ.get(SECRET_KEY_VARIABLE, ""))
    named_broker = url_beside(url) if broker is None else broker
    settings = Settings(
        url=url,
        stores=dict(stores or {}),
        sagas=tuple(sagas),
        participants=named(participants),
        reservations=tuple(reservations),
        reactions=tuple(reactions),
        choreographies=choreographies,
        broker=broker_at(named_broker) if isinstance(named_broker, str) else named_broker,
        projections=tuple(projections),
        schemas=_base_of(schemas),
        has_broker=broker is not None,
        outbox_kept_seconds=outbox_kept.total_seconds(),
        inbox_kept_seconds=inbox_kept.total_seconds(),
        in_flight_max=in_flight_max,
        lease_seconds=lease.total_seconds(),
        is_observer=is_observer,
        tracing=tracing_of(tracing),
        open_home=partial(open_home, must_exist=must_exist),
        open_store=partial(open_store, must_exist=must_exist),
    )
    return AsyncNode(settings, JsonCodec(keys), environment or SystemEnvironment())


def _base_of(schemas: str) -> str:
    """Return the URI that schemas are below, without a slash at its end.

    Raises:
        DefinitionError: It is no absolute URI.
    """
    if schemas and not urlsplit(schemas).scheme:
        raise DefinitionError(
            f"schemas={schemas!r} says not where schemas are: write an absolute URI, as "
            "https://shop.example/schemas"
        )
    return schemas.rstrip("/")


def _check_inbox(kept: timedelta, sent: timedelta, choreographies: Iterable[Choreography]) -> None:
    """See that the inbox remembers longer than anything that it has to know again."""
    if kept <= sent:
        raise DefinitionError(
            f"the inbox would forget events after {kept}, and the outbox may send them again for "
            f"{sent}: they would take effect twice; give a longer inbox_kept="
        )
    for each in choreographies:
        longest = timedelta(seconds=PATIENCE * each.code.shape.deadline_seconds)
        if kept <= longest:
            raise DefinitionError(
                f"the inbox would forget after {kept} what a run of choreography {each.name} has undone, and "
                f"one may take {longest}: what comes late would run; give a longer inbox_kept="
            )


def tracing_of(asked: bool | Tracing) -> Tracing:
    """Return what a node tells its spans to.

    Raises:
        Unavailable: OpenTelemetry's API is not installed.
    """
    if not isinstance(asked, bool):
        return asked
    if not asked:
        return NO_TRACING
    with needs("tracing", "finality[opentelemetry]"):
        from finality.adapters.opentelemetry.tracing import OpenTelemetry
    return OpenTelemetry()


def named(participants: Iterable[Participant[Branch]]) -> tuple[Participant[Branch], ...]:
    """Return the participants, each with a name of its own.

    Raises:
        DefinitionError: A name is taken twice, or none that every participant could carry.
    """
    given = tuple(participants)
    for place, each in enumerate(given):
        check_name(each.name)
        if each.name == HOME or each.name.partition("-")[0] == RESERVATIONS:
            raise DefinitionError(
                f"a participant cannot be called {each.name!r}: that name is Finality's own; choose another"
            )
        if any(each.name == other.name for other in given[:place]):
            raise DefinitionError(
                f"two participants are called {each.name!r}: decisions name them, so rename one"
            )
    return given


def participant_at(name: str, url: str) -> Participant[Branch]:
    """Return the participant that a command line names, such as ``bank`` at ``postgresql://…``.

    Raises:
        DefinitionError: Nothing that can vote has such a URL.
        NotFound: It is a file, and there is none: a name that is mistyped has nothing in doubt.
        Unavailable: The extra that it needs is not installed.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    factory = FACTORIES.get(scheme)
    if factory is None:
        schemes = ", ".join(sorted(FACTORIES))
        raise DefinitionError(
            f"participant {name!r} has the URL {without_password(url)!r}: begin it with one of {schemes}"
        )
    if scheme == "sqlite" and not path_of(url).is_file():
        raise NotFound(f"there is no database at {path_of(url)} for participant {name!r}: check the path")
    with needs(f"participant {name}", f"finality[{factory}]"):
        make = getattr(import_module("finality"), factory)
    made: Participant[Branch] = make(url, name=name)
    return made


def check_url(url: str) -> None:
    """See that *url* names a store that there is.

    Raises:
        DefinitionError: It does not.
    """
    is_file = url.startswith("sqlite:///") and len(url) > len("sqlite:///")
    if not (is_file or url.startswith(("memory://", *POSTGRES))):
        raise DefinitionError(
            f"{without_password(url)!r} names no store: write {ON_DISK}; memory:// is gone with its process"
        )


def check_exists(url: str, *, is_home: bool = True, may_be_older: bool = False) -> None:
    """See that there is a store at *url*, changing nothing; a server is asked when the node opens.

    Args:
        is_home: It has to be one that keeps the journal.
        may_be_older: The caller migrates it.

    Raises:
        NotFound: There is none.
        Unavailable: It cannot be read, or is no database.
        SchemaMismatch: It is newer or older than this code.
    """
    if url.startswith(POSTGRES):
        return
    if url.startswith("memory://"):
        raise NotFound(f"{url} is gone with the process that made it: name a store on disk, {ON_DISK}")
    from finality.adapters.sqlite.look import check_store

    check_store(path_of(url), is_home=is_home, may_be_older=may_be_older)


async def migrate_store(url: str, *, through_post: bool = False) -> list[str]:
    """Bring the schema of a home store to this version; return the names of the scripts that ran.

    Args:
        through_post: Take away what only older code needs.

    Raises:
        DefinitionError: The URL names no store.
        NotFound: It names a file, and that is no store; on a server the schema is made.
        SchemaMismatch: The store is newer than this code.
        Unavailable: It is out of reach.
    """
    check_url(url)
    if url.startswith(POSTGRES):
        with needs(*SERVER):
            from finality.adapters.postgres.home import migrate_home

        return await migrate_home(url, through_post=through_post)
    check_exists(url, may_be_older=True)
    async with open_async(url, is_observer=True):  # A file is migrated by whoever opens it.
        return []


async def adopt_outbox(url: str, table: str, *, is_undone: bool = False) -> None:
    """Relay what is inserted into a foreign outbox table of a home store, too, or no longer.

    Args:
        table: It has the columns that Debezium's outbox router reads; the home's default schema.
        is_undone: Take the trigger away again.

    Raises:
        NotFound: There is no such table, or no store.
        DefinitionError: The table is no outbox, or the URL names no store.
        Unavailable: The store is out of reach.
    """
    check_url(url)
    check_exists(url)
    if url.startswith(POSTGRES):
        with needs(*SERVER):
            from finality.adapters.postgres.adopted import adopt as adopt_in_postgres

        await adopt_in_postgres(url, table, is_undone=is_undone)
        return
    from finality.adapters.sqlite.adopted import adopt

    adopt(path_of(url), table, is_undone=is_undone)


def path_of(url: str) -> Path:
    """Return the file that a ``sqlite:///`` URL names."""
    return Path(url.removeprefix("sqlite:///"))


async def open_home(url: str, environment: Environment, codec: Codec, *, must_exist: bool = False) -> Home:
    """Open a home store."""
    if url.startswith(POSTGRES):
        with needs(*SERVER):
            from finality.adapters.postgres import home

        return cast(Home, await home.open_home(url, environment, codec, must_exist=must_exist))
    if url.startswith("memory://"):
        from finality.adapters.memory.store import MemoryHome

        return cast(Home, MemoryHome(url.removeprefix("memory://"), environment, codec))
    from finality.adapters.sqlite.store import SqliteHome

    return cast(Home, SqliteHome(path_of(url), environment, codec))


async def open_store(url: str, environment: Environment, name: str, *, must_exist: bool = False) -> Store:
    """Open a store beside the home."""
    if url.startswith(POSTGRES):
        with needs(*SERVER):
            from finality.adapters.postgres.store import PostgresStore

        store = PostgresStore(url, environment, name=name)
        return cast(Store, await PostgresStore.opened(store, must_exist=must_exist))
    if url.startswith("memory://"):
        from finality.adapters.memory.store import MemoryStore

        return cast(Store, MemoryStore(url.removeprefix("memory://"), environment))
    from finality.adapters.sqlite.store import SqliteStore

    return cast(Store, SqliteStore(path_of(url), environment, name=name))
