"""What must be true in every world that a transaction can reach, and where it may end."""

from __future__ import annotations

from finality.core import two_phase as core
from finality.core.two_phase import Decision, Vote
from tests.model.two_phase.transactions import NEW
from tests.model.two_phase.world import At, Mode, Rules, World

# Nobody may have to wait for these: an end must be near without them.
NO_PROGRESS = (
    "a person",
    "the coordinator crashes",
    "the block ends",
    "a recoverer crashes",
    "a recoverer found",
)
WRONG = {Decision.COMMIT: At.ABORTED, Decision.ABORT: At.COMMITTED}


class Promises:
    """The promises of one set of rules, as a check of a world."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def check(self, world: World) -> None:
        if len(world.branches) == 1:
            self.the_caller_hears_what_the_only_branch_did(world)
            return
        decision = self.rules.known.decision(world.stream)
        self.branches_do_what_was_decided(world, decision)
        self.the_caller_hears_what_was_decided(world, decision)
        for name in self.rules.known.states[world.stream].diverged:
            assert world.branches[self.rules.names.index(name)].by_hand, f"{name} is wrongly accused"

    def the_caller_hears_what_the_only_branch_did(self, world: World) -> None:
        (branch,) = world.branches
        if world.said is not None:
            did = Decision.COMMIT if branch.at is At.COMMITTED else Decision.ABORT
            assert world.said is did, f"the caller has heard {world.said.value}, and it is {branch.at.name}"

    def branches_do_what_was_decided(self, world: World, decision: Decision | None) -> None:
        for name, branch in zip(self.rules.names, world.branches, strict=True):
            if decision is Decision.COMMIT:
                assert branch.vote in (Vote.YES, Vote.READ_ONLY), (
                    f"committed, and {name} has voted {branch.vote}"
                )
            if branch.by_hand:
                continue
            if branch.at is At.COMMITTED:
                assert decision is Decision.COMMIT, f"{name} has committed, and it is {decision}"
            elif branch.at is At.ABORTED:
                assert decision is not Decision.COMMIT, f"{name} has aborted, and it is {decision}"

    def the_caller_hears_what_was_decided(self, world: World, decision: Decision | None) -> None:
        if world.said is Decision.ABORT:
            assert decision is not Decision.COMMIT, "the caller has heard abort, and commit is written"
        if world.said is Decision.COMMIT and decision is not Decision.COMMIT:
            for name, branch in zip(self.rules.names, world.branches, strict=True):
                assert branch.at is At.READ_ONLY, f"the caller has heard commit, and {name} has not"

    def is_end(self, world: World) -> bool:
        """Say whether nothing is left in doubt or on its way, and every act of a person's is known."""
        if world.writes or world.plans or world.mode is not Mode.GONE:
            return False
        if any(branch.at in (At.OPEN, At.PREPARED) for branch in world.branches):
            return False
        if len(world.branches) == 1:
            return True
        commands = self.rules.known.commands[world.stream]
        return not any(isinstance(command, core.FinishBranch) for command in commands) and self.is_told(world)

    def is_told(self, world: World) -> bool:
        """Say whether every branch that a person finished against the decision is known to have diverged."""
        state = self.rules.known.states[world.stream]
        decision = state.decision or Decision.ABORT
        wrong = {
            name
            for name, branch in zip(self.rules.names, world.branches, strict=True)
            if branch.by_hand and branch.at is WRONG[decision]
        }
        return wrong == set(state.diverged) and (world.stream != NEW or not wrong)

    def is_progress(self, move: object) -> bool:
        return not str(move).startswith(NO_PROGRESS)
