"""A SQLite file as a participant of two-phase commit, with a real prepare.

SQLite cannot keep a transaction open for another process, so what is kept is what it would
do: an intent. One branch at a time works in the file or is in doubt there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from finality.adapters.fork import keep_out_of_children
from finality.adapters.sqlite.branch import SqliteBranch
from finality.adapters.sqlite.file import SqliteFile
from finality.adapters.sqlite.work import Held
from finality.adapters.system.threads import Threads
from finality.core.errors import Conflict, Refused, Unavailable
from finality.core.two_phase import Decision
from finality.ports.branch_names import check_branch, check_name
from finality.ports.environment import Environment
from finality.ports.participant import BranchId, InDoubt

T = TypeVar("T")

FINISH_SECONDS_MAX = 5.0  # Then the caller hears that it is out of reach, and asks again.
WAIT_SECONDS = 0.001  # About the time of one commit, after which the other may be done.


def sqlite(
    path_or_url: str | Path, *, name: str, lock_timeout: timedelta = timedelta(seconds=5)
) -> SqliteParticipant:
    """Return a SQLite file as a participant: ``await tx.enlist(finality.sqlite("bank.db", name="bank"))``.

    Args:
        path_or_url: A path, or a URL as for a node: ``sqlite:///bank.db``.
        name: What decisions call it, the same on every node and for ever.
        lock_timeout: How long a branch waits for whoever else writes or is in doubt before it is a
            ``Conflict``.

    Raises:
        DefinitionError: The name is none.
    """
    path = Path(str(path_or_url).removeprefix("sqlite:///"))
    return SqliteParticipant(path, name=name, lock_seconds=lock_timeout.total_seconds())


class SqliteParticipant:
    """Fulfils ``ports.participant.Participant``. Several processes may use the same file."""

    def __init__(self, path: Path, *, name: str, lock_seconds: float) -> None:
        self.name = check_name(name)
        self.path = path
        self._lock_seconds = lock_seconds
        self._turn = asyncio.Lock()  # In the order of asking, within this process.
        self._at_work: BranchId | None = None
        self._waits_for = ""
        self._file: SqliteFile | None = None
        self._why_closed = ""
        self._threads = Threads(1, f"finality {name}")
        self._environment: Environment

    # ── The port ────────────────────────────────────────────────────────────────────────────

    async def open(self, environment: Environment) -> None:
        """Open the file, and make our tables in it."""
        self._environment = environment
        self._why_closed = ""
        keep_out_of_children(self)
        await self.run(lambda file: None)

    async def begin(self, branch: BranchId, *, deadline: float | None = None) -> SqliteBranch:
        """Begin a branch, once nobody else writes and no branch is in doubt.

        Raises:
            Conflict: Somebody has been in its way for too long; says who.
            Refused: Its transaction has a branch there already, which it would wait for in vain.
        """
        check_branch(branch)
        self._refuse_second(branch)
        seconds_left = self._lock_seconds if deadline is None else deadline - self.now()
        try:
            async with asyncio.timeout(min(seconds_left, self._lock_seconds)):
                await self._take_turn(branch)
        except TimeoutError as error:
            raise Conflict(
                f"branch {branch} could not begin: {self._waits_for}, and one branch at a time may write "
                f"{self.path}; run the transaction again",
                transaction_id=branch.transaction,
            ) from error
        return SqliteBranch(branch, self)

    async def finish(self, branch: BranchId, decision: Decision) -> Decision:
        """Finish a branch that may be prepared; return what it has done."""
        if branch == self._at_work:
            raise Unavailable(f"branch {branch} is still at work: ask again when it has ended")
        return await self._patiently(lambda file: file.finish(branch, decision, self.now()))

    async def settle(self, branch: BranchId) -> Decision:
        """Say what became of a one-phase commit."""
        return await self._patiently(lambda file: file.settle(branch, self.now()))

    async def in_doubt(self, *, says_holds: bool = False) -> Sequence[InDoubt]:
        """Return the branch of ours that is in doubt, if one is."""
        return await self.run(lambda file: file.in_doubt(self.name, self.now()))

    async def committed(self, *, within: timedelta, limit: int) -> Sequence[BranchId]:
        """Return branches that have voted and committed lately."""
        return []  # Nobody can apply an intent by hand.

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return what the doctor wants to know of the file."""
        return await self.run(lambda file: file.health())

    async def close(self) -> None:
        """Let go of the file. A branch in doubt stays so."""
        if not self._why_closed:
            self._why_closed = "it is closed"
            await self._on_thread(self._disconnect)

    def keep_out(self) -> None:
        """Refuse everything in a child process that was forked with this file open in it."""
        self._why_closed = "it was opened before this process was forked; open it again in this process"

    # ── For its branches ────────────────────────────────────────────────────────────────────

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._environment.now()

    def run(self, do: Callable[[SqliteFile], T]) -> Awaitable[T]:
        """Do something with the file on the participant's thread, after what was asked before."""
        return self._on_thread(lambda: do(self._connected()))

    def stop(self) -> None:
        """Break off the statement that runs, or is about to."""
        if self._file is not None:
            self._file.work.stop()

    def leave(self, branch: BranchId) -> None:
        """Let the next branch begin."""
        assert branch == self._at_work, f"branch {branch} is not at work: {self._at_work} is"
        self._at_work = None
        self._turn.release()

    # ── Waiting ─────────────────────────────────────────────────────────────────────────────

    def _refuse_second(self, branch: BranchId) -> None:
        first = self._at_work
        if first is not None and (first.home, first.transaction) == (branch.home, branch.transaction):
            raise Refused(
                f"transaction {branch.transaction} has a branch at {self.name} already, and one at a time "
                "may write a SQLite file: use that one",
                branch=branch.name,
                transaction_id=branch.transaction,
            )

    async def _take_turn(self, branch: BranchId) -> None:
        self._waits_for = f"branch {self._at_work} is at work there"
        await self._turn.acquire()
        try:
            await self._when_free(lambda file: file.work.begin(branch))
        except asyncio.CancelledError:
            # It may have begun at the same moment.
            asyncio.ensure_future(self.run(lambda file: file.work.abort())).add_done_callback(_ignore)
            self._turn.release()
            raise
        except BaseException:
            self._turn.release()
            raise
        self._at_work = branch

    async def _patiently(self, do: Callable[[SqliteFile], T]) -> T:
        try:
            async with asyncio.timeout(FINISH_SECONDS_MAX):
                return await self._when_free(do)
        except TimeoutError as error:
            raise Unavailable(
                f"participant {self.name} is out of reach: {self._waits_for}; ask again"
            ) from error

    async def _when_free(self, do: Callable[[SqliteFile], T]) -> T:
        """Do it as soon as nobody else has the file."""
        while True:
            try:
                return await self.run(do)
            except Held as held:
                self._waits_for = str(held)
            await asyncio.sleep(WAIT_SECONDS * (1 + self._environment.chance()))

    # ── The thread ──────────────────────────────────────────────────────────────────────────

    def _on_thread(self, do: Callable[[], T]) -> Awaitable[T]:
        if self._environment.is_threaded:
            return self._threads.run(do)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            answer.set_result(do())
        except Exception as error:
            answer.set_exception(error)
        return answer

    def _connected(self) -> SqliteFile:
        if self._why_closed:
            raise Unavailable(f"participant {self.name} is out of reach: {self._why_closed}")
        if self._file is not None and not self._file.is_usable:
            self._disconnect()
        if self._file is None:
            self._file = SqliteFile(self.path, self._environment.reach)
        return self._file

    def _disconnect(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _ignore(ended: asyncio.Future[None]) -> None:
    """Hear how it ended, since nobody else does."""
    if not ended.cancelled():
        ended.exception()
