"""The words of two-phase commit: decisions and votes, events, signals and commands."""

from __future__ import annotations

from enum import Enum

from finality.core.value import value

# ── Words ───────────────────────────────────────────────────────────────────────────────────


class Decision(Enum):
    """What is decided for all branches, once, or what one branch has done."""

    COMMIT = "commit"
    ABORT = "abort"


class Vote(Enum):
    """A participant's answer to prepare."""

    YES = "yes"
    READ_ONLY = "read only"
    NO = "no"


class BranchState(Enum):
    """Where a branch is, as its coordinator knows."""

    WORKING = "working"
    PREPARED = "prepared"
    LEFT = "left"  # It was read-only, or has aborted by itself: it needs no decision.
    COMMITTED = "committed"
    ABORTED = "aborted"


# ── Events: the first three are volatile, the others durable ────────────────────────────────


@value
class Enlisted:
    """A branch has begun."""

    branch: str


@value
class WorkEnded:
    """The block has ended: the branches may vote."""


@value
class Voted:
    """A branch has voted."""

    branch: str
    vote: Vote


@value
class Decided:
    """The transaction is decided.

    Attributes:
        branches: Those that need to hear of it.
        because: Why, for an abort or for a person's decision.
        by: The person who decided; empty for a node.
    """

    decision: Decision
    branches: tuple[str, ...]
    because: str = ""
    by: str = ""


@value
class BranchFinished:
    """A branch has done what was decided, or something else: a heuristic outcome."""

    branch: str
    did: Decision


@value
class Accepted:
    """A person has put a heuristic outcome right, and says how."""

    by: str
    because: str


DurableEvent = Decided | BranchFinished | Accepted
TwoPhaseEvent = Enlisted | WorkEnded | Voted | DurableEvent


# ── Signals ─────────────────────────────────────────────────────────────────────────────────


@value
class Enlist:
    """A branch begins."""

    branch: str


@value
class EndWork:
    """The block ends well."""


@value
class Heard:
    """A branch's vote arrives. For one that was lost say ``GiveUp``: it may have been a yes."""

    branch: str
    vote: Vote
    because: str = ""


@value
class GiveUp:
    """The block failed, the deadline passed, or a person wants it: abort, unless it is decided."""

    because: str
    by: str = ""


@value
class FoundInDoubt:
    """A prepared branch was found that its transaction's coordinator has left behind."""

    branch: str


@value
class FoundCommitted:
    """A prepared branch's witness says that it has committed, whoever told it to."""

    branch: str


@value
class Finish:
    """A branch says what it has done."""

    branch: str
    did: Decision


@value
class PutRight:
    """A person has dealt with a heuristic outcome."""

    by: str
    because: str


TwoPhaseSignal = Enlist | EndWork | Heard | GiveUp | FoundInDoubt | FoundCommitted | Finish | PutRight


# ── Commands ────────────────────────────────────────────────────────────────────────────────


@value
class Prepare:
    """Ask a branch for its vote."""

    branch: str


@value
class CommitAlone:
    """Let the only branch commit in one phase: its own commit is the decision."""

    branch: str


@value
class FinishBranch:
    """Tell a branch the decision until it answers."""

    branch: str
    decision: Decision


@value
class AskPerson:
    """Branches have done different things; only a person can put that right."""

    branches: tuple[str, ...]


TwoPhaseCommand = Prepare | CommitAlone | FinishBranch | AskPerson
