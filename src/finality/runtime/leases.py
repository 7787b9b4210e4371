"""Leases: how nodes notice that one of them is gone, and take its sagas over.

The version is for safety, the lease is for efficiency: a node that was paused longer than its
lease may wake up believing in itself, and yet cannot append, because each saga that was taken
over is one version further on.

Source: Leases, C. Gray and D. Cheriton, 1989.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from finality.core.errors import FinalityError
from finality.core.ids import NodeId
from finality.ports.home import HomeTransaction, NodeRow
from finality.runtime.asked import Asked
from finality.runtime.context import Context

log = logging.getLogger("finality.leases")

LEASE_SECONDS = 10.0  # A pause of a garbage collection or a busy disk is shorter.
RENEWALS_A_LEASE = 4  # Three may fail before anybody thinks that the node is gone.
TAKE_OVER_MAX = 1_000  # In one turn; the others' turns come in between.


class LeaseTurn(Asked[int]):
    """Renews the lease and takes over what nobody alive drives; answers how many sagas that are."""

    def __init__(
        self, row: NodeRow, now: float, *, accepts: frozenset[str] = frozenset(), is_leaving: bool = False
    ) -> None:
        super().__init__("renewal of the lease", answer=0)
        self._row = row
        self._now = now
        self._accepts = accepts
        self._is_leaving = is_leaving

    def run(self, tx: HomeTransaction) -> None:
        """Renew, or leave."""
        if self._is_leaving:
            tx.leave(self._row.id)
            return
        tx.renew(self._row)
        self.answer = tx.take_over(
            self._row.id,
            self._row.drives - self._accepts,
            accepts=self._accepts,
            expired_before=self._now,
            limit=TAKE_OVER_MAX,
        )


class LetGoTurn(Asked[None]):
    """Hands the sagas over in which nothing is under way."""

    def __init__(self, node: NodeId, keep: Collection[int]) -> None:
        super().__init__("hand-over of sagas", answer=None)
        self._node = node
        self._keep = keep

    def run(self, tx: HomeTransaction) -> None:
        """Let go."""
        tx.let_go(self._node, keep=self._keep)


class Leases:
    """The loop that keeps this node alive in the others' eyes.

    Attributes:
        advertised: What it does besides driving sagas, as its readers say it.
    """

    def __init__(
        self, context: Context, row: NodeRow, taken: Callable[[], None], *, seconds: float = LEASE_SECONDS
    ) -> None:
        self.taken_over = 0
        self.advertised: set[str] = set()
        self._context = context
        self._row = row
        self._taken = taken
        self._seconds = seconds
        self._changed = asyncio.Event()
        self._is_leaving = False

    def stop_taking(self) -> None:
        """Take nothing over any more, and tell the others that this node can drive nothing."""
        self._is_leaving = True
        self._changed.set()

    def drives_changed(self) -> None:
        """Tell the others at once what this node can drive."""
        self._changed.set()

    async def renew(self) -> int:
        """Renew the lease; return how many sagas were taken over."""
        now = self._context.environment.now()
        drives = frozenset(f"{kind}@{version}" for kind, version in self._context.definitions)
        accepted = frozenset(
            f"{definition.kind}@{version}"
            for definition in self._context.definitions.values()
            for version in definition.accepts
        )
        told = frozenset(self.advertised)
        if self._is_leaving:
            drives = accepted = told = frozenset()
        self._row = replace(self._row, lease_until=now + self._seconds, drives=drives | accepted | told)
        turn = LeaseTurn(self._row, now, accepts=accepted - drives)
        self._context.home.submit(turn)
        taken = await turn.done
        if taken:
            self.taken_over += taken
            self._taken()
        return taken

    async def leave(self) -> None:
        """End the lease and let go of every saga, so that others need not wait for its end."""
        turn = LeaseTurn(self._row, self._context.environment.now(), is_leaving=True)
        self._context.home.submit(turn)
        await turn.done

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            taken = 0
            self._changed.clear()  # Before: what changes meanwhile is told by the next renewal, at once.
            try:
                taken = await self.renew()
            except FinalityError as error:
                log.warning("the lease could not be renewed, it is tried again: %s", error)
            except Exception:  # Whatever it is, a node that stops renewing loses all its sagas.
                log.exception("the lease could not be renewed, it is tried again")
            if taken >= TAKE_OVER_MAX:
                continue
            try:
                async with asyncio.timeout(self._seconds / RENEWALS_A_LEASE):
                    await self._changed.wait()
            except TimeoutError:
                continue
