"""An agent: keeps a participant's part in three-phase commit, and ends it when the coordinator is gone.

```
    coordinator silent, and all before me in the line ──▶ in charge: ask all others where they stand
        one knows the outcome ────────────────────────────▶ the same
        one is pre-committed ──▶ pre-commit all ──────────▶ COMMIT
        all are uncertain ────────────────────────────────▶ ABORT
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import assert_never

from finality.core.protocol import fold
from finality.core.three_phase.standing import (
    CONCLUDED,
    COORDINATOR,
    COORDINATORS_TERM,
    AskPreCommit,
    AskStanding,
    Report,
    Standing,
)
from finality.core.two_phase import Decision

# ── Events: the first four are durable, the others volatile ─────────────────────────────────


@dataclass(frozen=True, slots=True)
class VotedYes:
    """The branch is prepared.

    Attributes:
        me: This agent.
        line: All agents of the transaction, in the order in which they take charge.
    """

    me: str
    line: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreCommitted:
    """It will commit, unless it crashes and the others abort without it."""


@dataclass(frozen=True, slots=True)
class Concluded:
    """The outcome is known."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Finished:
    """The branch has done what was decided."""


@dataclass(frozen=True, slots=True)
class Joined:
    """From now on only whoever is in charge in this term, or a later one, is obeyed."""

    term: int


@dataclass(frozen=True, slots=True)
class Missed:
    """Somebody is taken for dead."""

    peer: str


@dataclass(frozen=True, slots=True)
class Learned:
    """Somebody has said where it stands."""

    peer: str
    report: Report


@dataclass(frozen=True, slots=True)
class CameBack:
    """The agent's process has started again; the first event of each of its runs but the first."""


AgentEvent = VotedYes | PreCommitted | Concluded | Finished | Joined | Missed | Learned | CameBack


def is_durable(event: AgentEvent) -> bool:
    """Say whether the agent keeps *event* before it answers; it may lose the others in a crash."""
    return isinstance(event, VotedYes | PreCommitted | Concluded | Finished)


# ── Signals ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class VoteYes:
    """The branch can be prepared."""

    me: str
    line: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreCommitAsked:
    """Whoever is in charge in this term asks for a pre-commit."""

    term: int


@dataclass(frozen=True, slots=True)
class StandingAsked:
    """Somebody asks where this agent stands."""

    term: int = COORDINATORS_TERM


@dataclass(frozen=True, slots=True)
class Answered:
    """Somebody says where it stands."""

    peer: str
    report: Report


@dataclass(frozen=True, slots=True)
class Silence:
    """Somebody has not answered for so long that it must be dead."""

    peer: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Somebody who knows says how it has ended."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Finish:
    """The branch says that it has done what was decided."""


@dataclass(frozen=True, slots=True)
class ComeBack:
    """The agent's process has started again."""


AgentSignal = VoteYes | PreCommitAsked | StandingAsked | Answered | Silence | Outcome | Finish | ComeBack


@dataclass(frozen=True, slots=True)
class FinishBranch:
    """Let the branch do what was decided."""

    decision: Decision


AgentCommand = AskStanding | AskPreCommit | FinishBranch


# ── State ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class AgentState:
    """One agent's view of a transaction.

    Attributes:
        standing: None before it has voted.
        absent: Those that are taken for dead, or were away: they take no part.
        reports: What others have said, to whoever is in charge or was away.
    """

    me: str = ""
    line: tuple[str, ...] = ()
    standing: Standing | None = None
    term: int = COORDINATORS_TERM
    was_away: bool = False
    is_finished: bool = False
    absent: frozenset[str] = frozenset()
    reports: Mapping[str, Report] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_open(self) -> bool:
        """Say whether it has voted and does not know the outcome."""
        return self.standing in (Standing.UNCERTAIN, Standing.PRECOMMITTED)

    @property
    def others(self) -> tuple[str, ...]:
        """Return the other agents."""
        return tuple(name for name in self.line if name != self.me)

    @property
    def in_charge(self) -> str:
        """Return who is to end it, as far as this agent knows: the first that is not absent."""
        return next(name for name in (COORDINATOR, *self.line) if name not in self.absent)

    @property
    def report(self) -> Report:
        """Return what it answers when it is asked."""
        assert self.standing is not None, "whoever is asked has voted, or has aborted by that"
        return Report(self.standing, self.term, self.was_away)


NEW = AgentState()


def evolve(state: AgentState, event: AgentEvent) -> AgentState:
    """Return what *event* makes of *state*."""
    match event:
        case VotedYes(me, line):
            return replace(state, me=me, line=line, standing=Standing.UNCERTAIN)
        case PreCommitted():
            return replace(state, standing=Standing.PRECOMMITTED)
        case Concluded(decision):
            return replace(state, standing=CONCLUDED[decision])
        case Finished():
            return replace(state, is_finished=True)
        case Joined(term):
            return replace(state, term=term)
        case Missed(peer):
            return replace(state, absent=state.absent | {peer})
        case Learned(peer, report):
            absent = state.absent | {peer} if report.was_away else state.absent
            reports = MappingProxyType({**state.reports, peer: report})
            return replace(state, reports=reports, absent=absent)
        case CameBack():
            return replace(state, was_away=True)
        case _:
            assert_never(event)


