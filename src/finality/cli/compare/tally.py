"""What a withdrawal costs, counted where it happens: calls at the ports, commits at the databases."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from finality.adapters.system.environment import SystemEnvironment
from finality.node import AsyncNode
from finality.ports.environment import COMMIT_AFTER, Environment

OF_PARTICIPANT = ("finish", "settle", "vote", "pre_commit", "standing", "conclude")
OF_BRANCH = ("execute", "reserve", "prepare", "commit", "abort")
OF_SCOPE = ("call", "commit")
OF_BROKER = ("publish",)
OF_JOURNAL = ("decide",)
DURABLE = ("prepare", "finish", "commit")  # What is on a database's disk when it returns.
STILL_SECONDS = 0.03


class Tally:
    """Counts while withdrawals run.

    Attributes:
        calls: What was asked of bank, provider and broker, by the name of the call.
        writes: Commits that were flushed, at all databases together.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.writes = 0
        self._lock = threading.Lock()

    def environment(self) -> Environment:
        """Return the world for a node whose commits count."""
        return _Counting(self.written)

    def written(self) -> None:
        """Count a commit; on any thread."""
        with self._lock:
            self.writes += 1

    async def watch(self, node: AsyncNode, silent: frozenset[str]) -> None:
        """Count what an open node asks of its participants, or of its stores if it has none, and of a broker.

        Args:
            silent: Participants whose commits pass no crash point, and are counted by their calls.
        """
        context = await node.opened()
        participants = node._insides.participants
        for name, participant in participants.items():
            is_silent = name in silent
            self._count(participant, OF_PARTICIPANT, is_silent=is_silent)
            self._count_begun(participant, "begin", OF_BRANCH, is_silent=is_silent)
        if node.settings.broker is not None:
            self._count(node.settings.broker, OF_BROKER)
        self._count(node, OF_JOURNAL)
        if not participants:
            for store in context.stores.values() or (context.home,):
                self._count_begun(store, "scope", OF_SCOPE)

    def _count(self, thing: Any, names: tuple[str, ...], *, is_silent: bool = False) -> None:
        for name in names:
            if hasattr(thing, name):
                setattr(thing, name, self._counted(name, getattr(thing, name), is_silent and name in DURABLE))

    def _counted(self, name: str, method: Callable[..., Any], is_write: bool) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if is_write:
                self.written()
            return method(*arguments, **options)

        return counted

    def _count_begun(self, thing: Any, name: str, names: tuple[str, ...], *, is_silent: bool = False) -> None:
        """Count what is asked of whatever *thing* begins: a branch, or a scope."""
        begin = getattr(thing, name)

        def begun(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            answer = begin(*arguments, **options)
            if not asyncio.iscoroutine(answer):
                self._count(answer, names)
                return answer
            return later(answer)

        async def later(answer: Any) -> Any:
            branch = await answer
            self._count(branch, names, is_silent=is_silent)
            return branch

        setattr(thing, name, begun)

    async def settled(self) -> None:
        """Wait until nothing is written any more: some of it happens after the answer."""
        seen = -1
        while seen != self.writes:
            seen = self.writes
            await asyncio.sleep(STILL_SECONDS)


class _Counting(SystemEnvironment):
    """The world of production, with an ear at the commits."""

    def __init__(self, written: Callable[[], None]) -> None:
        super().__init__()
        self._written = written

    def reach(self, point: str) -> None:
        """Count what is durable now."""
        if point == COMMIT_AFTER:
            self._written()
