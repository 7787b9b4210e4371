"""Crashes a saga everywhere: before and after each durable write, step and compensation.

```
    untouched   ●──●──●──●──●──●──▶ end         nobody dies
    crash 1     ✗ ─ restart ─▶ ●──●──▶ end      dies at the 1st point,
                ✗ ─▶ ●──✗ ─ restart ─▶ end      and again while it recovers
    crash 2     ●──✗ ─ restart ─▶ ●──▶ end      dies at the 2nd point
     …                                          until a run reaches the end untouched
    pause 1 …   ‖ ─ another takes over ─▶ end   sleeps past its lease, wakes up, and may do no harm
```

After each run the saga has ended, your invariants hold, and every action and compensation has had
one effect. Then the same with each step refusing in turn, so that its compensations are tested.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from finality.core.saga.events import split_branch
from finality.core.saga.graph import Kind
from finality.patterns.outcome import Outcome, OutcomeStatus
from finality.patterns.saga import Saga, definition_of
from finality.testing.checks import Streams, effect_problems, problems_of, residue_of
from finality.testing.drills import Client, CrashDrill, Drill, Meanwhile, PauseDrill
from finality.testing.effects import ACTION, Watch, prepare, watched
from finality.testing.world import World

RUNS_MAX = 20_000  # A saga with more crash points than this wants to be tested in parts.
WITHIN = timedelta(days=3650)  # Of simulated time: only a saga that waits for nothing takes longer.

Setup = Callable[[World], object]
Invariant = Callable[[World], object]


class CrashFound(AssertionError):
    """A saga broke a promise when its node crashed, or was paused, at a certain point."""


@dataclass(slots=True)
class CrashReport:
    """What was tried; every promise held.

    Attributes:
        points: How many crash points the untouched runs have passed, all variations together.
        outcomes: How many runs ended in which way.
    """

    runs: int = 0
    crashes: int = 0
    pauses: int = 0
    points: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {status}" for status, count in self.outcomes.items())
        troubles = f"{self.crashes} crashes and {self.pauses} pauses at {self.points} points"
        return f"{self.runs} runs, {troubles}: {ends}"


def crash_everywhere(
    saga: Saga,
    *,
    invariants: Invariant | Iterable[Invariant],
    setup: Setup | None = None,
    stores: Iterable[str] = (),
    meanwhile: Meanwhile | None = None,
    expect: OutcomeStatus | None = None,
    also_undone: bool = True,
    also_paused: bool = True,
    crash_twice: bool = True,
    seed: int = 0,
    only: Sequence[int] | None = None,
    only_paused: int | None = None,
    refused_step: str | None = None,
    secret_key: str | None = None,
    directory: Path | None = None,
) -> CrashReport:
    """Run *saga* once per crash point, restart, and check what came of it.

    It runs in a world of its own, in simulated time: a step that sleeps for a day takes none, and
    there is no network. Let steps that call services call a ``SimulatedService``.

    Args:
        invariants: Called with the world once the saga has ended; they raise, or return False.
        setup: Called with the world before each run, to create tables and reset what is outside.
        stores: The names of the stores beside the home that steps work in (``at=``).
        meanwhile: Called with a node and the saga's handle, to send signals or cancel; it is
            called again after a crash.
        expect: How every run has to end in which no step was made to refuse.
        also_undone: Let each step refuse in turn as well, so that what came before is undone.
        also_paused: Also pause the node at each point for longer than its lease.
        crash_twice: For each crash, also run with a second one during the recovery.
        seed: Decides where the second crash is, and the order of what is concurrent.
        only: Run just this: the crash points of a report.
        only_paused: Run just this: the point of a report at which the node is paused.
        directory: Where each run has SQLite files, as in production; slower than in memory.
        refused_step: The step that refuses in a run of *only* or *only_paused*.

    Raises:
        CrashFound: A promise was broken; the message says where, and what happened.
    """
    checks = (invariants,) if callable(invariants) else tuple(invariants)
    assert checks, "without an invariant nothing is checked that you care about: give at least one"
    search = _Search(saga, checks, setup, tuple(stores), meanwhile, expect, seed, secret_key, directory)
    if only is not None:
        search.run(CrashDrill(tuple(only)), refused_step)
    elif only_paused is not None:
        search.run(PauseDrill(only_paused), refused_step)
    else:
        for variation in (None, *(_refusable(saga) if also_undone else ())):
            search.crash_at_each_point(variation, crash_twice=crash_twice)
            if also_paused:
                search.pause_at_each_point(variation)
    return search.report


def _refusable(saga: Saga) -> list[str]:
    graph = definition_of(type(saga)).graph
    return [step.name for step in graph.steps if step.kind is not Kind.RETRIABLE and not step.is_child]


@dataclass(slots=True)
class _Search:
    """One call of ``crash_everywhere``."""

    saga: Saga
    invariants: tuple[Invariant, ...]
    setup: Setup | None
    stores: tuple[str, ...]
    meanwhile: Meanwhile | None
    expect: OutcomeStatus | None
    seed: int
    secret_key: str | None
    directory: Path | None
    report: CrashReport = field(default_factory=CrashReport)

    def crash_at_each_point(self, refused_step: str | None, *, crash_twice: bool) -> None:
        """Crash at the 1st point, then at the 2nd, … until a run reaches the end untouched."""
        dice = random.Random(f"{self.seed} {refused_step}")  # A simulation wants repeatable dice.
        self.report.points += self.run(CrashDrill(), refused_step).passed[0]
        point = 1
        while (drill := self.run(CrashDrill((point,)), refused_step)).places:
            if crash_twice:
                again = 1 + int(dice.random() * drill.passed[1])
                self.run(CrashDrill((point, again)), refused_step)
            point += 1

    def pause_at_each_point(self, refused_step: str | None) -> None:
        """Pause at the 1st point, then at the 2nd, … until a run reaches the end untouched."""
        point = 1
        while self.run(PauseDrill(point), refused_step).places:
            point += 1

    def run(self, drill: Drill, refused_step: str | None) -> Drill:
        """Run the saga once, disturbed by *drill*, and check everything."""
        self.report.runs += 1
        name = type(self.saga).__name__
        assert self.report.runs <= RUNS_MAX, f"{name} has too many crash points: test it in parts"
        watch = Watch(refused_step)
        with (
            watched([type(self.saga)], watch),
            self._world() as world,
        ):
            prepare(world)
            if self.setup is not None:
                self.setup(world)
            try:
                outcome = world.run(drill.run(world, Client(self.saga, self.meanwhile)), within=WITHIN)
                self._check(world, outcome, watch)
            except Exception as broken:
                raise CrashFound(self._story(world, drill, refused_step, broken)) from broken
        self._count(drill, outcome)
        return drill

    def _world(self) -> World:
        directory = self.directory
        if directory is not None:
            directory /= f"run-{self.report.runs}"
            directory.mkdir()
        kinds = [type(self.saga)]
        return World(
            kinds, stores=self.stores, seed=self.seed, secret_key=self.secret_key, directory=directory
        )

    def _count(self, drill: Drill, outcome: Outcome) -> None:
        report, status = self.report, outcome.status.value
        if isinstance(drill, PauseDrill):
            report.pauses += len(drill.places)
        else:
            report.crashes += len(drill.places)
        report.outcomes[status] = report.outcomes.get(status, 0) + 1

    def _check(self, world: World, outcome: Outcome, watch: Watch) -> None:
        for error in world.loop.errors:
            raise AssertionError(f"something failed unheard: {error}")
        if self.expect is not None and watch.refused_step is None:
            assert outcome.status is self.expect, f"it ended {outcome.status.value}: {outcome.because}"
        streams = Streams(world)
        broken = [problem for _, problem in (*problems_of(streams), *effect_problems(streams))]
        broken += [*residue_of(world), *_asked_again(watch, lives=len(world.nodes))]
        assert not broken, "; ".join(broken)
        for invariant in self.invariants:
            name = getattr(invariant, "__name__", repr(invariant))
            try:
                is_kept = invariant(world) is not False
            except AssertionError as error:
                raise AssertionError(f"invariant {name} does not hold: {error}") from error
            assert is_kept, f"invariant {name} does not hold"

    def _story(self, world: World, drill: Drill, refused_step: str | None, broken: Exception) -> str:
        refused = f", refused_step={refused_step!r}" if refused_step else ""
        seed = f", seed={self.seed}" if self.seed else ""
        lines = [
            f"{type(self.saga).__name__} broke a promise in run {self.report.runs}: {_text(broken)}",
            f"  {drill.happened()}",
            *([f"  step {refused_step!r} was made to refuse"] if refused_step else ()),
            f"  run just this again: crash_everywhere(…, {drill.replay()}{refused}{seed})",
            "what happened:",
            *(f"  {line}" for line in _told(world).splitlines()),
        ]
        return "\n".join(lines)


def _asked_again(watch: Watch, *, lives: int) -> list[str]:
    """A refusal is an answer: only a node that has not heard it may ask again."""
    return [
        f"{branch!r} had refused and was asked again: {runs} times in {lives} lives"
        for (_, branch, operation), runs in watch.runs.items()
        if operation == ACTION and split_branch(branch)[0] == watch.refused_step and runs > lives
    ]


def _told(world: World) -> str:
    try:
        streams = Streams(world)
        stories = [streams.story_of(head.id) for head in streams.heads]
    except Exception as error:  # A broken journal must not hide that it is broken.
        return f"the journal cannot be read: {error}"
    return "\n".join(stories) or "nothing was ever written"


def _text(error: Any) -> str:
    return str(error) or type(error).__name__
