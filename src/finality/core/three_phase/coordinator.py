"""The coordinator's part of three-phase commit, until the first crash of its own.

Whoever has voted stays to the end: an agent that has left could not say what it knows.

A coordinator whose agents have taken charge decides nothing any more: it asks them. One that has
crashed knows nothing of what it had not ended, and need not: its agents end it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import assert_never

from finality.core.three_phase.standing import COORDINATORS_TERM, AskPreCommit, AskStanding, Report, Standing
from finality.core.two_phase import Decision, Vote


class AgentAt(Enum):
    """How far an agent is, as the coordinator knows."""

    ASKED = "asked"
    PREPARED = "prepared"
    PRECOMMITTED = "pre-committed"
    ABSENT = "absent"  # It is taken for dead, or was away.


# ── Events: only the outcome is durable ─────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PreCommitting:
    """All have voted yes; from now on it is not for the coordinator alone to abort."""

    line: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The outcome is known."""

    decision: Decision
    because: str = ""


@dataclass(frozen=True, slots=True)
class Began:
    """The agents are asked to prepare, each with the whole line."""

    line: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """An agent has come so far."""

    agent: str
    at: AgentAt


@dataclass(frozen=True, slots=True)
class Deposed:
    """It only asks from now on."""


CoordinatorEvent = PreCommitting | Ended | Began | Moved | Deposed


def is_durable(event: CoordinatorEvent) -> bool:
    """Say whether the journal keeps *event*."""
    return isinstance(event, Ended)


# ── Signals ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Begin:
    """The block has ended well."""

    line: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """An agent's vote arrives."""

    agent: str
    vote: Vote
    because: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """An agent says where it stands."""

    agent: str
    report: Report


@dataclass(frozen=True, slots=True)
class Silence:
    """An agent has not answered for so long that it must be dead."""

    agent: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The block failed or the deadline passed: abort, unless it is too late."""

    because: str


CoordinatorSignal = Begin | Heard | Answered | Silence | GiveUp


@dataclass(frozen=True, slots=True)
class Prepare:
    """Ask an agent for its vote."""

    agent: str


@dataclass(frozen=True, slots=True)
class TellOutcome:
    """Tell an agent how it has ended."""

    agent: str
    decision: Decision


CoordinatorCommand = Prepare | AskPreCommit | AskStanding | TellOutcome


# ── State ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CoordinatorState:
    """A transaction, as far as its coordinator knows it.

    Attributes:
        is_deposed: It must ask, and not decide.
    """

    agents: Mapping[str, AgentAt] = field(default_factory=lambda: MappingProxyType({}))
    is_precommitting: bool = False
    is_deposed: bool = False
    decision: Decision | None = None
    because: str = ""

    @property
    def report(self) -> Report:
        """Return what it answers an agent that asks; a home without a record has nothing to say."""
        match self.decision:
            case Decision.COMMIT:
                standing = Standing.COMMITTED
            case Decision.ABORT:
                standing = Standing.ABORTED
            case _:
                standing = Standing.UNCERTAIN
        return Report(standing, COORDINATORS_TERM, was_away=self.is_deposed or not self.agents)


NEW = CoordinatorState()


def evolve(state: CoordinatorState, event: CoordinatorEvent) -> CoordinatorState:
    """Return what *event* makes of *state*."""
    match event:
        case Began(line):
            return replace(state, agents=MappingProxyType(dict.fromkeys(line, AgentAt.ASKED)))
        case PreCommitting(line):
            agents = MappingProxyType(dict.fromkeys(line, AgentAt.PREPARED))
            return replace(state, agents=agents, is_precommitting=True)
        case Moved(agent, at):
            return replace(state, agents=MappingProxyType({**state.agents, agent: at}))
        case Ended(decision, because):
            return replace(state, decision=decision, because=because)
        case Deposed():
            return replace(state, is_deposed=True)
        case _:
            assert_never(event)


def decide(state: CoordinatorState, signal: CoordinatorSignal) -> tuple[CoordinatorEvent, ...]:
    """Return what *signal* makes true; nothing when it is late or repeated."""
    if state.decision is not None:
        return ()
    match signal:
        case Begin(line):
            return () if state.agents else (Began(line),)
        case Heard(agent, vote, because):
            return _vote(state, agent, vote, because)
        case Answered(agent, report):
            return _answer(state, agent, report)
        case Silence(agent):
            if not state.is_precommitting:
                return (Ended(Decision.ABORT, f"{agent} did not vote"),)
            return _move(state, agent, AgentAt.ABSENT)
        case GiveUp(because):
            return () if state.is_precommitting else (Ended(Decision.ABORT, because),)
        case _:
            assert_never(signal)


def _vote(state: CoordinatorState, agent: str, vote: Vote, because: str) -> tuple[CoordinatorEvent, ...]:
    if state.agents.get(agent) is not AgentAt.ASKED:
        return ()
    if vote is Vote.NO:
        return (Ended(Decision.ABORT, because),)
    moved = Moved(agent, AgentAt.PREPARED)
    if AgentAt.ASKED in evolve(state, moved).agents.values():
        return (moved,)
    return moved, PreCommitting(tuple(state.agents))


def _answer(state: CoordinatorState, agent: str, report: Report) -> tuple[CoordinatorEvent, ...]:
    if report.standing.decision is not None:
        return (Ended(report.standing.decision, f"{agent} says so"),)
    if not state.is_precommitting:
        return ()
    if report.term > COORDINATORS_TERM and not state.is_deposed:
        return (Deposed(),)
    if report.standing is Standing.PRECOMMITTED:
        return _move(state, agent, AgentAt.PRECOMMITTED)
    return _move(state, agent, AgentAt.ABSENT) if report.was_away else ()


def _move(state: CoordinatorState, agent: str, at: AgentAt) -> tuple[CoordinatorEvent, ...]:
    """An agent that has pre-committed counts for ever, even if it is dead: it will remember."""
    if state.is_deposed or state.agents[agent] is not AgentAt.PREPARED:
        return ()
    moved = Moved(agent, at)
    agents = evolve(state, moved).agents.values()
    if AgentAt.PREPARED in agents or AgentAt.PRECOMMITTED not in agents:
        return (moved,)
    return moved, Ended(Decision.COMMIT)


def outstanding(state: CoordinatorState) -> tuple[CoordinatorCommand, ...]:
    """Return what the agents still owe, or must hear."""
    if state.decision is not None:
        return tuple(TellOutcome(agent, state.decision) for agent in state.agents)
    if not state.is_precommitting:
        return tuple(Prepare(agent) for agent, at in state.agents.items() if at is AgentAt.ASKED)
    if state.is_deposed or AgentAt.PREPARED not in state.agents.values():
        return tuple(AskStanding(agent) for agent in state.agents)
    return tuple(AskPreCommit(agent) for agent, at in state.agents.items() if at is AgentAt.PREPARED)
