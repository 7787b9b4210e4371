"""The lookout: when to look whether somebody has committed in a store, so that an idle node rests.

```
   told ──▶ soon ──▶ 3 × as long ──▶ 9 × ──▶ … ──▶ as long as the store lets rest
              ▲                                            │ told
              └────────────────────────────────────────────┘
   changed: come again after LOOK_SECONDS
```

Who tells may do so before the commit can be seen, which takes the disk's time; so after a word come
several looks, at intervals that grow. Where the store is told nothing, all of them are equally long.
"""

from __future__ import annotations

import asyncio
from math import inf

from finality.ports.store import Store

SOON_SECONDS = 0.005  # About the time of a commit on a disk.
GROWTH = 3  # A commit is seen that many times as late as it took, at most.


class Lookout:
    """Looks at a store for a loop that rests in between."""

    def __init__(self, store: Store, kicked: asyncio.Event, seconds: float) -> None:
        self._store = store
        self._kicked = kicked
        self._seconds = seconds
        self.pause_seconds = seconds
        store.on_news(self._hear)

    async def look(self) -> bool:
        """Say whether somebody has committed since the last look."""
        try:
            has_changed = await self._store.changed()
        except BaseException:
            self.pause_seconds = self._seconds
            raise
        if has_changed:
            self.pause_seconds = self._seconds
        return has_changed

    async def rest(self, seconds_max: float = inf) -> None:
        """Wait until somebody kicks, or it is time to look again; at most so many seconds."""
        try:
            async with asyncio.timeout(min(self.pause_seconds, seconds_max)):
                await self._kicked.wait()
        except TimeoutError:
            if self.pause_seconds <= seconds_max:
                quiet = self._store.quiet_seconds
                self.pause_seconds = min(self.pause_seconds * GROWTH, quiet) if quiet else self._seconds

    def _hear(self) -> None:
        if self.pause_seconds > self._seconds:
            self.pause_seconds = SOON_SECONDS
            asyncio.get_running_loop().call_later(SOON_SECONDS, self._kicked.set)
