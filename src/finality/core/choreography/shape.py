"""The shape of a choreography: who reacts to which events with which, and what can be wrong with it.

```
    TourRequested ─▶ book_room ─▶ RoomBooked ──┐
                 └─▶ book_seat ─▶ SeatBooked ──┴─▶ confirm ─▶ TourBooked             completes
                              └─▶ SeatRefused ─▶ free_room ─▶ RoomFree               compensated
    (deadline)    ─▶ TourExpired ─▶ give_up (unless confirm) ─▶ TourFailed ─▶ …
```
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One reaction, as far as events go.

    Attributes:
        name: ``consumer/function``.
        undoes: The part that it compensates.
        unless: The part that it runs instead of.
    """

    name: str
    takes: tuple[str, ...]
    answers: tuple[str, ...]
    may_be_silent: bool = False
    undoes: str | None = None
    unless: str | None = None

    @property
    def is_forward(self) -> bool:
        """Say whether it neither undoes another one nor stands in for it."""
        return self.undoes is None and self.unless is None


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of one choreography.

    Attributes:
        begins: The event that begins a run.
        completes: The event that ends one well.
        fails: The events that turn one back.
        expires: The event that is published when the deadline passes.
        keeps: Parts that leave nothing to undo.
        hears: The events that come from outside, such as a person's word.
    """

    name: str
    begins: str
    completes: str
    fails: tuple[str, ...]
    parts: tuple[Part, ...]
    deadline_seconds: float
    expires: str
    keeps: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()

    @property
    def from_outside(self) -> frozenset[str]:
        """Return the events that no part answers with, by right."""
        return frozenset({self.begins, self.expires, *self.hears})

    @property
    def compensations(self) -> tuple[Part, ...]:
        """Return the parts that undo others."""
        return tuple(part for part in self.parts if part.undoes is not None)

    def takers(self, type_: str) -> Iterator[Part]:
        """Yield the parts that take an event."""
        return (part for part in self.parts if type_ in part.takes)

    def sources(self, type_: str) -> Iterator[Part]:
        """Yield the parts that answer with an event."""
        return (part for part in self.parts if type_ in part.answers)

    def behind(self, types: Iterable[str], *, without: Collection[str] = ()) -> set[str]:
        """Return the parts that events lead to, directly or not; *without* some of them."""
        waiting, found = list(types), set[str]()
        while waiting:
            for part in self.takers(waiting.pop()):
                if part.name not in found and part.name not in without:
                    found.add(part.name)
                    waiting += part.answers
        return found

    def owed(self, failures: Iterable[str]) -> tuple[Part, ...]:
        """Return the compensations that failures lead to: a run has turned back once all have answered."""
        behind = self.behind(failures)
        return tuple(part for part in self.compensations if part.name in behind)


def mistakes(shape: Shape) -> Iterator[str]:
    """Yield why the choreography cannot keep its promise; nothing if it can."""
    yield from _unheard(shape)
    yield from _gate(shape)
    yield from _compensations(shape)
    yield from _without_end(shape)


def _unheard(shape: Shape) -> Iterator[str]:
    """Events that nobody takes, and events that nobody publishes."""
    answered = {type_ for part in shape.parts for type_ in part.answers}
    undone = {type_ for part in shape.compensations for type_ in part.answers}
    for type_ in sorted((shape.from_outside | answered) - {shape.completes, *undone, *shape.fails}):
        if not any(shape.takers(type_)):
            who = next((part.name for part in shape.sources(type_)), "somebody outside")
            yield f"{who} publishes {type_}, and nobody takes it: take it, or leave it out"
    for part in shape.parts:
        for type_ in part.takes:
            if type_ not in shape.from_outside | answered:
                yield (
                    f"{part.name} takes {type_}, which nobody publishes: add the reaction that does, or name "
                    "it in hears= if it comes from outside"
                )
    for type_ in (shape.completes, *shape.fails):
        if type_ not in answered:
            yield f"{type_} should end a run, and nobody publishes it: name what a reaction returns"


def _gate(shape: Shape) -> Iterator[str]:
    """Whoever completes a run must be the one who hears that its time is over."""
    completing = [part.name for part in shape.sources(shape.completes)]
    if len(completing) > 1:
        yield f"{' and '.join(completing)} both complete it: one reaction alone may, the point of no return"
    for part in shape.takers(shape.expires):
        if part.unless not in completing:
            yield (
                f"{part.name} takes {shape.expires}, and may undo what {' or '.join(completing)} completes "
                f"at that moment: let one reaction have unless={completing[0] if completing else '…'}, and "
                "the others react to its answer"
            )
        elif not {*part.answers} & {*shape.fails}:
            yield f"{part.name} stands in for {part.unless} and answers with no failure: name it in fails="


def _compensations(shape: Shape) -> Iterator[str]:
    """What a failure may leave behind without undoing it."""
    said: dict[str, str] = {}
    for part in shape.compensations:
        if part.may_be_silent or not part.answers:
            yield (
                f"{part.name} undoes {part.undoes} and may say nothing: nobody could see that it has; let it "
                "always answer"
            )
        for type_ in part.answers:
            if type_ in said:
                yield (
                    f"{part.name} and {said[type_]} both say {type_}: nobody could tell which is undone; "
                    "rename one"
                )
            said[type_] = part.name
    by_undone = {part.undoes: part.name for part in shape.compensations}
    for failure in shape.fails:
        failing = [part.name for part in shape.sources(failure)]
        behind = shape.behind([failure])
        # What runs only once the failing one has answered otherwise has not run when it fails.
        may_have_run = shape.behind(
            [shape.begins], without=[name for name in failing if not _is_gate(shape, name)]
        )
        for part in shape.parts:
            is_ended = not part.is_forward or part.name in shape.keeps or shape.completes in part.answers
            if is_ended or part.name not in may_have_run:
                continue
            if part.name not in by_undone:
                yield (
                    f"{failure} leaves what {part.name} has done: no reaction undoes it; declare one with "
                    f"undoes=, or name it in keeps= if there is nothing to undo"
                )
            elif by_undone[part.name] not in behind:
                yield (
                    f"{failure} does not lead to {by_undone[part.name]}, which undoes {part.name}: let it "
                    f"take {failure}"
                )


def _is_gate(shape: Shape, name: str) -> bool:
    return any(part.name == name and part.unless is not None for part in shape.parts)


def _without_end(shape: Shape) -> Iterator[str]:
    """Events from which no end can be reached."""
    ends = {shape.completes, *shape.fails}
    undone = {type_ for part in shape.compensations for type_ in part.answers}
    ending: set[str] = set(ends)
    while True:
        more = {
            type_
            for part in shape.parts
            for type_ in part.takes
            if type_ not in ending and {*part.answers} & ending
        }
        if not more:
            break
        ending |= more
    reached = {shape.begins} | {
        type_ for part in shape.parts if part.name in shape.behind([shape.begins]) for type_ in part.answers
    }
    lost = sorted(reached - ending - undone)
    if lost:
        yield (
            f"{', '.join(lost)} lead to no end, so a run could go on for ever: let them lead to "
            f"{' or '.join(sorted(ends))}"
        )
