"""Projections without ``await``: declared at the node, waited for, looked at and rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

from finality.node.projecting import Projected, ProjectionState
from finality.patterns.projection import DeclareProjection


class SyncProjected:
    """What a node has to do with projections."""

    asynchronous: Projected
    _wait: Callable[[Coroutine[Any, Any, Any]], Any]

    def project(
        self, *, into: str | Iterable[str], create: str | Iterable[str] = (), at: str | None = None
    ) -> DeclareProjection:
        """Declare a projection of this node; it begins with the next call. See ``finality.project``."""
        return self.asynchronous.project(into=into, create=create, at=at, depth=2)

    def token(self) -> str:
        """Return what stands for all that is committed now. See ``AsyncNode.token``."""
        return str(self._wait(self.asynchronous.token()))

    def wait_for(self, token: str, projection: str, *, timeout: timedelta = timedelta(seconds=10)) -> None:
        """Wait until the tables of *projection* hold what *token* stands for. See ``AsyncNode.wait_for``."""
        self._wait(self.asynchronous.wait_for(token, projection, timeout=timeout))

    def projections(self) -> list[ProjectionState]:
        """Return every projection that has begun in its stores. See ``AsyncNode.projections``."""
        return list(self._wait(self.asynchronous.projections()))

    def rebuild(self, projection: str) -> int:
        """Have the tables of *projection* built anew. See ``AsyncNode.rebuild``."""
        return int(self._wait(self.asynchronous.rebuild(projection)))

    def pause(self, projection: str, *, because: str, by: str = "operator") -> bool:
        """Have *projection* stop where it is. See ``AsyncNode.pause``."""
        return bool(self._wait(self.asynchronous.pause(projection, because=because, by=by)))

    def resume(self, projection: str, *, because: str, by: str = "operator") -> bool:
        """Have *projection* go on. See ``AsyncNode.resume``."""
        return bool(self._wait(self.asynchronous.resume(projection, because=because, by=by)))
