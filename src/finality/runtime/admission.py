"""Admission: sagas that have something to do wait here by their keys, until there is room to drive them.

```
   due ──▶ a line for each kind ──▶ a page: kinds in turn ──▶ read in one look ──▶ in hand
                                    ▲ what ends together makes room together
```
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Set
from functools import partial

from finality.core.errors import OutcomeUnknown
from finality.runtime.context import Context
from finality.runtime.drive import Drive
from finality.runtime.loading import Loaded, Loader
from finality.runtime.posting import StartTurn
from finality.runtime.telling import TROUBLE_SECONDS

log = logging.getLogger("finality.coordinator")

PAGE_SAGAS_MAX = 100  # Read in one look: a few milliseconds, in which the event loop does nothing else.


class Admission:
    """The sagas of one node that wait to be driven: bounded, and fair between kinds.

    Args:
        drives: The sagas in hand.
        starting: Starts that bring their first step along, so that they are as good as in hand.
        take: Takes one more in hand.
        look_at: Lets a saga in hand go on, since it was called.
        kick: Hears that there may be something due at once.
    """

    def __init__(
        self,
        context: Context,
        drives: dict[int, Drive],
        starting: Set[StartTurn],
        in_flight_max: int,
        *,
        take: Callable[[Drive], None],
        look_at: Callable[[Drive], None],
        kick: Callable[[], None],
    ) -> None:
        self._context = context
        self._drives = drives
        self._starting = starting
        self._in_flight_max = in_flight_max
        self._take = take
        self._look_at = look_at
        self._kick = kick
        self._loop = asyncio.get_running_loop()
        self._loader = Loader(context)
        self._pending: dict[str, deque[int]] = {}
        self._pending_keys: set[int] = set()
        self._loading: dict[int, asyncio.Task[None]] = {}
        self._recalled: set[int] = set()
        self._is_due = False
        self._is_closed = False

    def admit(self, due: Iterable[tuple[int, str]]) -> None:
        """Queue sagas that have something to do, each kind in a line of its own."""
        for key, kind in due:
            drive = self._drives.get(key)
            if drive is not None:
                self._look_at(drive)
            elif key in self._loading:
                self._recalled.add(key)
            elif key not in self._pending_keys:
                self._pending_keys.add(key)
                self._pending.setdefault(kind, deque()).append(key)
        self.load_soon()

    def close(self) -> None:
        """Load nothing more."""
        self._is_closed = True
        for load in set(self._loading.values()):
            load.cancel()

    @property
    def room(self) -> int:
        """Return for how many more sagas there is room; none if it is not positive."""
        return self._in_flight_max - len(self._drives) - len(self._starting) - len(self._loading)

    def load_soon(self) -> None:
        """Load what there is room for, once all that ends together has ended."""
        if self._pending and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._load)

    def _load(self) -> None:
        self._is_due = False
        while self._pending and self.room > 0 and not self._is_closed:
            page = self._page()
            self._loading |= dict.fromkeys(page, self._loop.create_task(self._read(page)))

    def _page(self) -> dict[int, str]:
        """Take the next keys from the lines."""
        page: dict[int, str] = {}
        room = min(self.room, PAGE_SAGAS_MAX)
        while self._pending and len(page) < room:
            # The kind that was served goes to the back of the line of kinds.
            kind = next(iter(self._pending))
            keys = self._pending.pop(kind)
            key = keys.popleft()
            self._pending_keys.discard(key)
            if keys:
                self._pending[kind] = keys
            page[key] = kind
        return page

    async def _read(self, page: dict[int, str]) -> None:
        """Load the sagas of a page; those that are left in it at its end could not be."""
        self._context.called.difference_update(page)
        try:
            async for key, loaded in self._loader.load([*page]):
                self._hear(key, page.pop(key), loaded)
        except Exception as error:  # Whatever it is, nobody else would ever look at them again.
            for key, kind in page.items():
                self.load_later(key, kind, error)
        finally:
            for key in page:
                self._end(key)
            self.load_soon()

    def _hear(self, key: int, kind: str, loaded: Loaded) -> None:
        is_recalled = self._end(key)
        if isinstance(loaded, Drive):
            loaded.is_claimed = True
            self._take(loaded)
            if is_recalled:  # What it was called for may have come after it was read.
                self._look_at(loaded)
        elif loaded is not None:
            loaded.done = partial(self.load_later, key, kind)
            self._context.home.submit(loaded)
        elif is_recalled:
            self.admit([(key, kind)])

    def _end(self, key: int) -> bool:
        """Note that a saga is loaded; return whether it was called meanwhile."""
        del self._loading[key]
        is_recalled = key in self._recalled
        self._recalled.discard(key)
        return is_recalled

    def load_later(self, key: int, kind: str, error: BaseException | None) -> None:
        """Load a saga again after a while if it could not be; its head says that it is in hand."""
        if error is None:
            self._kick()
        elif not isinstance(error, OutcomeUnknown):
            log.warning("transaction %d could not be loaded, it is tried again: %s", key, error)
            self._loop.call_later(TROUBLE_SECONDS, self.admit, [(key, kind)])
