"""All ways, one after the other, and then all their coordinators killed at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from finality.cli.compare.drill import Drill, drill
from finality.cli.compare.place import Files, Place
from finality.cli.compare.story import Story
from finality.cli.compare.trial import WATCHED, Trial, try_out
from finality.cli.compare.way import SILENCE, Way

KILLING = "coordinators are killed"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found out about one way."""

    way: Way
    trial: Trial
    finished: Drill
    worst: Drill

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        way = self.way
        return {
            "way": way.name,
            "title": way.title,
            "finished": way.finished.says,
            "isolation": way.isolation,
            **asdict(self.trial),
            "coordinator_dies": {"once_finished": asdict(self.finished), "at_worst": asdict(self.worst)},
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found out about all of them.

    Attributes:
        left_out: What has to be installed for a way that could not be run, by its name.
    """

    story: Story
    stores: str
    ways: list[Compared]
    left_out: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "story": self.story.name,
            "stores": self.stores,
            "silence_seconds": SILENCE.total_seconds(),
            "ways": [each.as_json() for each in self.ways],
            "left_out": self.left_out,
        }


def steps_of(story: Story, count: int) -> int:
    """Return how often ``compare`` says that it has come a step further."""
    return len(story.ways) * (count + WATCHED + 3)


async def compare(
    story: Story, folder: Path, postgres: str | None, count: int, step: Callable[[str], None]
) -> Comparison:
    """Try out every way, then kill the coordinators.

    Args:
        folder: Where SQLite files may be.
        postgres: The server to use instead of them.
        step: Called with what is being done whenever something is.
    """
    able = [way for way in story.ways if way.missing is None]
    async with contextlib.AsyncExitStack() as stack:
        places = {way.name: await stack.enter_async_context(_place(way, folder, postgres)) for way in able}
        trials = {}
        for way in able:
            say = _saying(step, way.title)
            trials[way.name] = await try_out(way, places[way.name], count, say)
        step(KILLING)
        # At once: they wait for silence to last long enough, and for little else.
        drills = await _all([_drills(story, way, places[way.name], step) for way in able])
    return Comparison(
        story=story,
        stores="PostgreSQL" if postgres else "SQLite",
        ways=[Compared(way, trials[way.name], *each) for way, each in zip(able, drills, strict=True)],
        left_out={way.name: way.missing for way in story.ways if way.missing is not None},
    )


async def _drills(story: Story, way: Way, place: Place, step: Callable[[str], None]) -> tuple[Drill, Drill]:
    finished = await drill(story, way, place, is_finished=True)
    step(KILLING)
    worst = await drill(story, way, place, is_finished=False)
    step(KILLING)
    return finished, worst


async def _all(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at once; if one fails, none goes on."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _saying(step: Callable[[str], None], what: str) -> Callable[[], None]:
    return lambda: step(what)


@contextlib.asynccontextmanager
async def _place(way: Way, folder: Path, postgres: str | None) -> AsyncIterator[Place]:
    """Make the databases of a way; a server's are dropped when the block ends."""
    place: Place
    if postgres is None:
        place = Files(folder / way.name)
    else:
        from finality.cli.compare.place_postgres import Server

        place = Server(postgres, f"finality_compare_{uuid4().hex[:8]}_{way.name.replace('-', '_')}", folder)
    try:
        for name in way.databases:
            await place.make(name)
        await way.found(place)
        yield place
    finally:
        await place.close()
