"""Known mistakes, planted into two-phase commit: the walk must catch every one of them.

python -m tests.model.two_phase.planted         prints their table of docs/internals/planted-bugs.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from finality.core import two_phase as core
from finality.core.two_phase import Decision, Vote
from finality.testing.walk import Counterexample, Walked, walk
from tests.model.two_phase.promises import Promises
from tests.model.two_phase.transactions import NEW, Events
from tests.model.two_phase.world import ANY, Branch, Moves, Rules, World

DECIDING: Any = import_module("finality.core.two_phase.decide")  # Its name in the package is the function's.
YES = frozenset({Vote.YES})
YES_OR_NO = frozenset({Vote.YES, Vote.NO})

Patch = pytest.MonkeyPatch


def walked(rules: Rules) -> Walked[World]:
    """Walk every world that *rules* allow.

    Raises:
        Counterexample: A promise is broken.
    """
    promises = Promises(rules)
    return walk(
        rules.start(), rules.moves,
        is_end=promises.is_end, check=promises.check, is_progress=promises.is_progress,
    )  # fmt: skip


def _told_without_a_record(patch: Patch, decision: Decision) -> None:
    real = Rules.planned

    def planned(self: Rules, world: World, move: str, signal: core.TwoPhaseSignal) -> Moves:
        if isinstance(signal, core.FoundInDoubt) and world.stream == NEW:
            slot = self.names.index(signal.branch)
            told = world.branches[slot]._replace(told=frozenset({decision}))
            yield move, world.with_branch(slot, told)
        else:
            yield from real(self, world, move, signal)

    patch.setattr(Rules, "planned", planned)


def absence_means_commit(patch: Patch) -> None:
    """A recoverer that finds no decision commits the branch."""
    _told_without_a_record(patch, Decision.COMMIT)


def abort_without_first_event(patch: Patch) -> None:
    """A recoverer that finds no decision aborts the branch, and does not write that first."""
    _told_without_a_record(patch, Decision.ABORT)


def presumed_commit(patch: Patch) -> None:
    """What was left undecided is decided to commit."""
    real = DECIDING._find

    def find(state: core.TwoPhaseState, branch: str) -> Events:
        undecided = state.decision is None
        return (core.Decided(Decision.COMMIT, (branch,)),) if undecided else real(state, branch)

    patch.setattr(DECIDING, "_find", find)


def commit_before_it_is_durable(patch: Patch) -> None:
    """The branches are told to commit while the decision is still being written."""
    real = Rules.writes_commit

    def writes_commit(self: Rules, world: World, decided: core.Decided) -> World:
        writing = real(self, world, decided)
        return self.tells(writing, self.known.record(world.memory, (decided,)))

    patch.setattr(Rules, "writes_commit", writes_commit)


def unknown_branch_counts_as_committed(patch: Patch) -> None:
    """Whatever a branch answers when it is told to commit, it is recorded as committed."""

    def answer(self: Rules, name: str, branch: Branch) -> core.TwoPhaseSignal:
        did = Decision.COMMIT if Decision.COMMIT in branch.told else Decision.ABORT
        return core.Finish(name, did)

    patch.setattr(Rules, "answer", answer)


def late_vote_changes_the_decision(patch: Patch) -> None:
    """A yes that arrives after the abort turns it into a commit."""
    real = DECIDING._hear

    def hear(state: core.TwoPhaseState, branch: str, vote: Vote, because: str) -> Events:
        if state.decision is Decision.ABORT and vote is Vote.YES:
            return (core.Decided(Decision.COMMIT, state.unfinished),)
        events: Events = real(state, branch, vote, because)
        return events

    patch.setattr(DECIDING, "_hear", hear)


def lost_answer_means_not_written(patch: Patch) -> None:
    """When the home's answer is lost and no decision is read there, the coordinator simply aborts."""
    real = Rules.unknown

    def unknown(self: Rules, world: World) -> Moves:
        if world.stream != NEW:
            yield from real(self, world)
        else:
            abort = self.known.tell(world.memory, core.GiveUp("its answer was lost"))
            aborted = world._replace(memory=self.known.record(world.memory, abort))
            yield "the coordinator reads no decision and aborts", self.aborts(aborted)

    patch.setattr(Rules, "unknown", unknown)


