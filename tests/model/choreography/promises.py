"""What every run of a choreography promises, whatever is delivered when and how often."""

from __future__ import annotations

from functools import cache

from finality.core.choreography import Completed, Undone
from finality.core.envelope import Envelope
from finality.ports.events import REACTION
from finality.runtime.inbox import DONE, name_of
from tests.model.choreography.world import Effect, Event, Rules, Services, World


class Promises:
    """Checks worlds that *rules* lead to."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        shape = rules.shape
        self.undoable = [
            slot
            for slot, code in enumerate(rules.codes)
            if code.against is None and code.branch not in rules.keeps and shape.completes not in code.answers
        ]
        self.stands, self.is_settled = cache(self._stands), cache(self._is_settled)
        self.gate = next(slot for slot, code in enumerate(rules.codes) if shape.completes in code.answers)

    def check(self, world: World) -> None:
        """Check one world.

        Raises:
            AssertionError: It breaks a promise.
        """
        end = self.rules.runs.values[world.run].end
        self.stands(world.services, type(end).__name__)
        if end is None:
            assert not self.is_drained(world), "everything was delivered, and the run has no end"

    def is_end(self, world: World) -> bool:
        """Say whether the run has ended, and nothing of it is on its way."""
        return self.rules.runs.values[world.run].end is not None and self.is_drained(world)

    def is_drained(self, world: World) -> bool:
        """Say whether every event was brought to everyone, and no reminder is to come."""
        if world.reminders or not self.is_settled(world.services):
            return False
        run, services = self.rules.runs.values[world.run], self.rules.services.values[world.services]
        return run.end is not None or len(run.seen) == len(services.events)

    def _is_settled(self, number: int) -> bool:
        services = self.rules.services.values[number]
        return all(self._is_known(services, event) for event in services.events)

    def _stands(self, number: int, end: str) -> None:
        services = self.rules.services.values[number]
        for code, effect in zip(self.rules.codes, services.effects, strict=True):
            assert effect.done <= 1, f"{code.branch} took effect {effect.done} times"
            assert effect.undone <= effect.done, f"{code.branch} was undone, and had no effect"
        if end == Completed.__name__:
            self._all_done(services)
        elif end == Undone.__name__:
            self._all_undone(services)
        if self.rules.is_stacked:
            self._stands_on_nothing_undone(services)

    def _is_known(self, services: Services, event: Event) -> bool:
        name = name_of(Envelope(event.id, "shop", event.type, "", b""))
        return all(
            ((name, code.consumer, REACTION), DONE) in services.rows
            for code in self.rules.codes
            if event.type in code.takes
        )

    def _all_done(self, services: Services) -> None:
        for slot in (*self.undoable, self.gate):
            assert services.effects[slot] == Effect(1, 0), f"completed, and {self._told(services, slot)}"

    def _all_undone(self, services: Services) -> None:
        assert services.effects[self.gate] == Effect(), f"undone, and {self._told(services, self.gate)}"
        for slot in self.undoable:
            effect = services.effects[slot]
            assert effect.done == effect.undone, f"undone, and {self._told(services, slot)}"

    def _stands_on_nothing_undone(self, services: Services) -> None:
        for slot in self.undoable:
            if services.effects[slot].done > services.effects[slot].undone:
                for other in self.undoable:
                    if {*self.rules.codes[other].answers} & {*self.rules.codes[slot].takes}:
                        below = services.effects[other]
                        assert below.done > below.undone, f"{self._told(services, slot)} on what does not"

    def _told(self, services: Services, slot: int) -> str:
        done, undone = services.effects[slot]
        stands = "stands" if done > undone else "was undone" if undone else "was never done"
        return f"{self.rules.codes[slot].branch} {stands}"
