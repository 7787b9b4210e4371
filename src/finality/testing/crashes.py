"""Crashes a saga everywhere: before and after each durable write, step and compensation.

```
    run 0   ●──●──●──●──●──●──▶ end          nobody dies: the points are counted
    run 1   ✗ ─ restart ─▶ ●──●──▶ end       dies at the 1st point
    run 2   ●──✗ ─ restart ─▶ ●──✗ ─▶ end    dies at the 2nd, and again while it recovers
     …                                       until a run reaches the end untouched
```

After each run the saga has ended, your invariants hold, and every action and compensation has had
one effect. Then the same with each step refusing in turn, so that its compensations are tested.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from finality.core.errors import Stuck
from finality.core.saga.graph import Kind
from finality.node.async_node import AsyncNode
from finality.patterns.outcome import Handle, Outcome, OutcomeStatus
from finality.patterns.saga import Saga, definition_of
from finality.testing.checks import Streams, effect_problems, problems_of, residue_of
from finality.testing.effects import Watch, prepare, watched
from finality.testing.world import Died, World

SAGA_ID = "crash-everywhere"
RUNS_MAX = 20_000  # A saga with more crash points than this wants to be tested in parts.
WITHIN = timedelta(days=3650)  # Of simulated time: only a saga that waits for nothing takes longer.

Setup = Callable[[World], object]
Invariant = Callable[[World], object]
Meanwhile = Callable[[AsyncNode, Handle], Awaitable[object]]


class CrashFound(AssertionError):
    """A saga broke a promise when its node crashed at a certain point.

    Attributes:
        at: The crash points at which it died: pass it as ``only=`` to run just that again.
    """

    def __init__(self, message: str, at: tuple[int, ...], refused_step: str | None) -> None:
        super().__init__(message)
        self.at = at
        self.refused_step = refused_step


@dataclass(frozen=True, slots=True)
class CrashReport:
    """What was tried; every promise held.

    Attributes:
        points: How many crash points the untouched run passed, by name, in the plain variation.
        outcomes: How many runs ended in which way.
    """

    runs: int
    crashes: int
    points: int
    outcomes: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {status}" for status, count in self.outcomes.items())
        return f"{self.runs} runs, {self.crashes} crashes at {self.points} points: {ends}"


def crash_everywhere(
    saga: Saga,
    *,
    invariants: Invariant | Iterable[Invariant],
    setup: Setup | None = None,
    stores: Iterable[str] = (),
    meanwhile: Meanwhile | None = None,
    expect: OutcomeStatus | None = None,
    also_undone: bool = True,
    crash_twice: bool = True,
    seed: int = 0,
    only: Sequence[int] | None = None,
    refused_step: str | None = None,
    secret_key: str | None = None,
) -> CrashReport:
    """Run *saga* once per crash point, restart, and check what came of it.

    Args:
        invariants: Called with the world once the saga has ended; they raise, or return False.
        setup: Called with the world before each run, to create tables and reset what is outside.
        stores: The names of the stores beside the home that steps work in (``at=``).
        meanwhile: Called with a node and the saga's handle, to send signals or cancel; it is
            called again after a crash.
        expect: How every run has to end in which no step was made to refuse.
        also_undone: Let each step refuse in turn as well, so that what came before is undone.
        crash_twice: For each crash, also run with a second one during the recovery.
        seed: Decides where the second crash is, and the order of what is concurrent.
        only: Run just this: the crash points of a report.
        refused_step: With *only*: the step that refuses in it.

    Raises:
        CrashFound: A promise was broken; the message says where, and what happened.
    """
    checks = (invariants,) if callable(invariants) else tuple(invariants)
    assert checks, "without an invariant nothing is checked that you care about: give at least one"
    search = _Search(saga, checks, setup, tuple(stores), meanwhile, seed, secret_key, expect)
    if only is not None:
        search.run(tuple(only), refused_step)
        return search.report()
    variations = [None, *(_refusable(saga) if also_undone else ())]
    for variation in variations:
        search.everywhere(variation, crash_twice=crash_twice)
    return search.report()


def _refusable(saga: Saga) -> list[str]:
    graph = definition_of(type(saga)).graph
    return [step.name for step in graph.steps if step.kind is not Kind.RETRIABLE and not step.is_child]


class _Countdown:
    """Says when to die: at the points in *at*, one for each life."""

    def __init__(self, at: tuple[int, ...]) -> None:
        self.at = at
        self.died_at: list[str] = []
        self.passed = [0]

    def dies_at(self, point: str) -> bool:
        """Count the point of this life; say whether it is the one to die at."""
        life = len(self.passed) - 1
        self.passed[life] += 1
        if life < len(self.at) and self.passed[life] == self.at[life]:
            self.died_at.append(point)
            self.passed.append(0)
            return True
        return False


class _Search:
    """One call of ``crash_everywhere``."""

    def __init__(
        self,
        saga: Saga,
        invariants: tuple[Invariant, ...],
        setup: Setup | None,
        stores: tuple[str, ...],
        meanwhile: Meanwhile | None,
        seed: int,
        secret_key: str | None,
        expect: OutcomeStatus | None,
    ) -> None:
        self._saga = saga
        self._invariants = invariants
        self._setup = setup
        self._stores = stores
        self._meanwhile = meanwhile
        self._seed = seed
        self._secret_key = secret_key
        self._expect = expect
        self._dice = random.Random(seed)  # A simulation wants repeatable dice.
        self._runs = 0
        self._crashes = 0
        self._points = 0
        self._outcomes: dict[str, int] = {}

    def report(self) -> CrashReport:
        """Return what was tried so far."""
        return CrashReport(self._runs, self._crashes, self._points, self._outcomes)

    def everywhere(self, refused_step: str | None, *, crash_twice: bool) -> None:
        """Crash at the 1st point, then at the 2nd, … until a run reaches the end untouched."""
        point = 0
        while True:
            lives = self.run((point,) if point else (), refused_step)
            if point == 0:
                self._points += lives[0]
            if point and len(lives) == 1:
                return
            if point and crash_twice:
                self.run((point, 1 + int(self._dice.random() * lives[1])), refused_step)
            point += 1
            assert self._runs < RUNS_MAX, (
                f"{type(self._saga).__name__} has too many crash points: test it in parts"
            )

    def run(self, at: tuple[int, ...], refused_step: str | None) -> list[int]:
        """Run the saga once, dying at these points; return how many points each life has passed."""
        self._runs += 1
        kind = type(self._saga)
        countdown = _Countdown(at)
        watch = Watch(refused_step)
        with (
            watched([kind], watch),
            World([kind], stores=self._stores, seed=self._seed, secret_key=self._secret_key) as world,
        ):
            prepare(world)
            if self._setup is not None:
                self._setup(world)
            try:
                outcome = world.run(self._see_to_its_end(world, countdown), within=WITHIN)
                self._check(world, outcome, refused_step)
            except Exception as broken:
                raise self._found(world, countdown, refused_step, broken) from broken
        self._crashes += len(countdown.died_at)
        status = outcome.status.value
        self._outcomes[status] = self._outcomes.get(status, 0) + 1
        return countdown.passed

    async def _see_to_its_end(self, world: World, countdown: _Countdown) -> Outcome:
        """Start the saga as a client does who does not know whether the call before arrived."""
        while True:
            node = world.open(dies_at=countdown.dies_at)
            try:
                outcome = await node.ask(self._start)
                await node.close()
            except Died:
                continue
            return outcome

    async def _start(self, node: AsyncNode) -> Outcome:
        handle = await node.start(self._saga, id=SAGA_ID)
        if self._meanwhile is not None:
            await self._meanwhile(node, handle)
        return await handle.outcome()

    def _check(self, world: World, outcome: Outcome, refused_step: str | None) -> None:
        for error in world.loop.errors:
            raise AssertionError(f"something failed unheard: {error}")
        if self._expect is not None and refused_step is None:
            assert outcome.status is self._expect, f"it ended {outcome.status.value}: {outcome.because}"
        streams = Streams(world)
        broken = [problem for _, problem in (*problems_of(streams), *effect_problems(streams))]
        assert not broken, "; ".join(broken)
        left = residue_of(world)
        assert not left, "; ".join(left)
        for invariant in self._invariants:
            answer = invariant(world)
            assert answer is not False, f"invariant {_name(invariant)} does not hold"

    def _found(
        self, world: World, countdown: _Countdown, refused_step: str | None, broken: Exception
    ) -> CrashFound:
        at = tuple(countdown.passed[: len(countdown.died_at)])
        lines = [
            f"{type(self._saga).__name__} broke a promise in run {self._runs}: {_text(broken)}",
            f"  its node died {_places(countdown, at)}",
        ]
        if refused_step is not None:
            lines.append(f"  step {refused_step!r} was made to refuse")
        replay = f"only={at!r}" + (f", refused_step={refused_step!r}" if refused_step else "")
        seed = f", seed={self._seed}" if self._seed else ""
        lines.append(f"  run just this again: crash_everywhere(…, {replay}{seed})")
        lines.append("what happened:")
        lines.append(_indented(self._story(world)))
        return CrashFound("\n".join(lines), at, refused_step)

    def _story(self, world: World) -> str:
        try:
            streams = Streams(world)
            stories = [streams.story_of(head.id) for head in streams.heads]
        except Exception as error:  # A broken journal must not hide that it is broken.
            return f"the journal cannot be read: {error}"
        return "\n".join(stories) or "nothing was ever written"


def _places(countdown: _Countdown, at: tuple[int, ...]) -> str:
    if not at:
        return "nowhere: this run was untouched"
    places = (f"at point {n} ({point})" for n, point in zip(at, countdown.died_at, strict=True))
    return ", and again ".join(places)


def _text(error: Exception) -> str:
    if isinstance(error, Stuck):
        return f"it is stuck: {error}"
    return str(error) or type(error).__name__


def _name(invariant: Any) -> str:
    return getattr(invariant, "__name__", repr(invariant))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
