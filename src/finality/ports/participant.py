"""A participant: executes a branch of a transaction, votes, and finishes the branch as decided.

```
    begin ──▶ work ──▶ prepare ──▶ in doubt ──▶ finish(COMMIT) ──▶ committed
                │         │ no                  finish(ABORT)  ──▶ aborted
                └─────────┴──────── abort ───────────────────────▶ aborted
```

Each keeps a *witness* of its own, written in the branch's own local transaction, so that a branch
nobody knows is never mistaken for one that committed.

What ends a branch is never cancelled on its way: ``prepare``, ``commit``, ``abort``, ``finish`` and
``settle`` run where nobody cancels them, or in ``runtime.unbroken``. So whoever fulfils them need not
guard each statement.

Source: Transaction Processing: Concepts and Techniques, J. Gray and A. Reuter, 1993, chapter 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from finality.core.ids import TransactionId
from finality.core.two_phase import Decision, Vote
from finality.ports.environment import Environment
from finality.ports.store import Rows

TRANSACTION_ID_CHARACTERS_MAX = 64  # XA's limit for a global transaction id.
PARTICIPANT_NAME_CHARACTERS_MAX = 32  # With ours before it, below XA's limit for a branch qualifier.
GLOBAL_PREFIX = "finality"


@dataclass(frozen=True, slots=True, order=True)
class BranchId:
    """Names a branch in its participant's database, for people and for every node's recovery.

    Attributes:
        home: The identity of the home store that holds the decision: others leave the branch alone.
        transaction: At most ``TRANSACTION_ID_CHARACTERS_MAX`` printable ASCII characters, no colon.
        participant: The participant's name; at most ``PARTICIPANT_NAME_CHARACTERS_MAX``.
        number: Tells branches of one transaction at one participant apart.
    """

    home: str
    transaction: TransactionId
    participant: str
    number: int = 0

    @property
    def name(self) -> str:
        """Return the branch's name in its transaction: ``bank``, or ``seats.2``."""
        return f"{self.participant}.{self.number}" if self.number else self.participant

    def __str__(self) -> str:
        return f"{GLOBAL_PREFIX}:{self.home}:{self.transaction}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> BranchId | None:
        """Return the id that *text* stands for; None if it is none of ours."""
        parts = text.split(":")
        if len(parts) != 4 or parts[0] != GLOBAL_PREFIX:
            return None
        _, dot, number = parts[3].partition(".")
        if dot and not number.isdecimal():
            return None
        return cls.named(parts[1], TransactionId(parts[2]), parts[3])

    @classmethod
    def named(cls, home: str, transaction: TransactionId, name: str) -> BranchId:
        """Return the id of the branch that its transaction calls *name*."""
        participant, _, number = name.partition(".")
        return cls(home, transaction, participant, int(number or 0))


@dataclass(frozen=True, slots=True)
class InDoubt:
    """A prepared branch that a participant's database still holds.

    Attributes:
        age_seconds: By the participant's own clock; None when it keeps no time.
        holds: What others wait for while it is in doubt, such as ``row locks on accounts``; may be
            empty where nobody has asked for it.
        decided_by: Before it, in seconds since the Unix epoch, its block may still be at work, so that
            nobody presumes an abort; None for a branch that prepares when its block has ended.
    """

    branch: BranchId
    age_seconds: float | None = None
    holds: str = ""
    decided_by: float | None = None


class Branch(Protocol):
    """A branch under way, in the hands of the transaction's block. Not for several tasks at once."""

    id: BranchId

    async def prepare(self) -> Vote:
        """Vote. After YES the branch is durable and in doubt; after READ_ONLY it has ended.

        Raises:
            Refused: The participant votes no, and says why; nothing of the branch remains.
            Conflict: Likewise, since somebody else was first.
            Unavailable: Nobody knows whether it is prepared: finish it as aborted, by its id.
        """
        ...

    async def commit(self) -> None:
        """Commit in one phase, with the witness: it is the only branch of its transaction.

        Raises:
            Refused: Nothing of it remains. Conflict: likewise.
            OutcomeUnknown: It may have happened; ``Participant.settle`` tells.
        """
        ...

    async def abort(self) -> None:
        """Leave nothing of a branch that is not prepared; never raises."""
        ...


class StatementBranch(Branch, Protocol):
    """A branch in a database that takes statements: what ``tx.enlist(bank)`` returns."""

    async def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement; return its rows. One that fails makes the vote no, swallowed or not.

        Raises:
            StatementRefused: It would end the branch, or cannot be prepared; it had no effect.
            Refused: It breaks a constraint. Conflict: somebody else was first.
            Unavailable: The database is out of reach.
        """
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Return a block: if it raises, what it did is undone, and nothing else of the branch."""
        ...


class ReservingBranch(Branch, Protocol):
    """A branch that reserves: its work is one try, which is committed at once."""

    async def reserve(self, kind: str, input: Any, /, *, returns: Any = Any) -> Any:
        """Try, once; return what it holds, as a value of *returns*. It stands until the decision.

        Raises:
            Refused: It says no. The branch holds nothing, and the block may go on without it.
            OutcomeUnknown: It may hold; the transaction will not commit.
        """
        ...


B_co = TypeVar("B_co", bound=Branch, covariant=True)


class Participant(Protocol[B_co]):
    """A database or service that can vote; ``B_co`` is what its branches let one do.

    Attributes:
        name: What decisions call it, the same on every node and for ever.
    """

    name: str

    async def open(self, environment: Environment) -> None:
        """Connect, and make sure that the witness's table is there; called once, by the node.

        Raises:
            Unavailable: It is out of reach. The node opens all the same and tries again.
        """
        ...

    async def begin(self, branch: BranchId, *, deadline: float | None = None) -> B_co:
        """Begin a branch.

        Args:
            deadline: Seconds since the Unix epoch; an unprepared branch may be aborted after it.

        Raises:
            Unavailable: It is out of reach; nothing has begun.
        """
        ...

    async def finish(self, branch: BranchId, decision: Decision) -> Decision:
        """Finish a branch that may be prepared, as decided; return what it has really done.

        From any process, any number of times, at once: its witness answers for what is over. An
        answer other than *decision* means that somebody finished the branch by hand.

        Raises:
            Unavailable: It is out of reach, or its session still holds the branch; ask again.
        """
        ...

    async def settle(self, branch: BranchId) -> Decision:
        """Say what became of a one-phase commit whose answer was lost, and keep it so for ever.

        A branch that has not committed will never commit after this has said ABORT.

        Raises:
            Unavailable: It is out of reach; ask again.
        """
        ...

    async def in_doubt(self, *, says_holds: bool = False) -> Sequence[InDoubt]:
        """Return the prepared branches of ours that its database holds, oldest first, of any home.

        Args:
            says_holds: Somebody wants to know what they hold. A sweep asks every second and does not,
                so that this may take a look at everything that is locked.

        Raises:
            Unavailable: It is out of reach.
        """
        ...

    async def committed(self, *, within: timedelta, limit: int) -> Sequence[BranchId]:
        """Return branches of ours that have voted yes and committed lately, newest first, of any home.

        One whose transaction nobody has decided was committed by hand, and no decision waits for it.
        Empty where that cannot be, or where witnesses are not kept in order.

        Raises:
            Unavailable: It is out of reach.
        """
        ...

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return (check, is_good, finding) about what its promises rest on."""
        ...

    async def close(self) -> None:
        """Let go of its connections. Prepared branches stay prepared."""
        ...
