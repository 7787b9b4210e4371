"""A line that breaks before or after the server heard: no outcome is ever guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import OutcomeUnknown, TransactionAborted, Unavailable
from finality.core.two_phase import Decision
from finality.testing import Proxy
from tests.conformance.participants.mariadb_world import MariaDbWorld
from tests.conformance.participants.postgres_world import PostgresWorld
from tests.conformance.participants.worlds import id_of, patiently, run, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

AnyWorld = PostgresWorld | MariaDbWorld
KINDS: dict[str, type[AnyWorld]] = {"postgres": PostgresWorld, "mariadb": MariaDbWorld}

# What a client says at each of the moments that matter.
PREPARE = {"postgres": b"PREPARE TRANSACTION", "mariadb": b"XA PREPARE"}
COMMIT_ALONE = {"postgres": b"; COMMIT", "mariadb": b"ONE PHASE"}
FINISH = {
    ("postgres", Decision.COMMIT): b"COMMIT PREPARED",
    ("postgres", Decision.ABORT): b"ROLLBACK PREPARED",
    ("mariadb", Decision.COMMIT): b"XA COMMIT",
    ("mariadb", Decision.ABORT): b"XA ROLLBACK",
}
HEARD = pytest.mark.parametrize("is_heard", [False, True], ids=["before", "after"])


class Stage:
    """A database behind a line that can be cut."""

    def __init__(self, kind: str, world: AnyWorld, line: Proxy) -> None:
        self.kind, self.world, self.line = kind, world, line
        self.participant = world.participant(f"the-{kind}", url=_through(world, line))

    @property
    def id(self) -> Any:
        return id_of("t1", participant=self.participant.name)


def _through(world: AnyWorld, line: Proxy) -> str:
    return world.url.replace(f":{world.server.port}/", f":{line.port}/")


@pytest.fixture
def worlds(request: pytest.FixtureRequest) -> Iterator[dict[str, AnyWorld]]:
    made = {kind: world.make(request) for kind, world in KINDS.items()}
    yield made
    for world in made.values():
        world.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def play(kind: str, worlds: dict[str, AnyWorld], story: Any) -> None:
    """Run *story* on a stage of one kind."""

    async def whole() -> None:
        world = worlds[kind]
        async with Proxy("127.0.0.1", world.server.port) as line:
            stage = Stage(kind, world, line)
            await stage.participant.open(SystemEnvironment())
            try:
                await story(stage)
            finally:
                await stage.participant.close()

    run(whole())


async def ask(question: Any) -> Decision:
    """Return the answer, asking again as a node does while the participant is out of reach."""
    said: Decision = await patiently(question, Unavailable)
    return said


@HEARD
def test_a_vote_that_is_lost_is_no_vote(kind: str, worlds: dict[str, AnyWorld], is_heard: bool) -> None:
    async def story(stage: Stage) -> None:
        branch = await stage.participant.begin(stage.id)
        await stage.world.insert(branch, 1)
        stage.line.cut(PREPARE[kind], is_heard=is_heard)
        with pytest.raises(Unavailable):
            await branch.prepare()

        assert stage.line.cuts == 1
        assert bool(stage.world.prepared()) is is_heard
        assert await ask(lambda: stage.participant.finish(stage.id, Decision.ABORT)) is Decision.ABORT
        assert stage.world.items() == []
        assert stage.world.prepared() == []

    play(kind, worlds, story)


@HEARD
def test_a_commit_in_one_phase_that_is_lost_is_asked_about(
    kind: str, worlds: dict[str, AnyWorld], is_heard: bool
) -> None:
    async def story(stage: Stage) -> None:
        branch = await stage.participant.begin(stage.id)
        await stage.world.insert(branch, 1)
        stage.line.cut(COMMIT_ALONE[kind], is_heard=is_heard)
        with pytest.raises(OutcomeUnknown):
            await branch.commit()
        happened = Decision.COMMIT if is_heard else Decision.ABORT

        assert stage.line.cuts == 1
        assert await ask(lambda: stage.participant.settle(stage.id)) is happened
        assert stage.world.items() == ([1] if is_heard else [])

    play(kind, worlds, story)


@HEARD
@pytest.mark.parametrize("decision", list(Decision), ids=lambda decision: decision.value)
def test_a_decision_that_is_lost_is_told_again(
    kind: str, worlds: dict[str, AnyWorld], is_heard: bool, decision: Decision
) -> None:
    async def story(stage: Stage) -> None:
        branch = await stage.participant.begin(stage.id)
        await stage.world.insert(branch, 1)
        await branch.prepare()
        stage.line.cut(FINISH[kind, decision], is_heard=is_heard)

        assert await ask(lambda: stage.participant.finish(stage.id, decision)) is decision
        assert stage.line.cuts == 1
        assert stage.world.items() == ([1] if decision is Decision.COMMIT else [])
        assert stage.world.prepared() == []

    play(kind, worlds, story)


@HEARD
@pytest.mark.parametrize("moment", [PREPARE, FINISH], ids=["prepare", "commit"])
def test_all_branches_of_a_transaction_agree_with_what_its_caller_is_told(
    kind: str, moment: Any, is_heard: bool, worlds: dict[str, AnyWorld], tmp_path: Path
) -> None:
    """The node itself resolves what was cut: nobody helps it."""

    async def transact(node: finality.AsyncNode, stages: list[Stage]) -> bool:
        try:
            async with node.transaction() as tx:
                for stage in stages:
                    await stage.world.insert(await tx.enlist(stage.participant), 1)
        except TransactionAborted:
            return False
        return True

    async def whole() -> None:
        lines = {name: Proxy("127.0.0.1", world.server.port) for name, world in worlds.items()}
        async with lines["postgres"], lines["mariadb"]:
            stages = [Stage(name, worlds[name], line) for name, line in lines.items()]
            url = f"sqlite:///{tmp_path}/home.db"
            async with finality.open_async(url, participants=[stage.participant for stage in stages]) as node:
                lines[kind].cut(moment[kind] if moment is PREPARE else FINISH[kind, Decision.COMMIT],
                                is_heard=is_heard)  # fmt: skip
                has_committed = await transact(node, stages)
                await until(lambda: not any(world.prepared() for world in worlds.values()))

        assert lines[kind].cuts == 1
        kept = [1] if has_committed else []
        assert [world.items() for world in worlds.values()] == [kept, kept]

    run(whole())


def test_a_line_to_a_server_that_is_gone_ends_at_once() -> None:
    async def story() -> tuple[bytes, int]:
        async with Proxy("127.0.0.1", 1) as line:
            reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
            said = await reader.read()
            writer.close()
            return said, line.cuts

    assert run(story()) == (b"", 0)
