"""What must be true in every world that a saga can reach, and where it may end."""

from __future__ import annotations

from finality.core.saga import Kind, Phase, Status
from tests.model.sagas import NEW
from tests.model.world import NONE, STANDS, UNDONE, Effect, Move, Rules, World

# What a journal that says this must find in the local store.
LOCAL = {
    Status.DONE: STANDS,
    Status.UNDO_FAILED: STANDS,
    Status.UNDO_STUCK: STANDS,
    Status.UNDONE: UNDONE,
}
HAS_NO_EFFECT = (Status.REFUSED, Status.GAVE_UP, Status.SKIPPED)
# Nobody may have to wait for these: an end must be near without them.
NO_PROGRESS = ("cancel", "deadline", "restart", "fails", "errs", "parks", "postpones", "declines", "refuses")


class Promises:
    """The promises of one set of rules, as a check of a world."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.needs = {slot: self._needs(who, name) for (who, name), slot in rules.slots.items()}
        endless = any(
            step.wait is not None and step.wait.signal and step.wait.seconds is None
            for step in rules.graph.steps
        )
        self.no_progress = NO_PROGRESS if endless else (*NO_PROGRESS, "told")

    def check(self, world: World) -> None:
        self.nothing_stands_on_something_undone(world)
        self.nothing_is_undone_behind_the_point_of_no_return(world)
        for (who, name), slot in self.rules.slots.items():
            self.store_and_journal_agree(world, who, name, world.effects[slot])
        for who in range(len(world.sagas)):
            self.the_end_is_whole(world, who)
        if len(world.sagas) > 1:
            self.the_child_ends_as_its_parent_says(world)

    def nothing_stands_on_something_undone(self, world: World) -> None:
        for slot, needs in self.needs.items():
            if world.effects[slot].standing == STANDS:
                for need in needs:
                    assert world.effects[need].standing != UNDONE, (
                        f"{self._name(slot)} stands on {self._name(need)}"
                    )

    def nothing_is_undone_behind_the_point_of_no_return(self, world: World) -> None:
        for who, saga in enumerate(world.sagas):
            pivot = self.rules.sagas[who].graph.pivot
            state = self.rules.sagas[who].states[saga]
            if pivot is not None and world.effects[self.rules.slots[who, pivot.name]].standing == STANDS:
                assert state.phase in (Phase.RUNNING, Phase.COMPLETED), f"{state.phase} behind {pivot.name}"

    def store_and_journal_agree(self, world: World, who: int, name: str, effect: Effect) -> None:
        status = self.rules.sagas[who].statuses[world.sagas[who]].get(name)
        if self.rules.step(who, name).is_local:
            expected = LOCAL.get(status, NONE) if status else NONE
            assert effect.standing == expected, f"{name} is {status} and its effect {effect.standing}"
        elif status is Status.DONE:
            assert effect.standing != NONE, f"{name} is done and never took effect"
        elif status is Status.UNDONE:
            assert effect.standing == UNDONE, f"{name} is undone and its effect {effect.standing}"
        if status in HAS_NO_EFFECT:
            assert effect.standing != STANDS, f"{name} is {status} and its effect stands"

    def the_end_is_whole(self, world: World, who: int) -> None:
        phase = self.rules.sagas[who].states[world.sagas[who]].phase
        if phase is Phase.COMPLETED:
            for name, slot in self._slots(who):
                status = self.rules.sagas[who].statuses[world.sagas[who]][name]
                expected = NONE if status is Status.SKIPPED else STANDS
                assert world.effects[slot].standing == expected, f"completed, and {name} is {status}"
        elif phase is Phase.COMPENSATED:
            for name, slot in self._slots(who):
                step = self.rules.step(who, name)
                if step.has_undo or step.kind is not Kind.COMPENSATABLE:
                    assert world.effects[slot].standing != STANDS, f"compensated, and {name} stands"

    def the_child_ends_as_its_parent_says(self, world: World) -> None:
        parent, child = (self.rules.sagas[who].states[saga].phase for who, saga in enumerate(world.sagas))
        if parent is Phase.COMPLETED:
            assert child is Phase.COMPLETED, f"the parent is completed, the child {child}"
        elif parent is Phase.COMPENSATED:
            assert world.sagas[1] == NEW or child is Phase.COMPENSATED, f"parent compensated, child {child}"

    def is_end(self, world: World) -> bool:
        """Say whether every saga has ended and every node is at rest."""
        return not world.flight and all(
            saga == NEW or self.rules.sagas[who].states[saga].has_ended or self.is_beyond_help(world, who)
            for who, saga in enumerate(world.sagas)
        )

    def is_beyond_help(self, world: World, who: int) -> bool:
        """Say whether a saga is to undo a child that is behind its own pivot: only a person can."""
        child = self.rules.child
        if child is None or child.pivot is None or who == 1:
            return False
        is_child_done = self.rules.sagas[1].states[world.sagas[1]].phase is Phase.COMPLETED
        return is_child_done and self.rules.sagas[0].states[world.sagas[0]].phase is Phase.UNDOING

    def is_progress(self, move: object) -> bool:
        assert isinstance(move, Move), move
        return move.kind not in self.no_progress

    def _slots(self, who: int) -> list[tuple[str, int]]:
        return [(name, slot) for (owner, name), slot in self.rules.slots.items() if owner == who]

    def _name(self, slot: int) -> str:
        return next(name for (_, name), number in self.rules.slots.items() if number == slot)

    def _needs(self, who: int, name: str) -> list[int]:
        """Return the slots that the effect of *name* stands on, directly or through others.

        A step without a compensation says of itself that nobody minds what remains of it, unless
        it is the pivot or stands behind it.
        """
        step = self.rules.step(who, name)
        if step.kind is Kind.COMPENSATABLE and not step.has_undo:
            return []
        needed = [(who, need) for need in self._before(who, step.name)]
        for other in self.rules.graph.steps if self.rules.child else ():
            if who == 1 and other.is_child:
                needed += [(0, need) for need in self._before(0, other.name)]
            if who == 0 and other.is_child and other.name in self._before(0, step.name):
                assert self.rules.child is not None
                needed += [(1, inner.name) for inner in self.rules.child.steps]
        return [
            slot
            for (owner, branch), slot in self.rules.slots.items()
            if (owner, self.rules.step(owner, branch).name) in needed
        ]

    def _before(self, who: int, name: str) -> set[str]:
        before: set[str] = set()
        following = [name]
        while following:
            for need in self.rules.sagas[who].graph.by_name[following.pop()].after:
                if need not in before:
                    before.add(need)
                    following.append(need)
        return before