def decide(state: AgentState, signal: AgentSignal) -> tuple[AgentEvent, ...]:
    """Return what *signal* makes true; nothing when it is late or repeated."""
    events = _heard(state, signal)
    after = fold(evolve, state, events)
    while following := _following(after):
        events += following
        after = fold(evolve, after, following)
    return events


def _heard(state: AgentState, signal: AgentSignal) -> tuple[AgentEvent, ...]:
    match signal:
        case VoteYes(me, line):
            return (VotedYes(me, line),) if state.standing is None else ()
        case PreCommitAsked(term):
            return _pre_commit(state, term)
        case StandingAsked(term):
            if state.standing is None:
                # It has not voted, so nobody has committed; from now on it will not vote yes.
                return (Concluded(Decision.ABORT),)
            return (Joined(term),) if state.is_open and term > state.term else ()
        case Answered(peer, report):
            return _learn(state, peer, report)
        case Silence(peer):
            return (Missed(peer),) if state.is_open and peer not in state.absent else ()
        case Outcome(decision):
            return (Concluded(decision),) if state.standing is None or state.is_open else ()
        case Finish():
            is_due = state.standing is not None and not state.is_open and not state.is_finished
            return (Finished(),) if is_due else ()
        case ComeBack():
            return (CameBack(),) if state.is_open and not state.was_away else ()
        case _:
            assert_never(signal)


def _pre_commit(state: AgentState, term: int) -> tuple[AgentEvent, ...]:
    if not state.is_open or state.was_away or term < state.term:
        return ()
    joined: tuple[AgentEvent, ...] = (Joined(term),) if term > state.term else ()
    return (*joined, PreCommitted()) if state.standing is Standing.UNCERTAIN else joined


def _learn(state: AgentState, peer: str, report: Report) -> tuple[AgentEvent, ...]:
    if not state.is_open:
        return ()
    if report.standing.decision is not None:
        return (Concluded(report.standing.decision),)
    is_obeying = state.in_charge == state.me and not state.was_away and report.term == state.term
    if not report.was_away and not is_obeying:
        return ()  # It changes nothing here.
    known = state.reports.get(peer)
    if known is not None and _age(report) <= _age(known):
        return ()  # An old answer comes after a newer one.
    return (Learned(peer, report),)


def _age(report: Report) -> tuple[bool, int, bool]:
    """Return what only grows in the answers that one agent gives, as long as it knows no outcome."""
    return report.was_away, report.term, report.standing is Standing.PRECOMMITTED


def _following(state: AgentState) -> tuple[AgentEvent, ...]:
    """Return what follows from what is known, without anybody else."""
    if not state.is_open:
        return ()
    if state.was_away:
        return _together(state)
    if state.in_charge != state.me:
        return ()
    term = state.line.index(state.me) + 1
    if state.term < term:
        return (Joined(term),)
    present = [name for name in state.others if name not in state.absent]
    if state.term > term or any(name not in state.reports for name in present):
        return ()
    standings = {state.standing, *(state.reports[name].standing for name in present)}
    if standings == {Standing.UNCERTAIN}:
        return (Concluded(Decision.ABORT),)
    if state.standing is Standing.UNCERTAIN:
        return (PreCommitted(),)
    return (Concluded(Decision.COMMIT),) if standings == {Standing.PRECOMMITTED} else ()


def _together(state: AgentState) -> tuple[AgentEvent, ...]:
    """If all were away, nobody has decided without these standings, and they change no more."""
    reports = [state.reports.get(name) for name in state.others]
    if any(report is None or not report.was_away for report in reports):
        return ()
    standings = {state.standing, *(report.standing for report in reports if report is not None)}
    is_commit = Standing.PRECOMMITTED in standings
    return (Concluded(Decision.COMMIT if is_commit else Decision.ABORT),)


def outstanding(state: AgentState) -> tuple[AgentCommand, ...]:
    """Return what is owed to this agent, or by its branch."""
    if state.standing is None or state.is_finished:
        return ()
    decision = state.standing.decision
    if decision is not None:
        return (FinishBranch(decision),)
    if state.was_away:
        return tuple(AskStanding(name) for name in (COORDINATOR, *state.others))
    if state.in_charge != state.me:
        return (AskStanding(state.in_charge),)
    present = [name for name in state.others if name not in state.absent]
    unheard = tuple(AskStanding(name, state.term) for name in present if name not in state.reports)
    if unheard or state.standing is Standing.UNCERTAIN:
        return unheard
    return tuple(
        AskPreCommit(name, state.term)
        for name in present
        if state.reports[name].standing is Standing.UNCERTAIN
    )
