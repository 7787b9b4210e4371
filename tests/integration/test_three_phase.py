"""Three-phase commit with real processes: two services with agents, and a coordinator that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

import finality
from finality.ports.environment import PREPARE_AFTER
from tests.integration.http_kit import TOKEN, play
from tests.integration.kit import MovedClock, eventually
from tests.integration.processes import Process, process

SECONDS = 100.0

SERVICE = """
    import uvicorn
    import finality.http

    @dataclass(frozen=True)
    class Hold(finality.Reservation[str]):
        seat: str

        def try_(self, tx: finality.SyncTx) -> str:
            tx.execute("UPDATE seat SET state = 'held' WHERE id = ?", self.seat)
            return self.seat

        def confirm(self, tx: finality.SyncTx, held: str) -> None:
            tx.execute("UPDATE seat SET state = 'sold' WHERE id = ?", held)

        def cancel(self, tx: finality.SyncTx, held: str) -> None:
            tx.execute("UPDATE seat SET state = 'free' WHERE id = ?", held)

    name, port, token, silence = sys.argv[2:]
    with finality.open(f"sqlite:///{HERE}/{name}.db") as node:
        node.run(lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS seat (id TEXT PRIMARY KEY, state TEXT)"))
        node.run(lambda tx: tx.execute("INSERT OR IGNORE INTO seat VALUES ('1', 'free')"))

    app = finality.http.participant(
        finality.open_async(f"sqlite:///{HERE}/{name}.db"),
        reservations=[Hold], tokens=[token],
        agents_token=f"{token}-of-agents", silence=timedelta(seconds=float(silence)),
    )
    uvicorn.run(app, port=int(port), log_level="error", ws="none")
"""

COORDINATOR = """
    token, point, times, *urls = sys.argv[2:]
    environment = Dying(point, int(times))
    services = [finality.service(url, name=name, token=token) for name, url in zip("ab", urls)]

    async def main():
        async with finality.open_async(URL, participants=services, environment=environment) as node:
            async with node.transaction(protocol=finality.THREE_PHASE) as tx:
                (HERE / "id").write_text(tx.id)
                for service in services:
                    await (await tx.enlist(service)).reserve("Hold", {"seat": "1"})
                environment.is_armed = True
        mark("done")

    asyncio.run(main())
"""


class Stage:
    """Two services, on ports of their own, and the state of their only seat."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: _free_port() for name in "ab"}
        self.services: dict[str, Process] = {}
        self._open = contextlib.ExitStack()

    def start(self, name: str, *, silence: float = 1.0) -> None:
        """Start a service, again if need be."""
        arguments = (name, str(self.ports[name]), TOKEN, str(silence))
        self.services[name] = self._open.enter_context(process(self.folder, SERVICE, *arguments))

    def close(self) -> None:
        """End the services."""
        self._open.close()

    def coordinate(self, point: str, times: int) -> Process:
        """Start a transaction whose coordinator dies at the n-th passage of *point*."""
        urls = [f"http://127.0.0.1:{port}" for port in self.ports.values()]
        return self._open.enter_context(process(self.folder, COORDINATOR, TOKEN, point, str(times), *urls))

    async def dies(self, point: str, times: int) -> None:
        """Let a coordinator die at the n-th passage of *point*."""
        for port in self.ports.values():
            await eventually(lambda port=port: _answers(port))  # type: ignore[misc]  # mypy infers no default
        status, _, errors = self.coordinate(point, times).end()
        assert status == -signal.SIGKILL, errors

    def clients(self) -> list[Any]:
        """Return the services as participants."""
        return [
            finality.service(f"http://127.0.0.1:{port}", name=name, token=TOKEN)
            for name, port in self.ports.items()
        ]

    async def decision(self) -> finality.Decision:
        """Return the outcome, as a node hears it that has taken over the coordinator's home."""
        home = f"sqlite:///{self.folder}/home.db"
        async with finality.open_async(home, participants=self.clients()) as node:
            return await node.decision((self.folder / "id").read_text())

    def seats(self) -> list[str]:
        """Return the state of each service's seat."""
        return [_seat(self.folder / f"{name}.db") for name in "ab"]


def _seat(path: Path) -> str:
    connection = apsw.Connection(str(path))  # It may have to recover what a killed service has left.
    connection.setbusytimeout(5_000)
    try:
        return str(connection.execute("SELECT state FROM seat").get)
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.start("a")
    yield stage
    stage.close()


@pytest.mark.slow
def test_the_agents_commit_without_a_coordinator_that_has_sent_a_pre_commit(stage: Stage) -> None:
    stage.start("b")

    async def main() -> None:
        await stage.dies("pre_commit.after", 1)
        await eventually(lambda: stage.seats() == ["sold", "sold"])

        assert await stage.decision() is finality.Decision.COMMIT

    play(main(), SECONDS)


@pytest.mark.slow
def test_the_agents_abort_without_a_coordinator_that_has_sent_none(stage: Stage) -> None:
    stage.start("b")

    async def main() -> None:
        await stage.dies("prepare.after", 2)
        await eventually(lambda: stage.seats() == ["free", "free"])

        assert await stage.decision() is finality.Decision.ABORT

    play(main(), SECONDS)


@pytest.mark.slow
def test_an_agent_that_was_killed_learns_the_outcome_from_the_others(stage: Stage) -> None:
    """The second agent is patient, so that it still waits for the coordinator when it is killed."""
    stage.start("b", silence=600.0)

    async def main() -> None:
        await stage.dies("pre_commit.after", 1)
        await eventually(lambda: stage.seats() == ["sold", "held"])
        stage.services["b"].kill()
        stage.start("b")
        await eventually(lambda: stage.seats() == ["sold", "sold"])

    play(main(), SECONDS)

    assert stage.services["b"].is_over is False


@pytest.mark.slow
def test_without_a_crash_all_commit_and_what_has_no_agent_is_refused(stage: Stage) -> None:
    stage.start("b")
    bank = finality.sqlite(f"sqlite:///{stage.folder}/bank.db", name="bank")

    async def main() -> None:
        for port in stage.ports.values():
            await eventually(lambda port=port: _answers(port))  # type: ignore[misc]  # mypy infers no default
        status, _, errors = stage.coordinate("never", 1).end()
        assert status == 0, errors
        await eventually(lambda: stage.seats() == ["sold", "sold"])
        async with finality.open_async("memory://", participants=[bank]) as node:
            with pytest.raises(finality.DefinitionError, match=r"'bank' cannot take part .* runs no agent"):
                async with node.transaction(protocol=finality.THREE_PHASE) as tx:
                    await tx.enlist(bank)
            with pytest.raises(finality.DefinitionError, match="cannot work in its home store"):
                async with node.transaction(protocol=finality.THREE_PHASE) as tx:
                    await tx.execute("CREATE TABLE t (x)")

    play(main(), SECONDS)

    assert (stage.folder / "done").exists()


@pytest.mark.slow
def test_the_coordinator_takes_an_agent_for_dead_after_its_own_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(tmp_path)
    for name in stage.ports:
        stage.start(name, silence=60_000.0)
    caplog.set_level("INFO", "finality.three_phase")
    patient = finality.THREE_PHASE.with_silence(timedelta(seconds=1_000))

    def times_asked() -> int:
        return sum("agent b does not answer" in record.getMessage() for record in caplog.records)

    async def main() -> None:
        clock = Killing(stage)
        services = stage.clients()
        for port in stage.ports.values():
            await eventually(lambda port=port: _answers(port))  # type: ignore[misc]  # mypy infers no default

        async def hold_both() -> None:
            async with node.transaction(protocol=patient) as tx:
                for service in services:
                    await (await tx.enlist(service)).reserve("Hold", {"seat": "1"})

        async with finality.open_async("memory://", participants=services, environment=clock) as node:
            ends = asyncio.ensure_future(hold_both())
            await eventually(lambda: times_asked() > 1)  # The other has answered in the first round.
            clock.move(seconds=900)
            before = times_asked()
            await eventually(lambda: times_asked() > before + 1)
            assert not ends.done(), "it has waited for less than its silence"
            clock.move(seconds=200)
            await ends

        assert stage.seats() == ["sold", "held"]

    with contextlib.closing(stage):
        play(main(), SECONDS)


class Killing(MovedClock):
    """Kills the second service when both have voted."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self._votes = 0

    def reach(self, point: str) -> None:
        """Count the votes."""
        self._votes += point == PREPARE_AFTER
        if self._votes == 2 and point == PREPARE_AFTER:
            self._stage.services["b"].kill()


@pytest.mark.parametrize(
    "protocol, seconds", [(finality.TWO_PHASE, 1), (finality.THREE_PHASE, 0), (finality.THREE_PHASE, -1)]
)
def test_silence_that_means_nothing_is_refused(protocol: finality.CommitProtocol, seconds: int) -> None:
    with pytest.raises(finality.DefinitionError, match="three-phase commit alone"):
        protocol.with_silence(timedelta(seconds=seconds))