def no_fence(patch: Patch) -> None:
    """A recoverer's write lands whatever has been written since it read the stream."""

    def appended(self: Rules, world: World, plan: int) -> World:
        return world._replace(stream=self.known.record(world.stream, self.known.plans[plan]))

    patch.setattr(Rules, "appended", appended)


def late_prepare_is_not_told_again(patch: Patch) -> None:
    """A branch that answered "aborted" and prepared afterwards is not told again."""
    real = DECIDING._find

    def find(state: core.TwoPhaseState, branch: str) -> Events:
        return () if branch in state.branches else real(state, branch)

    patch.setattr(DECIDING, "_find", find)


def witness_is_not_compared(patch: Patch) -> None:
    """Nobody compares what branches have committed with what was decided."""
    patch.setattr(DECIDING, "_accuse", lambda state, branch: ())


def settled_branch_commits_later(patch: Patch) -> None:
    """What became of a lone commit is answered, and the commit itself may still arrive."""
    patch.setattr(Rules, "settle", lambda self, branch: branch)


def given_up_while_it_commits(patch: Patch) -> None:
    """The deadline aborts a lone branch that has been asked to commit."""
    real = core.decide

    def decide(state: core.TwoPhaseState, signal: core.TwoPhaseSignal) -> Events:
        if isinstance(signal, core.GiveUp) and state.decision is None:
            return (DECIDING._abort(state, signal.because, signal.by),)
        return real(state, signal)

    patch.setattr(core, "decide", decide)


@dataclass(frozen=True, slots=True)
class Planted:
    """A mistake, and the world in which it is looked for."""

    plant: Callable[[Patch], None]
    world: Callable[[], Rules]

    @property
    def sentence(self) -> str:
        """Return what is wrong."""
        assert self.plant.__doc__ is not None, f"{self.plant} says nothing"
        return self.plant.__doc__.removesuffix(".")

    def caught(self) -> Counterexample | None:
        """Return the shortest way to the harm that the mistake does; None if it is not seen."""
        with pytest.MonkeyPatch.context() as patch:
            self.plant(patch)
            try:
                walked(self.world())
            except Counterexample as found:
                return found
        return None


def two() -> Rules:
    """Return two branches with any vote."""
    return Rules((ANY, ANY), recoverers=1)


def by_hand() -> Rules:
    """Return two branches, one of which a person may finish."""
    return Rules((YES, YES), recoverers=1, hands=1)


PLANTED = [
    Planted(absence_means_commit, two),
    Planted(presumed_commit, two),
    Planted(abort_without_first_event, two),
    Planted(commit_before_it_is_durable, two),
    Planted(lost_answer_means_not_written, two),
    Planted(late_vote_changes_the_decision, two),
    Planted(no_fence, two),
    Planted(unknown_branch_counts_as_committed, by_hand),
    Planted(witness_is_not_compared, by_hand),
    Planted(late_prepare_is_not_told_again, lambda: Rules((YES, YES), recoverers=1, late=frozenset("a"))),
    Planted(settled_branch_commits_later, lambda: Rules((ANY,))),
    Planted(given_up_while_it_commits, lambda: Rules((ANY,))),
]


def row(planted: Planted) -> str:
    """Return the mistake's row of the table."""
    found = planted.caught()
    if found is None:
        return f"| {planted.sentence} | – | – |"
    return f"| {planted.sentence} | {'; '.join(found.trace)} | {found.broken} |"


def main() -> None:
    """Print the table of docs/internals/planted-bugs.md."""
    print("| planted mistake | the shortest way to its harm | what is seen there |")
    print("| --- | --- | --- |")
    for planted in PLANTED:
        print(row(planted), flush=True)


if __name__ == "__main__":
    main()
