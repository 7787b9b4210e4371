"""The turn that writes what was decided on aggregates, outside of any block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from finality.ports.home import Home, HomeTransaction
from finality.ports.sources import Sources


class SourcesTurn:
    """Fulfils ``ports.store.Turn``: runs *work*, and many share one commit; whoever asked awaits ``done``."""

    def __init__(self, name: str, work: Callable[[Sources], Any]) -> None:
        self.name = name
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._work = work
        self._answer: Any = None

    def run(self, tx: HomeTransaction) -> None:
        """Write."""
        self._answer = self._work(tx.sources)

    def forget(self) -> None:
        """Forget the answer."""
        self._answer = None

    def settle(self, error: BaseException | None) -> None:
        """Answer the caller."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(self._answer)
        else:
            self.done.set_exception(error)


async def written(home: Home, name: str, work: Callable[[Sources], Any]) -> Any:
    """Return what *work* returns, once it is durable."""
    turn = SourcesTurn(name, work)
    home.submit(turn)
    return await turn.done
