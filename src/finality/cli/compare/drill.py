"""The coordinator of one way is killed with kill -9, another node goes on, and somebody looks meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import finality
from finality.adapters.system.environment import SystemEnvironment
from finality.cli.compare.place import Place
from finality.cli.compare.reader import Reader
from finality.cli.compare.story import Story
from finality.cli.compare.tally import Tally
from finality.cli.compare.victim import READY
from finality.cli.compare.way import PATIENCE, SILENCE, Books, Way

DECIDE = timedelta(seconds=2)  # The deadline of a case that may be left undecided.
READY_SECONDS_MAX = 60.0
STAND_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.01


class Survived(Exception):
    """The coordinator did not die where it should have, or nobody has ended what it left."""


@dataclass(frozen=True, slots=True)
class Drill:
    """What became of a case whose coordinator was killed.

    Attributes:
        stood_ms: From the death until nothing of it was open any more.
        is_done: It was done in the end; otherwise it is as if nothing had been.
        apart_ms: For how long a reader saw something half done.
        held_ms: For how long a reader saw something set aside.
        next_ms: How long the next case took, asked for right after the death.
    """

    when: str
    stood_ms: float
    is_done: bool
    reads: int
    apart_ms: float
    held_ms: float
    next_ms: float
    before: Books
    after: Books


async def drill(story: Story, way: Way, place: Place, *, is_finished: bool) -> Drill:
    """Kill a coordinator, and time how it ends.

    Args:
        is_finished: Once its case is finished; otherwise where that does most harm.
    """
    reader, death = Reader(way, place), way.finished if is_finished else way.worst
    killed, following = (f"{each}-{'finished' if is_finished else 'open'}" for each in ("killed", "next"))
    async with (
        way.services(place, Tally()) as services,
        way.node(place, services, SystemEnvironment()) as other,
    ):
        other._insides.recovery.grace_seconds = SILENCE.total_seconds()
        before = await reader.books()
        asked = {
            "story": story.name,
            "way": way.name,
            "is_finished": is_finished,
            "spec": place.spec,
            "services": dict(services),
            "id": killed,
            "seconds": DECIDE.total_seconds(),
        }
        async with _victim(asked) as victim:
            settled = partial(_until_settled, way, place, other, killed)
            next_one = partial(_act_next, way, other, following)
            stood, next_ms = await _stood(reader, victim, settled, next_one)
    after, done = await reader.books(), await way.done(place)
    assert after.is_whole, f"{way.name}: it was {before}, and is {after}"
    assert following in done, f"{way.name}: {following} has returned and is not done"
    is_done = killed in done
    assert is_done or not is_finished, f"{way.name}: it was finished {death.says}, and is undone"
    return Drill(
        when=death.says,
        stood_ms=round(stood * 1e3, 1),
        is_done=is_done,
        reads=reader.reads,
        apart_ms=round(reader.apart_seconds * 1e3, 1),
        held_ms=round(reader.held_seconds * 1e3, 1),
        next_ms=round(next_ms, 1),
        before=before,
        after=after,
    )


async def _stood(
    reader: Reader,
    victim: asyncio.subprocess.Process,
    settled: Callable[[], Coroutine[Any, Any, float]],
    next_one: Callable[[], Coroutine[Any, Any, float]],
) -> tuple[float, float]:
    """Kill it; return for how long its case stood, and the milliseconds of the next one."""
    async with reader.looking():
        died = await _killed(victim)
        is_whole = (await reader.books()).is_whole
        following = asyncio.ensure_future(next_one())
        if is_whole:
            reader.excuse(following)
        try:
            stood = await settled() - died
        except BaseException:
            following.cancel()
            raise
    return stood, await following


@contextlib.asynccontextmanager
async def _victim(asked: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a coordinator in a process that is gone when the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "finality.cli.compare.victim", json.dumps(asked),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us alone.
    )  # fmt: skip
    try:
        assert process.stdout is not None, "it was asked for"
        async with asyncio.timeout(READY_SECONDS_MAX):
            if (await process.stdout.readline()).decode().strip() != READY:
                raise await _survived(process)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        await process.communicate()


async def _killed(victim: asyncio.subprocess.Process) -> float:
    """Let it begin; return when it was dead.

    Raises:
        Survived: It did not die as it should have.
    """
    assert victim.stdin is not None, "it was asked for"
    victim.stdin.write(b"\n")
    status = await victim.wait()
    died = time.perf_counter()
    if status != -signal.SIGKILL:
        raise await _survived(victim)
    return died


async def _survived(victim: asyncio.subprocess.Process) -> Survived:
    """Return why it has ended by itself."""
    _, said = await victim.communicate()
    return Survived(
        f"the coordinator ended with status {victim.returncode} and was to be killed: "
        f"{said.decode(errors='replace').strip()[-1_000:]}"
    )


async def _act_next(way: Way, node: finality.AsyncNode, id: str) -> float:
    """Do the next case; a customer asks again after a conflict."""
    begun = time.perf_counter()
    while True:
        try:
            await way.act(node, id, deadline=PATIENCE)
        except finality.Conflict:
            continue
        return (time.perf_counter() - begun) * 1e3


async def _until_settled(way: Way, place: Place, node: finality.AsyncNode, id: str) -> float:
    """Wait until nothing of the dead one's case is open; return since when.

    Raises:
        Survived: It stands, and stands.
    """
    give_up = time.perf_counter() + STAND_SECONDS_MAX
    while (now := time.perf_counter()) < give_up:
        is_held = (await way.books(place)).is_held
        is_open = any(head.id == id for head in await node.transactions(is_open=True))
        is_open = is_open or id in await way.open(place)
        if not is_held and not is_open and not await node.in_doubt():
            return now
        await asyncio.sleep(LOOK_SECONDS)
    raise Survived(f"nobody has ended what the coordinator left in {STAND_SECONDS_MAX:.0f} seconds")
