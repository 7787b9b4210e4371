"""A walk of every state that a protocol and the world around it can reach.

```
    start ─▶ ● ─▶ ● ─▶ ◎        breadth first, so the first counterexample is a shortest one
             │    └──▶ ●        every state is checked
             └──▶ ✗             every state must be able to go on to an end (◎)
```

Bring your protocol's own functions, a value for the state of the world, and a function that says
what can happen next; loss, repetition, lateness and crashes are moves like any other:

```python
def moves(world: World) -> Iterator[tuple[str, World]]:
    for message in world.network:
        yield f"{message} arrives", delivered(world, message)
        yield f"{message} is lost", lost(world, message)

walked = walk(World(), moves, is_end=lambda world: world.is_settled, check=nobody_disagrees)
print(walked)
```

Source: Model Checking, E. Clarke, O. Grumberg and D. Peled, 1999.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

STATES_MAX = 2_000_000  # About 1 GiB of small tuples; a larger world wants a smaller graph.


class Counterexample(AssertionError):
    """The walk found a state that breaks a promise; *trace* is a shortest way there."""

    def __init__(self, broken: str, trace: tuple[str, ...], state: object) -> None:
        steps = "\n".join(f"  {number:3}. {move}" for number, move in enumerate(trace, start=1))
        super().__init__(f"{broken}\n{steps or '  at the start'}\n  in {state}")
        self.broken = broken
        self.trace = trace
        self.state = state


@dataclass(frozen=True, slots=True)
class Walked(Generic[S]):
    """What a walk saw; every promise held.

    Attributes:
        depth: The moves to the farthest state.
        ends: The states in which it may stop.
    """

    states: int
    moves: int
    depth: int
    ends: tuple[S, ...]

    def __str__(self) -> str:
        return f"{self.states:,} states, {self.moves:,} moves, {self.depth} deep, {len(self.ends):,} ends"


def walk(
    start: S,
    moves: Callable[[S], Iterable[tuple[object, S]]],
    *,
    is_end: Callable[[S], bool],
    check: Callable[[S], None] | None = None,
    is_progress: Callable[[object], bool] = lambda move: True,
    states_max: int = STATES_MAX,
) -> Walked[S]:
    """Walk every state that *moves* reaches from *start*, breadth first.

    Args:
        moves: What can happen in a state, each with a label (its ``str`` is shown in a trace) and
            the state it leads to. It must be a function of the state alone.
        is_end: Says whether the world may stop here. Ends are walked on from all the same, because
            late messages arrive after the end too.
        check: Raises AssertionError when a state breaks a promise; *moves* may do so as well.
        is_progress: Says whether a move counts on the way to an end. Leave out what nobody may
            rely on, such as a cancellation, and a protocol that waits for it is found out.
        states_max: A walk that reaches more states than these stops, as it cannot be complete.

    Raises:
        Counterexample: A promise is broken, or a state cannot reach an end.
    """
    return _Walk(start, moves, is_progress, states_max).run(is_end, check or (lambda state: None))


class _Walk(Generic[S]):
    def __init__(
        self,
        start: S,
        moves: Callable[[S], Iterable[tuple[object, S]]],
        is_progress: Callable[[object], bool],
        states_max: int,
    ) -> None:
        self.moves = moves
        self.is_progress = is_progress
        self.states_max = states_max
        self.states = [start]
        self.number_of = {start: 0}
        self.came_from = array("L", [0])
        self.came_by: list[object] = [None]
        self.depths = array("L", [0])
        self.sources = array("L")
        self.targets = array("L")
        self.moves_made = 0

    def run(self, is_end: Callable[[S], bool], check: Callable[[S], None]) -> Walked[S]:
        number = 0
        while number < len(self.states):
            state = self.states[number]
            try:
                check(state)
                for move, after in self.moves(state):
                    self.note(number, move, after)
            except AssertionError as broken:
                raise self.counterexample(str(broken), number) from broken
            number += 1
        ends = [number for number, state in enumerate(self.states) if is_end(state)]
        self.check_ends_reachable(ends)
        states = tuple(self.states[number] for number in ends)
        return Walked(len(self.states), self.moves_made, self.depths[-1], states)

    def note(self, source: int, move: object, after: S) -> None:
        self.moves_made += 1
        target = self.number_of.get(after)
        if target is None:
            target = self.number_of[after] = len(self.states)
            assert target < self.states_max, f"more than {self.states_max:,} states: make the world smaller"
            self.states.append(after)
            self.came_from.append(source)
            self.came_by.append(move)
            self.depths.append(self.depths[source] + 1)
        if target != source and self.is_progress(move):
            self.sources.append(source)
            self.targets.append(target)

    def check_ends_reachable(self, ends: list[int]) -> None:
        can_end = bytearray(len(self.states))
        for number in ends:
            can_end[number] = 1
        # Moves were noted outward from the start, so going through them backwards settles
        # almost everything in one pass; a cycle takes another.
        is_settled = False
        while not is_settled:
            is_settled = True
            for source, target in zip(reversed(self.sources), reversed(self.targets), strict=True):
                if can_end[target] and not can_end[source]:
                    can_end[source] = 1
                    is_settled = False
        lost = can_end.find(0)
        if lost >= 0:
            raise self.counterexample("from here no end can be reached", lost)

    def counterexample(self, broken: str, number: int) -> Counterexample:
        trace: list[str] = []
        at = number
        while at:
            trace.append(str(self.came_by[at]))
            at = self.came_from[at]
        return Counterexample(broken, tuple(reversed(trace)), self.states[number])
