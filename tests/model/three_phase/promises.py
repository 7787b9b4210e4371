"""What must be true in every world that a three-phase commit can reach, and where it may end."""

from __future__ import annotations

from finality.core.two_phase import Decision
from finality.testing.walk import Walked, walk
from tests.model.three_phase.world import DOWN, LATE, Rules, World


class Promises:
    """The promises of one set of rules, as a check of a world."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def check(self, world: World) -> None:
        outcomes = self.outcomes(world)
        if len(set(outcomes.values())) > 1:
            said = ", ".join(f"{name}: {decision.value}" for name, decision in outcomes.items())
            raise AssertionError(f"two outcomes: {said}")
        if Decision.COMMIT in outcomes.values():
            for place, site in enumerate(world.sites[1:], start=1):
                has_voted = self.rules.state(place, site).standing is not None
                assert has_voted, f"committed without the vote of {self.rules.name(place)}"

    def outcomes(self, world: World) -> dict[str, Decision]:
        """Return who knows which outcome, the dead included: they will remember it."""
        found = {}
        for place, site in enumerate(world.sites):
            state = self.rules.state(place, site)
            if place == 0 or state.standing is not None:
                found[self.rules.name(place)] = state.report.standing.decision
        return {name: decision for name, decision in found.items() if decision is not None}

    def is_end(self, world: World) -> bool:
        """Say whether everybody that is up and took part knows the outcome, or no agent is up."""
        return all(site.at == DOWN for site in world.sites[1:]) or not any(
            site.at != DOWN and self.is_open(place, world) for place, site in enumerate(world.sites)
        )

    def is_open(self, place: int, world: World) -> bool:
        state = self.rules.state(place, world.sites[place])
        return bool(state.is_open if place else state.agents and state.decision is None)

    def is_progress(self, move: object) -> bool:
        """Say whether one may wait for *move*: not for the dead, nor for anything of theirs."""
        text = str(move)
        return not text.endswith(("crashes", "comes back")) and not text.startswith((LATE, "the network"))


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
