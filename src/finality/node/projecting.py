"""What a node has to do with projections: they are declared at it, waited for, looked at and rebuilt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from finality.core.errors import DeadlinePassed, DefinitionError, NotFound, Refused
from finality.core.ids import Cursor, NodeId
from finality.core.projection import Paused, ProjectionEvent, Resumed, projection_stream
from finality.node.folding import Fold
from finality.node.life import Life
from finality.patterns.fold import fold_code
from finality.patterns.projection import DeclareProjection, P, Projection, R, project
from finality.ports.events import Progress
from finality.ports.store import Store
from finality.runtime.projection import BUILDS, SERVES, Pause, Standing, standing_of
from finality.runtime.projections import RebuildTurn, pause_of
from finality.runtime.words import say

S = TypeVar("S")

BEHIND_MAX = 1_000  # Events that are counted one by one; of more it is told how far apart the positions are.
WAIT_SECONDS_MIN, WAIT_SECONDS_MAX = 0.002, 0.05  # Between two looks whether a projection is there.


@dataclass(frozen=True, slots=True)
class Building:
    """A rebuild under way.

    Attributes:
        part: How much of it is done, from 0 to 1.
        events_per_second: Since it began.
        seconds_left: If it goes on like this; None while nobody can know.
    """

    generation: int
    node: NodeId | None
    events: int
    part: float
    events_per_second: float
    seconds_left: float | None
    because: str


@dataclass(frozen=True, slots=True)
class ProjectionState:
    """A projection at a glance.

    Attributes:
        store: Where its tables are; empty for the home store.
        node: Which one keeps it up; None: none does.
        position: Of the last event that it has passed.
        events_behind: How many events it has not passed; from a thousand on, about.
        seconds_behind: For how long the first of those has been waiting; 0 if there is none.
        because: Why it does not go on; empty if it does.
        can_rebuild: Its tables can be built anew.
        rebuild: What is built beside it.
        pause: Why it is paused, who wants it, and since when; None: it is not.
    """

    name: str
    store: str
    generation: int
    node: NodeId | None
    events: int
    position: int
    events_behind: int
    seconds_behind: float
    because: str
    can_rebuild: bool
    rebuild: Building | None
    pause: Pause | None


class Projected(Life):
    """Adds projections to a node's life."""

    def project(
        self,
        *,
        into: str | Iterable[str],
        create: str | Iterable[str] = (),
        at: str | None = None,
        depth: int = 1,
    ) -> DeclareProjection:
        """Declare a projection of this node: ``finality.project``, and the node was opened with it.

        At a node that is open already it begins with the node's next call.

        Raises:
            DefinitionError: The declaration cannot keep its promise, or another one writes the same table.
        """
        declare = project(into=into, create=create, at=at, depth=depth + 1)

        def added(function: Callable[P, R], /) -> Projection[P, R]:
            projection = declare(function)
            self._add_projection(projection.code)
            return projection

        return added

    def fold(self, state: S, function: Callable[..., S], *, depth: int = 1) -> Fold[S]:
        """Return what folds events into a Python object, from the first one on: ``(state, event) -> state``.

        Raises:
            DefinitionError: The annotations do not say which events it takes.
        """
        return Fold(self.opened, state, fold_code(function, depth=depth + 1))

    # ── Reading your writes ─────────────────────────────────────────────────────────────────

    async def token(self) -> str:
        """Return what stands for all that is committed now; any process may wait for it."""
        home = (await self.opened()).home
        return (await home.newest(limit=0)).cursor

    async def wait_for(
        self, token: str, projection: str, *, timeout: timedelta = timedelta(seconds=10)
    ) -> None:
        """Wait until the tables of *projection* hold all that *token* stands for.

        Raises:
            DeadlinePassed: They still do not; ``projections`` says why.
            NotFound: There is no such projection.
        """
        context = await self.opened()
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                pause = WAIT_SECONDS_MIN
                while not await self._has_passed(token, projection):
                    self._insides.projections.kick()
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, WAIT_SECONDS_MAX)
        except TimeoutError as error:
            _, store, served = await self._served(projection)
            why = _why(standing_of(served.cursor))
            raise DeadlinePassed(
                f"projection {projection} of {store.name} has not come so far within {timeout}: {why}; "
                f"`finality projection list` shows it, and {context.node} goes on"
            ) from error

    async def _has_passed(self, token: str, name: str) -> bool:
        _, _, served = await self._served(name)
        standing = standing_of(served.cursor)
        if not standing.is_made:
            return False
        sources = self._context.home.sources
        return not (await sources.facts(after=standing.cursor, until=Cursor(token), limit=1)).events

    async def _served(self, name: str) -> tuple[str, Store, Progress]:
        for at, store in self._stores():
            for progress in await store.progress(f"{SERVES}{name}"):
                return at, store, progress
        if name in self._insides.projections.codes:
            code = self._insides.projections.codes[name]
            unbegun = Progress(code.reader, 0, 0, Standing().text, None, 0.0, 0.0)
            return code.store or "", self._context.store_of(code.store), unbegun
        raise NotFound(
            f"there is no projection {name!r} in the stores of this node: `finality projection list` shows "
            "what there is; open the node with projections=[…], or the stores= that its tables are in, as "
            "--at NAME=URL does"
        )

    def _stores(self) -> Iterator[tuple[str, Store]]:
        yield "", self._context.home
        yield from self._context.stores.items()

    # ── Looking, and building anew ──────────────────────────────────────────────────────────

    async def projections(self) -> list[ProjectionState]:
        """Return every projection that has begun in the stores of this node, by name."""
        await self.opened()
        found = []
        for at, store in self._stores():
            known = {each.reader: each for each in await store.progress()}
            for reader in known:
                if reader.startswith(SERVES):
                    built = known.get(f"{BUILDS}{reader.removeprefix(SERVES)}")
                    found.append(await self._state(at, known[reader], built))
        return sorted(found, key=lambda each: each.name)

    async def _state(self, at: str, served: Progress, built: Progress | None) -> ProjectionState:
        now, standing = self._environment.now(), standing_of(served.cursor)
        home = self._context.home
        waiting = (await home.sources.facts(after=standing.cursor, limit=BEHIND_MAX)).events
        behind, last = len(waiting), await self._last_position()
        if behind == BEHIND_MAX:
            behind = max(behind, last - standing.position)
        building = standing_of(built.cursor) if built is not None and built.cursor else None
        return ProjectionState(
            served.reader.removeprefix(SERVES), at, standing.generation,
            served.node if served.lease_until > now else None,
            standing.events, standing.position, behind,
            max(now - waiting[0].at, 0.0) if waiting else 0.0, standing.because, built is not None,
            None if built is None or building is None or building.is_over
            else _building(built, building, last, now),
            standing.pause,
        )  # fmt: skip

    async def _last_position(self) -> int:
        newest = (await self._context.home.newest(limit=1)).events
        return newest[-1].position if newest else 0

    async def rebuild(self, projection: str) -> int:
        """Have the tables of *projection* built anew beside those that serve; durable on return.

        A node that has the projection builds them, goes on after a crash, and switches when they have
        caught up. Reactions are not run. A rebuild that is under way is given up for this one.

        Returns:
            The generation that will serve.

        Raises:
            NotFound: There is no such projection.
            DefinitionError: Nothing says how its tables are made.
            Refused: It is paused.
        """
        await self.opened()
        _, store, served = await self._served(projection)
        if standing_of(served.cursor).pause is not None:
            raise Refused(
                f"projection {projection} is not built anew: {_why(standing_of(served.cursor))}; "
                f"`finality projection resume {projection}` first"
            )
        reader = f"{BUILDS}{projection}"
        built = await store.progress(reader)
        code = self._insides.projections.codes.get(projection)
        if not built and (code is None or not code.create):
            raise DefinitionError(
                f"projection {projection!r} cannot be rebuilt: no node that has it knows how its tables are "
                "made; declare it with create="
            )
        latest = standing_of(built[0].cursor).generation if built else 0
        generation = max(standing_of(served.cursor).generation, latest) + 1
        turn = RebuildTurn(reader, Standing(generation=generation))
        store.submit(turn)
        await turn.done
        self._insides.projections.look()
        return generation

    async def pause(self, projection: str, *, because: str, by: str = "operator") -> bool:
        """Have *projection*, and a rebuild of it, stop where it is until it is resumed; durable on return.

        No commit of it follows, on any node; its tables stay as they are. Nothing is lost meanwhile: the
        journal keeps all events. Who, when and why are in the journal.

        Returns:
            False when it is paused already.

        Raises:
            NotFound: There is no such projection.
        """
        await self.opened()
        return await self._say(projection, Paused(because, by), Pause(because, by, self._environment.now()))

    async def resume(self, projection: str, *, because: str, by: str = "operator") -> bool:
        """Have *projection* go on where it was paused; durable on return. Nothing was lost meanwhile.

        Returns:
            False when it is not paused.

        Raises:
            NotFound: There is no such projection.
        """
        return await self._say(projection, Resumed(because, by), None)

    async def _say(self, name: str, said: ProjectionEvent, pause: Pause | None) -> bool:
        home = (await self.opened()).home
        _, store, served = await self._served(name)
        if (standing_of(served.cursor).pause is None) == (pause is None):
            return False
        is_new = await say(home, store, projection_stream(name), said, pause_of(name, pause))
        self._insides.projections.look()
        return is_new


def _why(standing: Standing) -> str:
    """Return why a projection does not go on, in words."""
    if standing.pause is not None:
        return f"{standing.pause.by} has paused it, saying {standing.pause.because!r}"
    return f"it is stuck at {standing.because}" if standing.because else "it is behind"


def _building(built: Progress, standing: Standing, last: int, now: float) -> Building:
    seconds = max(now - standing.begun_at, 1e-9) if standing.is_made else 0.0
    part = min(standing.position / last, 1.0) if last else 1.0
    left = seconds * (1 - part) / part if part > 0 and seconds else None
    rate = standing.events / seconds if seconds else 0.0
    node = built.node if built.lease_until > now else None
    return Building(standing.generation, node, standing.events, part, rate, left, standing.because)
