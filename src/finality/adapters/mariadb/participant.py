"""A MariaDB database as a participant: XA, and a witness in a table of its own.

```
    XA START ─ statements ─ INSERT witness; XA END; XA PREPARE ──▶ XA COMMIT or XA ROLLBACK
                            └──────── one round trip ────────┘     on the same session, or
                                                                   from anywhere once that has ended
```

The witness is written by the branch itself, so it is there exactly when the branch has committed.
A prepared branch belongs to its session until that ends. The session says so by a lock of the
server's own kind that bears the branch's name; so whoever has to finish a branch that another node
has left behind, paused or cut off, finds that session and ends it. That harms nothing: a prepared
branch outlives its session.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from finality.adapters.connections import Connections
from finality.adapters.mariadb.branch import MariaDbBranch, exists_already
from finality.adapters.mariadb.catalog import Catalog
from finality.adapters.mariadb.health import findings
from finality.adapters.mariadb.session import (
    BRANCH_EXISTS,
    ERRORS,
    UNKNOWN_BRANCH,
    Session,
    literal,
    number_of,
    server_at,
    unavailable,
)
from finality.adapters.mariadb.xid import branch_of, xid_of
from finality.adapters.named_statements import named_statements
from finality.core.errors import DefinitionError, Unavailable
from finality.core.ids import TransactionId
from finality.core.two_phase import Decision
from finality.ports.branch_names import check_branch, check_name
from finality.ports.environment import Environment
from finality.ports.participant import BranchId, InDoubt

COMMITTED = ("voted", "commit")  # What a witness says.
ISOLATIONS = ("read committed", "repeatable read", "serializable")
HELD_ATTEMPTS_MAX = 60  # With the pauses between them, some three seconds.
HELD_SECONDS = 0.05
HELD_PATIENCE = 3  # Attempts after which the session that holds a branch is taken for left behind.
HOLDS = "row locks; XA does not say on what"
AGES_MAX = 200  # Branches in one message.
PRUNE_SECONDS = 3_600.0
PRUNE_ROWS_MAX = 1_000  # A sweep, in one message; the next one goes on.

T = TypeVar("T")


class MariaDbParticipant:
    """Fulfils ``ports.participant.Participant``, and what its branches need (``branch.Keeper``)."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        isolation: str,
        lock_timeout: timedelta,
        connections_max: int,
        witness_kept: timedelta,
    ) -> None:
        if isolation not in ISOLATIONS:
            raise DefinitionError(
                f"no isolation is called {isolation!r}: write one of {', '.join(ISOLATIONS)}"
            )
        self.name = check_name(name)
        self._server = server_at(
            url, name, lock_seconds=lock_timeout.total_seconds(), isolation=isolation.upper()
        )
        self._witness_kept = witness_kept
        self._connections: Connections[Session] = Connections(
            name,
            connections_max,
            connect=self._connect,
            is_clean=lambda session: session.is_clean,
            drop=lambda session: session.drop(),
        )
        self._queries = named_statements(__package__, "branch.sql")
        self.catalog = Catalog(self._queries["known_words"])
        self._held: dict[BranchId, Session] = {}
        self._finishing: dict[BranchId, asyncio.Future[None]] = {}
        self._has_table = False
        self._pruned_at = 0.0
        self._environment: Environment | None = None
        self.give_back = self._connections.give_back

    # ── Sessions ────────────────────────────────────────────────────────────────────────────

    async def open(self, environment: Environment) -> None:
        """Connect, and make sure that the witness's table is there."""
        self._environment = environment
        await self.make_table()

    async def make_table(self) -> None:
        """Make sure that the witness's table is there.

        Raises:
            Unavailable: The server is out of reach.
        """
        if not self._has_table:
            self.give_back(await self._connections.take(is_finishing=True))

    async def _connect(self) -> Session:
        session = await self._server.connect()
        if not self._has_table:
            try:
                [found] = await session.say(self._queries["find_table"])
                if not found:
                    await session.say(self._queries["create_table"])
            except BaseException as error:
                session.drop()
                if isinstance(error, ERRORS):
                    raise unavailable(self.name, error) from error
                raise
            self._has_table = True
        return session

    def sql(self, name: str, branch: BranchId) -> str:
        """Return one of our statements for *branch*."""
        digest = hashlib.sha1(str(branch).encode(), usedforsecurity=False).hexdigest()
        return self._queries[name].format(
            schema=f"`{self._server.options['database']}`.",
            xid=xid_of(branch),
            mark=f"'finality:{digest}'",
            transaction=literal(branch.transaction),
            home=literal(branch.home),
            branch=literal(branch.name),
        )

    def hold(self, branch: BranchId, session: Session) -> None:
        """Keep the session of a prepared branch."""
        self._held[branch] = session

    async def _ask(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Return what *work* makes of a session. It may be done twice: a line may have died unnoticed.

        Raises:
            Unavailable: The server is out of reach, or will not do it.
        """
        for attempt in (1, 2):
            session = await self._connections.take(is_finishing=True)
            try:
                return await work(session)
            except ERRORS as error:
                if attempt == 2 or not session.is_lost:
                    raise unavailable(self.name, error) from error
                self._connections.forget_idle()
            finally:
                self.give_back(session)
        raise AssertionError("the second attempt has returned or raised")

    # ── The port ────────────────────────────────────────────────────────────────────────────

    async def begin(self, branch: BranchId, *, deadline: float | None = None) -> MariaDbBranch:
        """Begin a branch."""
        check_branch(branch)
        for attempt in (1, 2):
            session = await self._connections.take()
            try:
                await session.say(*self.limits(session, deadline), self.sql("begin", branch))
                return MariaDbBranch(branch, session, self)
            except BaseException as error:
                session.drop()
                self.give_back(session)
                if number_of(error) == BRANCH_EXISTS:
                    raise exists_already(branch) from error
                if not isinstance(error, ERRORS):
                    raise
                if attempt == 2:
                    raise unavailable(self.name, error) from error
                self._connections.forget_idle()
        raise AssertionError("the second attempt has returned or raised")

    def limits(self, session: Session, deadline: float | None) -> list[str]:
        """Return what keeps a branch that was abandoned from staying after its deadline."""
        if not session.is_mariadb or self._environment is None:
            return []
        # Zero is without end; it takes back what the last branch of the session had.
        seconds = 0 if deadline is None else max(1, round(deadline - self._environment.now()))
        return [self._queries["limit_idle"].format(seconds=seconds)]

    async def finish(self, branch: BranchId, decision: Decision) -> Decision:
        """Finish a branch that may be prepared, as decided; return what it has really done."""
        while (other := self._finishing.get(branch)) is not None:
            await other
        turn = self._finishing[branch] = asyncio.get_running_loop().create_future()
        try:
            if await self._finished_where_prepared(branch, decision):
                return decision
            return await self._ask(lambda session: self._finish(session, branch, decision))
        finally:
            del self._finishing[branch]
            turn.set_result(None)

    async def _finished_where_prepared(self, branch: BranchId, decision: Decision) -> bool:
        session = self._held.pop(branch, None)
        if session is None:
            return False
        try:
            await session.say(self._end_as(decision, branch), self.sql("unmark", branch))
        except ERRORS:
            session.drop()  # Another session says what has become of it.
            return False
        finally:
            self.give_back(session)
        return True

    def _end_as(self, decision: Decision, branch: BranchId) -> str:
        return self.sql("commit_prepared" if decision is Decision.COMMIT else "abort_prepared", branch)

    async def _finish(self, session: Session, branch: BranchId, decision: Decision) -> Decision:
        for attempt in range(HELD_ATTEMPTS_MAX):
            try:
                await session.say(self._end_as(decision, branch))
                return decision
            except ERRORS as error:
                if number_of(error) != UNKNOWN_BRANCH:
                    raise
            # That is what it says of a branch that another session holds, too.
            if branch not in await self._recoverable(session):
                settle = self._give_up if decision is Decision.ABORT else self._outcome
                return await settle(session, branch)
            if attempt >= HELD_PATIENCE:
                await self._end_holder(session, branch)
            await asyncio.sleep(HELD_SECONDS)
        raise Unavailable(
            f"participant {self.name} is unavailable: another session holds branch {branch} and cannot be "
            "ended; see that the role may KILL its own sessions, or end it by hand"
        )

    async def _end_holder(self, session: Session, branch: BranchId) -> None:
        [[(holder,)]] = await session.say(self.sql("holder", branch))
        if holder is not None and holder != session.thread:
            await session.say(self._queries["kill"].format(session=int(holder)))

    async def settle(self, branch: BranchId) -> Decision:
        """Say what became of a one-phase commit whose answer was lost, and keep it so for ever."""
        return await self._ask(lambda session: self._give_up(session, branch))

    async def _give_up(self, session: Session, branch: BranchId) -> Decision:
        # The row first: it waits for a commit under way, and stops every later one.
        await session.say(self.sql("give_up", branch))
        return await self._outcome(session, branch)

    async def _outcome(self, session: Session, branch: BranchId) -> Decision:
        [found] = await session.say(self.sql("outcome", branch))
        return Decision.COMMIT if any(outcome in COMMITTED for (outcome,) in found) else Decision.ABORT

    async def _recoverable(self, session: Session) -> list[BranchId]:
        [rows] = await session.say(self._queries["recover"])
        return [branch for row in rows if (branch := branch_of(row)) is not None]

    async def in_doubt(self, *, says_holds: bool = False) -> Sequence[InDoubt]:
        """Return the prepared branches of ours that its server holds, oldest first, of any home."""
        held = list(self._held)
        found = await self._ask(self._recoverable)
        self._let_go(set(held) - set(found))
        await self._prune()
        ours = [branch for branch in found if branch.participant == self.name]
        ages = await self._ask(lambda session: self._ages(session, ours))
        listed = [InDoubt(branch, ages[branch], HOLDS) for branch in ours]
        return sorted(listed, key=lambda one: (-(one.age_seconds or 0.0), one.branch))

    async def committed(self, *, within: timedelta, limit: int) -> Sequence[BranchId]:
        """Return branches that have voted and committed lately."""
        seconds = round(within.total_seconds())
        sql = self._queries["committed"].format(seconds=seconds, rows=limit)
        [rows] = await self._ask(lambda session: session.say(sql))
        found = (BranchId.named(home, TransactionId(id), name) for id, home, name in rows)
        return [branch for branch in found if branch.participant == self.name]

    async def _ages(self, session: Session, branches: Sequence[BranchId]) -> dict[BranchId, float | None]:
        ages: dict[BranchId, float | None] = {}
        for start in range(0, len(branches), AGES_MAX):
            some = branches[start : start + AGES_MAX]
            asked = (self._queries["peek"] + "; " + self.sql("age", branch) for branch in some)
            answers = await session.say(*asked)
            for branch, rows in zip(some, answers[1::2], strict=True):
                ages[branch] = float(rows[0][0]) if rows else None
        return ages

    def _let_go(self, over: set[BranchId]) -> None:
        """Give back the sessions of branches that somebody else has finished."""
        for branch in over:
            if session := self._held.pop(branch, None):
                session.drop()
                self.give_back(session)

    async def _prune(self) -> None:
        assert self._environment is not None, "the participant is open"
        if self._environment.now() < self._pruned_at + PRUNE_SECONDS:
            return
        if await self._ask(self._forget_old) < PRUNE_ROWS_MAX:
            self._pruned_at = self._environment.now()

    async def _forget_old(self, session: Session) -> int:
        seconds = round(self._witness_kept.total_seconds())
        [old] = await session.say(self._queries["old"].format(seconds=seconds, rows=PRUNE_ROWS_MAX))
        if old:
            sql = self._queries["forget"]
            each = (
                sql.format(transaction=literal(transaction), home=literal(home), branch=literal(branch))
                for transaction, home, branch in old
            )
            await session.say("BEGIN", *each, "COMMIT")
        return len(old)

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return (check, is_good, finding) about what its promises rest on."""
        return await self._ask(lambda session: findings(session, self._queries))

    async def close(self) -> None:
        """Let go of its connections."""
        self._held.clear()
        self._connections.close()
        await asyncio.sleep(0)  # Transports that were cut say so in the loop's next turn.


def mariadb(
    url: str,
    *,
    name: str,
    isolation: str = "repeatable read",
    lock_timeout: timedelta = timedelta(seconds=5),
    connections_max: int = 20,
    witness_kept: timedelta = timedelta(days=30),
) -> MariaDbParticipant:
    """Return a MariaDB database as a participant; it is connected to by the node.

    Args:
        url: ``mariadb://user:password@host:3306/stock``.
        name: What decisions call it, the same on every node and for ever.
        isolation: Of its branches: ``read committed``, ``repeatable read`` or ``serializable``.
        lock_timeout: How long a statement waits for another transaction's lock before it is a
            ``Conflict``; whole seconds. No server sees a deadlock that goes through two of them;
            this ends it.
        connections_max: Branches at once, those in doubt included; others wait. What finishes
            branches has a few more.
        witness_kept: How long it is known what became of a branch. Longer than any node that knows
            of it may be out of service.

    Raises:
        DefinitionError: The URL, the name or the isolation is none.
    """
    return MariaDbParticipant(
        url,
        name=name,
        isolation=isolation,
        lock_timeout=lock_timeout,
        connections_max=connections_max,
        witness_kept=witness_kept,
    )
