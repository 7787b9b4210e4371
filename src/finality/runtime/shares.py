"""The shares of a reader's work that this node holds: leases, taken fairly, renewed and given back.

```
   look ──▶ free, and fewer held than is fair ──▶ claim ──▶ take(share)
        ├─▶ held ────────────────────────────────▶ renew
        └─▶ held, and more than is fair ─────────▶ let_go(share), give back ──▶ another node claims
```

Fair is an equal part of the shares for each live node that has the same reader. The lease only avoids
that two nodes do the same work; what fences a node off that was paused is the epoch of its share.

Source: Leases, C. Gray and D. Cheriton, 1989.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from finality.core.errors import FinalityError
from finality.core.ids import NodeId
from finality.ports.events import Progress
from finality.ports.store import LocalTransaction, Store
from finality.runtime.asked import Asked
from finality.runtime.context import Context
from finality.runtime.leases import RENEWALS_A_LEASE

log = logging.getLogger("finality.readers")

HUNGRY_LOOKS_A_LEASE = 16  # Of a node that holds less than is fair: what others give back lies idle.
ADVERTISED = "reader:"  # Before a reader's name, among what a node says that it drives.


class ShareHolder(Protocol):
    """Who does the work of the shares."""

    def take(self, progress: Progress) -> None:
        """Begin with a share, from its cursor; its lease is this node's now."""
        ...

    async def let_go(self, share: int) -> None:
        """End the work on a share, before another node gets it; bounded."""
        ...


class ClaimTurn(Asked[dict[int, Progress]]):
    """Gives shares back, and takes or renews others; answers those that are this node's now."""

    def __init__(
        self, reader: str, node: NodeId, shares: Sequence[int], given_back: Sequence[Progress], until: float
    ) -> None:
        super().__init__(f"leases of reader {reader}", answer={})
        self._reader = reader
        self._node = node
        self._shares = shares
        self._given_back = given_back
        self._until = until

    def run(self, tx: LocalTransaction) -> None:
        """Give back and claim."""
        for progress in self._given_back:
            tx.give_back(progress)
        claims = [tx.claim(self._reader, share, node=self._node, until=self._until) for share in self._shares]
        self.answer = {progress.share: progress for progress in claims if progress is not None}


class Shares:
    """The loop that keeps a node's part of a reader's shares.

    Attributes:
        held: The shares that are this node's, with the cursors that they were claimed with.
    """

    def __init__(
        self, context: Context, store: Store, reader: str, count: int, holder: ShareHolder, *, seconds: float
    ) -> None:
        self.held: dict[int, Progress] = {}
        self._context = context
        self._store = store
        self._reader = reader
        self._count = count
        self._holder = holder
        self._seconds = seconds
        self._asked = asyncio.Event()
        self._is_hungry = True
        self._renew_at = 0.0

    def until(self, share: int) -> float:
        """Return when the lease of a share ends; 0 if this node does not hold it."""
        held = self.held.get(share)
        return 0.0 if held is None else held.lease_until

    def renew_soon(self) -> None:
        """Look at once: a lease has lapsed, as that of a process does that was paused."""
        self._renew_at = 0.0
        self._asked.set()

    def lose(self, progress: Progress) -> None:
        """Hear that a share has another holder, or was rewound: look at once what is still ours."""
        held = self.held.get(progress.share)
        if held is not None and held.epoch == progress.epoch:
            del self.held[progress.share]
            self.renew_soon()

    async def run(self) -> None:
        """Look until cancelled; no trouble ends it, since nobody else would do the work."""
        while True:
            try:
                await self.look()
            except FinalityError as error:
                log.warning("the leases of reader %s are looked at again: %s", self._reader, error)
            except Exception:
                log.exception("the leases of reader %s are looked at again", self._reader)
            looks = HUNGRY_LOOKS_A_LEASE if self._is_hungry else RENEWALS_A_LEASE
            # Several nodes should not all look at the same moment.
            pause = self._seconds / looks * (0.75 + self._context.environment.chance() / 4)
            try:
                async with asyncio.timeout(pause):
                    await self._asked.wait()
            except TimeoutError:
                continue
            finally:
                self._asked.clear()

    async def look(self) -> None:
        """Give back what is too much, renew what is held, and take what is free and fair."""
        now = self._context.environment.now()
        fair, free = await self._fair_and_free(now)
        mine = sorted(self.held)
        too_much = mine[fair:]
        wanted = mine[:fair] + free[: max(fair - len(mine), 0)]
        self._is_hungry = len(wanted) < fair
        is_unchanged = wanted == mine and now < self._renew_at
        if is_unchanged or not (wanted or too_much):
            return
        await self._let_go(too_much)
        given_back = [self.held.pop(share) for share in too_much if share in self.held]
        turn = ClaimTurn(self._reader, self._context.node, wanted, given_back, now + self._seconds)
        self._store.submit(turn)
        await self._heard(await turn.done)
        self._renew_at = now + self._seconds / RENEWALS_A_LEASE / 2

    async def _fair_and_free(self, now: float) -> tuple[int, list[int]]:
        """Return how many shares are this node's part, and which nobody holds."""
        me = self._context.node
        live = [row for row in await self._store.progress(self._reader) if row.lease_until > now]
        others = {row.share: row.node for row in live if row.node not in (None, me)}
        name = f"{ADVERTISED}{self._reader}"
        nodes = {
            row.id for row in await self._context.home.nodes() if row.lease_until > now and name in row.drives
        }
        sharers = len({me, *nodes, *others.values()})
        free = [share for share in range(self._count) if share not in others and share not in self.held]
        return -(-self._count // sharers), free

    async def _heard(self, claimed: dict[int, Progress]) -> None:
        for share in [share for share in self.held if share not in claimed]:
            log.warning("share %d of reader %s has gone to another node", share, self._reader)
            self.held.pop(share, None)  # It may have been lost meanwhile, by a fence.
            await self._holder.let_go(share)
        for share, progress in claimed.items():
            before = self.held.get(share)
            self.held[share] = progress
            if before is None or before.epoch != progress.epoch:
                await self._holder.let_go(share)
                self._holder.take(progress)

    async def leave(self) -> None:
        """Give every share back, so that others need not wait for the end of its lease."""
        await self._let_go(sorted(self.held))
        if self.held:
            turn = ClaimTurn(self._reader, self._context.node, (), list(self.held.values()), 0.0)
            self.held.clear()
            self._store.submit(turn)
            await turn.done

    async def _let_go(self, shares: Sequence[int]) -> None:
        await asyncio.gather(*(self._holder.let_go(share) for share in shares))
