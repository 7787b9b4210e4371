"""The projections of a node: a reader for the tables that serve, and one for those that are built beside.

```
   serves   generation 1 ────────────────────────────────────╳ dropped
   rebuild                 generation 2 made ── catches up ──▶ switch ──▶ serves
```

The switch is one commit: the new tables get the names of the old ones, and the cursor that serves is
theirs. Whoever reads the tables sees the old ones until then, and the new ones from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from finality.core.errors import DefinitionError, NotFound
from finality.core.ids import START
from finality.ports.environment import SWITCH_AFTER, SWITCH_BEFORE
from finality.ports.events import Progress
from finality.ports.store import LocalTransaction
from finality.runtime.asked import Asked
from finality.runtime.projecting import Projecting, ProjectionKit
from finality.runtime.projection import BUILDS, SERVES, Pause, ProjectionCode, Standing, standing_of
from finality.runtime.reader import Reader

ONLY = 0  # The one share of a projection: its events come in the one order of the journal.


class Serving:
    """Fulfils ``runtime.reader.Work``: keeps the tables that serve up to what has happened."""

    def __init__(self, kit: ProjectionKit, code: ProjectionCode, progress: Progress) -> None:
        names = {table: table for table in code.tables}
        self._kit, self._code = kit, code
        self._own = Projecting(kit, code, progress, names)

    async def step(self) -> float | None:
        """Make the tables if there are none, and carry a page over."""
        if self._own.standing.pause is not None:
            return None  # Whoever resumes it takes the share away from here.
        if not self._own.standing.is_made:
            now = self._kit.context.environment.now()
            made = replace(self._own.standing, begun_at=now, is_made=True)
            await self._own.keep(made, lambda tx: self._make(tx, made.generation))
        return 0 if await self._own.advance() else None

    def _make(self, tx: LocalTransaction, generation: int) -> None:
        if self._code.create:
            make(tx, self._code, generation)
            rename(tx, self._code, generation)

    async def close(self) -> None:
        """Let go of what was read ahead."""
        await self._own.close()


class Building:
    """Fulfils ``runtime.reader.Work``: builds tables beside those that serve, and has them switched."""

    def __init__(self, kit: ProjectionKit, code: ProjectionCode, progress: Progress) -> None:
        self._kit, self._code = kit, code
        self._generation = standing_of(progress.cursor).generation
        self._own = Projecting(kit, code, progress, code.built(self._generation))
        self._is_over = not progress.cursor or self._own.standing.is_over

    async def step(self) -> float | None:
        """Carry a page over; when there is none left, switch."""
        if self._is_over or self._own.standing.pause is not None:
            return None  # Whoever asks for a rebuild, or resumes it, takes the share away from here.
        if not self._own.standing.is_made:
            begun = replace(self._own.standing, begun_at=self._kit.context.environment.now(), is_made=True)
            await self._own.keep(begun, self._make)
        if await self._own.advance() or not await self._is_level():
            return 0
        await self._switch()
        return None

    def _make(self, tx: LocalTransaction) -> None:
        for table in self._code.tables:  # Of a rebuild that was given up for this one.
            tx.execute(f"DROP TABLE IF EXISTS {table}_g{self._generation - 1}")
        make(tx, self._code, self._generation)

    async def _is_level(self) -> bool:
        """Say whether all is here that is in the tables that serve: nobody shall see time go back."""
        [served] = await self._own.store.progress(self._code.reader)
        until = standing_of(served.cursor).cursor
        if until == START:
            return True
        sources = self._kit.context.home.sources
        return not (await sources.facts(after=self._own.standing.cursor, until=until, limit=1)).events

    async def _switch(self) -> None:
        code, built, reach = self._code, self._own.standing, self._kit.context.environment.reach

        def work(tx: LocalTransaction) -> None:
            reach(SWITCH_BEFORE)
            tx.rewind(code.reader, ONLY, built.text)  # First: whoever serves is held up here, or fenced off.
            for table in code.tables:
                tx.execute(f"DROP TABLE IF EXISTS {table}")
            rename(tx, code, built.generation)
            reach(SWITCH_AFTER)

        await self._own.keep(replace(built, is_over=True), work)
        self._is_over = True

    async def close(self) -> None:
        """Let go of what was read ahead."""
        await self._own.close()


def make(tx: LocalTransaction, code: ProjectionCode, generation: int) -> None:
    """Make the tables of a generation."""
    names = code.built(generation)
    for statement in code.create:
        tx.execute(named(statement, names))


def rename(tx: LocalTransaction, code: ProjectionCode, generation: int) -> None:
    """Give the tables of a generation the names by which they serve."""
    for table, built in code.built(generation).items():
        tx.execute(f"ALTER TABLE {built} RENAME TO {table}")


def named(sql: str, names: dict[str, str]) -> str:
    """Return a statement with the tables' names of now in the place of ``{table}``."""
    for table, name in names.items():
        sql = sql.replace(f"{{{table}}}", name)
    return sql


