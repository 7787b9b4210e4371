"""Known mistakes of a relay, planted into ours: the simulation must catch every one of them.

python -m tests.sim.planted_relay        prints the table of docs/internals/planted-bugs.md
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from finality.adapters.memory.events import MemoryEventTransaction
from finality.core.ids import Cursor
from finality.ports.events import OutboxPage, Progress
from finality.runtime.relay import Relay, RelayWork
from tests.sim.relay import Result, simulate
from tests.sim.simulation import Broken

SEEDS_MAX = 40

Patch = pytest.MonkeyPatch


def marked_before_it_is_published(patch: Patch) -> None:
    """The cursor advances first, and the page is published afterwards."""
    real = RelayWork._publish_page

    async def publish_page(self: RelayWork, page: OutboxPage) -> None:
        await self._advance(page.cursor)
        await real(self, page)

    patch.setattr(RelayWork, "_publish_page", publish_page)


def unfenced(patch: Patch) -> None:
    """A relay that was overtaken advances the cursor all the same."""
    real = MemoryEventTransaction.advance

    def advance(self: Any, progress: Progress, cursor: Cursor) -> None:
        found = self._database.readers.get(progress[:2])
        real(self, progress if found is None else found, cursor)

    patch.setattr(MemoryEventTransaction, "advance", advance)


def unavailable_is_skipped(patch: Patch) -> None:
    """What the broker may not have stored is left behind, and the cursor advances."""
    real = Relay.publish

    async def publish(self: Relay, events: Any) -> Any:
        answers = await real(self, events)
        return [answer if isinstance(answer, str) else None for answer in answers]

    patch.setattr(Relay, "publish", publish)


def rejected_holds_up_nobody(patch: Patch) -> None:
    """What is rejected is parked, and later events of its key are published before it."""
    real = RelayWork._put_aside

    def put_aside(self: RelayWork, event: Any, because: str) -> None:
        real(self, event, because)
        self._parked_keys.clear()

    patch.setattr(RelayWork, "_put_aside", put_aside)


def parked_is_forgotten(patch: Patch) -> None:
    """Whoever takes a share over does not look what is parked in it."""
    real = RelayWork.__init__

    def begin(self: RelayWork, relay: Relay, progress: Progress) -> None:
        real(self, relay, progress)
        self._has_parked = progress.epoch == 1

    patch.setattr(RelayWork, "__init__", begin)


PLANTED = (
    marked_before_it_is_published,
    unfenced,
    unavailable_is_skipped,
    rejected_holds_up_nobody,
    parked_is_forgotten,
)


def caught(plant: Callable[[Patch], None], run: Callable[[int], Result] = simulate) -> tuple[int, str] | None:
    """Return how many seeds it takes to see the mistake, and what is seen; None if it stays unseen."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        for seed in range(1, SEEDS_MAX + 1):
            try:
                run(seed)
            except Broken as broken:
                return seed, str(broken).partition("promises: ")[2].partition(" (nodes")[0].partition(";")[0]
    return None


def print_table(planted: Iterable[Callable[[Patch], None]], run: Callable[[int], Result]) -> None:
    """Print the rows of docs/internals/planted-bugs.md."""
    logging.getLogger("finality").setLevel(logging.CRITICAL)
    for each in planted:
        seeds, seen = caught(each, run) or ("–", "nothing")
        print(f"| {(each.__doc__ or '').strip().rstrip('.')} | {seeds} | {seen} |")


if __name__ == "__main__":
    print_table(PLANTED, simulate)
