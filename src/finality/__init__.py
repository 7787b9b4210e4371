"""Finality: transactions across services, databases, queues and shards.

Every public name is listed here. Each is imported when it is first used, so that `finality --help`
does not wait for a database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finality.adapters.http.service import service
    from finality.adapters.mariadb.participant import mariadb
    from finality.adapters.msgspec.seal import new_secret_key
    from finality.adapters.postgres.participant import postgres
    from finality.adapters.sqlite.participant import sqlite
    from finality.core.backoff import FOREVER, Retry
    from finality.core.errors import (
        Compensated,
        CompensationFailed,
        Conflict,
        DeadlinePassed,
        DefinitionError,
        Erased,
        Fenced,
        FinalityError,
        HeuristicOutcome,
        InputMismatch,
        LimitExceeded,
        NotFound,
        OutcomeUnknown,
        Refused,
        SchemaMismatch,
        Stuck,
        TransactionAborted,
        Unavailable,
        VersionConflict,
    )
    from finality.core.explain import Explanation
    from finality.core.personal import Personal
    from finality.core.secret import Secret
    from finality.core.sourcing import Archived, Forgotten, Meta
    from finality.core.two_phase import Decision
    from finality.node import AsyncNode, Node, open, open_async
    from finality.node.faststream import faststream
    from finality.node.joining import AsyncJoined, Joined, join, join_async
    from finality.node.psycopg import psycopg
    from finality.node.sqlalchemy import sqlalchemy
    from finality.patterns.aggregate import Aggregate
    from finality.patterns.choreography import Choreography
    from finality.patterns.countermeasures.by_value import by_value
    from finality.patterns.countermeasures.reread_value import Changed, Seen
    from finality.patterns.countermeasures.semantic_lock import Locked, LockHolder
    from finality.patterns.countermeasures.version_file import Arrival
    from finality.patterns.event import event, upcast
    from finality.patterns.options import Breaker, signal, timer
    from finality.patterns.outcome import COMPENSATED, COMPLETED, Handle, Outcome
    from finality.patterns.projection import Projection, project
    from finality.patterns.protocol import THREE_PHASE, TWO_PHASE, CommitProtocol
    from finality.patterns.query import Events, Found, events
    from finality.patterns.reaction import Reaction, react
    from finality.patterns.reservation import Reservation
    from finality.patterns.saga import Saga
    from finality.patterns.step import child, pivot, step
    from finality.patterns.transaction import SyncTx, Transaction, Tx
    from finality.runtime.definition import Attempt
    from finality.runtime.projection import Happened

__version__ = "0.1.0"

_HOMES = {
    "finality.adapters.http.service": "service",
    "finality.adapters.mariadb.participant": "mariadb",
    "finality.adapters.msgspec.seal": "new_secret_key",
    "finality.adapters.postgres.participant": "postgres",
    "finality.adapters.sqlite.participant": "sqlite",
    "finality.core.backoff": "FOREVER Retry",
    "finality.core.errors": (
        "Compensated CompensationFailed Conflict DeadlinePassed DefinitionError Erased Fenced "
        "FinalityError HeuristicOutcome InputMismatch LimitExceeded NotFound OutcomeUnknown Refused "
        "SchemaMismatch Stuck TransactionAborted Unavailable VersionConflict"
    ),
    "finality.core.explain": "Explanation",
    "finality.core.personal": "Personal",
    "finality.core.secret": "Secret",
    "finality.core.sourcing": "Archived Forgotten Meta",
    "finality.core.two_phase": "Decision",
    "finality.node": "AsyncNode Node open open_async",
    "finality.node.faststream": "faststream",
    "finality.node.joining": "AsyncJoined Joined join join_async",
    "finality.node.psycopg": "psycopg",
    "finality.node.sqlalchemy": "sqlalchemy",
    "finality.patterns.aggregate": "Aggregate",
    "finality.patterns.choreography": "Choreography",
    "finality.patterns.countermeasures.by_value": "by_value",
    "finality.patterns.countermeasures.reread_value": "Changed Seen",
    "finality.patterns.countermeasures.semantic_lock": "Locked LockHolder",
    "finality.patterns.countermeasures.version_file": "Arrival",
    "finality.patterns.event": "event upcast",
    "finality.patterns.options": "Breaker signal timer",
    "finality.patterns.outcome": "COMPENSATED COMPLETED Handle Outcome",
    "finality.patterns.protocol": "THREE_PHASE TWO_PHASE CommitProtocol",
    "finality.patterns.query": "Events Found events",
    "finality.patterns.projection": "Projection project",
    "finality.patterns.reaction": "Reaction react",
    "finality.patterns.reservation": "Reservation",
    "finality.patterns.saga": "Saga",
    "finality.patterns.step": "child pivot step",
    "finality.patterns.transaction": "SyncTx Transaction Tx",
    "finality.runtime.definition": "Attempt",
    "finality.runtime.projection": "Happened",
}
_HOME_OF = {name: module for module, listed in _HOMES.items() for name in listed.split()}
_EXTRAS = {
    "faststream": "faststream",
    "mariadb": "mariadb",
    "postgres": "postgres",
    "psycopg": "postgres,psycopg",
    "service": "http",
    "sqlalchemy": "sqlalchemy",
}
"""What is needed beside the package itself, where a name needs more."""

__all__ = [
    "COMPENSATED",
    "COMPLETED",
    "FOREVER",
    "THREE_PHASE",
    "TWO_PHASE",
    "Aggregate",
    "Archived",
    "Arrival",
    "AsyncJoined",
    "AsyncNode",
    "Attempt",
    "Breaker",
    "Changed",
    "Choreography",
    "CommitProtocol",
    "Compensated",
    "CompensationFailed",
    "Conflict",
    "DeadlinePassed",
    "Decision",
    "DefinitionError",
    "Erased",
    "Events",
    "Explanation",
    "Fenced",
    "FinalityError",
    "Forgotten",
    "Found",
    "Handle",
    "Happened",
    "HeuristicOutcome",
    "InputMismatch",
    "Joined",
    "LimitExceeded",
    "LockHolder",
    "Locked",
    "Meta",
    "Node",
    "NotFound",
    "Outcome",
    "OutcomeUnknown",
    "Personal",
    "Projection",
    "Reaction",
    "Refused",
    "Reservation",
    "Retry",
    "Saga",
    "SchemaMismatch",
    "Secret",
    "Seen",
    "Stuck",
    "SyncTx",
    "Transaction",
    "TransactionAborted",
    "Tx",
    "Unavailable",
    "VersionConflict",
    "by_value",
    "child",
    "event",
    "events",
    "faststream",
    "join",
    "join_async",
    "mariadb",
    "new_secret_key",
    "open",
    "open_async",
    "pivot",
    "postgres",
    "project",
    "psycopg",
    "react",
    "service",
    "signal",
    "sqlalchemy",
    "sqlite",
    "step",
    "timer",
    "upcast",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'finality' has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as error:
        if name not in _EXTRAS:
            raise
        raise ModuleNotFoundError(
            f"finality.{name} needs the package {error.name}, which is not installed: "
            f"pip install finality[{_EXTRAS[name]}]"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