class RebuildTurn(Asked[None]):
    """Asks for a rebuild."""

    def __init__(self, reader: str, standing: Standing) -> None:
        super().__init__(reader, None)
        self._standing = standing

    def run(self, tx: LocalTransaction) -> None:
        """Ask: the share goes back to whoever takes it, and begins there."""
        tx.rewind(self.name, ONLY, self._standing.text)


def pause_of(name: str, pause: Pause | None) -> Callable[[LocalTransaction], bool]:
    """Return what has a projection stop where it is, or go on there; it answers whether that is new."""

    def deed(tx: LocalTransaction) -> bool:
        """Say it where it stands: whoever has a share is fenced off, and begins with that."""
        is_new = False
        for reader in (f"{SERVES}{name}", f"{BUILDS}{name}"):
            progress = tx.progress_of(reader, ONLY)
            standing = standing_of(progress.cursor) if progress is not None else Standing()
            is_idle = reader.startswith(BUILDS) and (standing == Standing() or standing.is_over)
            if not is_idle and (standing.pause is None) != (pause is None):
                tx.rewind(reader, ONLY, replace(standing, pause=pause).text)
                is_new = True
        return is_new

    return deed


class Projections:
    """All projections of one node.

    Attributes:
        codes: By name.
        readers: Of all of them, those of rebuilds included.
    """

    def __init__(
        self,
        kit: ProjectionKit,
        *,
        lease_seconds: float,
        is_observer: bool,
        began: Callable[[Iterable[Reader]], None],
    ) -> None:
        self.codes: dict[str, ProjectionCode] = {}
        self.readers: list[Reader] = []
        self._kit, self._lease_seconds, self._is_observer = kit, lease_seconds, is_observer
        self._began = began
        self._added: list[ProjectionCode] = []
        self._loops: list[asyncio.Task[None]] = []

    def add(self, code: ProjectionCode) -> None:
        """Take a projection up; it begins with ``start``.

        Raises:
            DefinitionError: Another one writes the same table.
            NotFound: It works in a store that the node does not have.
        """
        if code.store is not None and code.store not in self._kit.context.stores:
            raise NotFound(
                f"projection {code.name!r} works in store {code.store!r}, which this node does not have: "
                f'open it with stores={{"{code.store}": "sqlite:///…"}}'
            )
        for other in self.codes.values():
            if taken := {*code.tables} & {*other.tables}:
                raise DefinitionError(
                    f"two projections write into {min(taken)!r}: which of them is rebuilt, nobody could "
                    "tell; give one of them another table with into="
                )
        self.codes[code.name] = code
        self._added.append(code)

    def start(self) -> None:
        """Begin with what was added; does nothing if there is nothing new."""
        added, self._added = self._added, []
        if not added or self._is_observer:
            return
        readers = [reader for code in added for reader in self._readers_of(code)]
        self._began(readers)
        self.readers += readers
        self._loops += [asyncio.ensure_future(reader.run()) for reader in readers]

    def _readers_of(self, code: ProjectionCode) -> Iterable[Reader]:
        context, seconds = self._kit.context, self._lease_seconds
        store = context.store_of(code.store)

        def serving(progress: Progress) -> Serving:
            return Serving(self._kit, code, progress)

        def building(progress: Progress) -> Building:
            return Building(self._kit, code, progress)

        yield Reader(context, store, code.reader, 1, serving, lease_seconds=seconds)
        if code.create:
            yield Reader(context, store, code.rebuild, 1, building, lease_seconds=seconds)

    def kick(self) -> None:
        """Hear that something has been committed in the home store."""
        for reader in self.readers:
            reader.kick()

    def look(self) -> None:
        """See at once which shares are still this node's: somebody has asked for a rebuild."""
        for reader in self.readers:
            reader.shares.renew_soon()

    async def close(self) -> None:
        """Let what is in hand end and give the leases back."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*(reader.close() for reader in self.readers))
