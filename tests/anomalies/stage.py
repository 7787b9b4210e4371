"""The stage on which an anomaly is played: a node, and a way to wait for what a saga has reached.

Every interleaving is decided by signals that the sagas wait for, so it is the same at each run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import finality
from finality.core.ids import TransactionId, transaction_stream
from finality.core.saga import events as e

SECONDS_MAX = 20.0

Play = Callable[["Stage"], Coroutine[Any, Any, None]]


class Stage:
    """An open node, and what a test wants to know of its sagas."""

    def __init__(self, node: finality.AsyncNode) -> None:
        self.node = node

    async def prepare(self, *statements: str) -> None:
        """Run statements in one local transaction."""

        def run(tx: finality.SyncTx) -> None:
            for statement in statements:
                tx.execute(statement)

        await self.node.run(run)

    async def start(self, saga: finality.Saga, id: str, *, until: type[Any] | None = None) -> None:
        """Start a saga and wait until it has reached the event *until*, if one is given."""
        await self.node.start(saga, id=id)
        if until is not None:
            await self.reached(id, until)

    async def reached(self, id: str, event: type[Any]) -> Any:
        """Wait until such an event has happened to the saga, and return it."""
        stream = transaction_stream(TransactionId(id))
        async with aclosing(self.node.journal.follow()) as told:  # type: ignore[type-var]  # each adapter has a generator
            async for recorded in told:
                if recorded.stream == stream and isinstance(recorded.event, event):
                    return recorded.event
        raise AssertionError("a journal is followed for ever")

    async def go_on(self, *ids: str) -> list[finality.Outcome]:
        """Let the sagas go on, one after the other, each to its end; return the outcomes."""
        outcomes = []
        for id in ids:
            assert await self.node.signal(id, "go"), f"saga {id} waits for its signal"
            outcomes.append(await self.node.outcome(id))
        return outcomes

    async def scalar(self, sql: str, *parameters: Any) -> Any:
        """Return the one value that a query yields."""
        return (await self.node.query(sql, *parameters))[0][0]


def play(url: str, main: Play, **settings: Any) -> None:
    """Open a node at *url* and run *main* on it."""

    async def whole() -> None:
        async with asyncio.timeout(SECONDS_MAX):
            async with finality.open_async(url, **settings) as node:
                await main(Stage(node))

    asyncio.run(whole())


def sqlite_url(folder: Path, name: str = "home") -> str:
    """Return the URL of a database in *folder*."""
    return f"sqlite:///{folder / name}.db"


WAITS = e.WaitStarted
"""Reached by a saga whose next step waits for its signal."""
