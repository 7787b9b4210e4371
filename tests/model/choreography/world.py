"""The world around a run of a choreography: services, the broker between them, whoever watches, and time.

```
    outbox ──event──▶ inbox of each consumer   An event may come at any time after it was published,
      ▲                  │                     before or behind any other one, and any number of times:
      └─answer─ reaction ┘                     that is what a crash before the acknowledgement looks like.
    effect, answers and witness: one commit (finality.runtime.inbox, as in production).
    watcher: hears the same events, and of the deadline at any moment (finality.core.choreography).
```

A technical failure is a delivery that comes later. What a person says from outside may never come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

from finality.core.backoff import FOREVER
from finality.core.choreography import NEW, Arrived, DeadlineCame, Expired, Part, RunState, Seen, Shape
from finality.core.choreography import run as core
from finality.core.envelope import Envelope
from finality.core.ids import Json
from finality.core.protocol import fold
from finality.runtime import inbox
from finality.runtime.definition import Style
from finality.runtime.inbox import Verdict
from finality.runtime.reaction import Against, ReactionCode

TOPIC, RUN, KEY = "tours", "run-1", "k"
AT = 100.0
V = TypeVar("V")
Work = Callable[[frozenset[str]], tuple[str | None, ...]]


class Event(NamedTuple):
    """A published event; *because* is what it followed from, so two of a type are told apart."""

    type: str
    because: str = ""

    @property
    def id(self) -> str:
        """Return what it is known by."""
        return f"{self.type}<{self.because}" if self.because else self.type


class Effect(NamedTuple):
    """What a reaction has left behind in its service: how often it was done, and undone."""

    done: int = 0
    undone: int = 0


class Services(NamedTuple):
    """All services and what they have published.

    Attributes:
        rows: The witnesses of all of them, as their stores hold them.
        taken: What each reaction has noted of its run: the events that it was called for.
    """

    events: tuple[Event, ...]
    rows: frozenset[tuple[tuple[str, str, str], str]]
    taken: frozenset[tuple[str, str]]
    effects: tuple[Effect, ...]

    def with_event(self, event: Event) -> Services:
        """Return them with one more event."""
        return self._replace(events=tuple(sorted({*self.events, event})))  # The same in every process.


class World(NamedTuple):
    """Everything there is: services and watcher by their numbers, since a walk hashes them a million times.

    Attributes:
        run: What the watcher knows.
        now: How many times the deadline has passed.
        reminders: The delayed events by which the watcher is to hear of it, by when they are due.
    """

    services: int
    run: int = 0
    now: int = 0
    reminders: frozenset[int] = frozenset()


class Numbers(Generic[V]):
    """Values by number, each once."""

    def __init__(self) -> None:
        self.values: list[V] = []
        self._numbers: dict[V, int] = {}

    def of(self, value: V) -> int:
        """Return the value's number."""
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Store:
    """The part of ``ports.store.LocalTransaction`` that an inbox uses; nothing is ever parked here."""

    def __init__(self, rows: frozenset[tuple[tuple[str, str, str], str]]) -> None:
        self.rows = dict(rows)

    def witness(self, transaction: str, branch: str, operation: str) -> str | None:
        return self.rows.get((transaction, branch, operation))

    def testify(self, transaction: str, branch: str, operation: str, answer: str) -> None:
        assert (transaction, branch, operation) not in self.rows, f"{branch} testifies twice of {operation}"
        self.rows[transaction, branch, operation] = answer

    def retract(self, transaction: str, branch: str, operation: str) -> None:
        self.rows.pop((transaction, branch, operation), None)

    def parked(self, reader: str, topic: str, key: str) -> list[Any]:
        return []


def says(*answers: str | None) -> Work:
    """Return work that answers any of these."""
    return lambda taken: answers


def joins(*needed: str, answer: str) -> Work:
    """Return work that answers once it was called for all events it needs, and is silent before."""
    return lambda taken: (answer,) if taken >= {*needed} else (None,)


def reaction(
    branch: str, takes: str, answers: str, work: Work,
    *, undoes: ReactionCode | None = None, unless: ReactionCode | None = None,
) -> ReactionCode:  # fmt: skip
    """Return a reaction as ``finality.react`` makes it."""
    consumer, _, name = branch.partition("/")
    other = undoes or unless
    if other is not None:
        other.is_answered_once = True
    against = None if other is None else (Against.UNDO if undoes else Against.UNLESS, other)
    made = {None if each == "None" else each: Any for each in answers.split(" | ")}
    return ReactionCode(
        name, TOPIC, consumer, work, Style.TURN, dict.fromkeys(takes.split(" | "), Any),
        {each: Any for each in made if each}, None in made, TOPIC, FOREVER, FOREVER, 1, against=against,
    )  # fmt: skip


def part_of(code: ReactionCode) -> Part:
    """Return a reaction as the shape of its choreography has it."""
    kind, other = code.against or (None, None)
    name = None if other is None else other.branch
    return Part(
        code.branch, (*code.takes,), (*code.answers,), code.may_be_silent,
        undoes=name if kind is Against.UNDO else None, unless=name if kind is Against.UNLESS else None,
    )  # fmt: skip


@dataclass
class Rules:
    """One choreography. *is_stacked*: what stands on something is undone before it, as its events say."""

    codes: tuple[ReactionCode, ...]
    fails: tuple[str, ...]
    keeps: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    is_stacked: bool = False
    shape: Shape = field(init=False)
    slots: Mapping[str, int] = field(init=False)
    services: Numbers[Services] = field(init=False)
    runs: Numbers[RunState] = field(init=False)

    def __post_init__(self) -> None:
        parts = tuple(map(part_of, self.codes))
        self.shape = Shape(
            "tour", "Begun", "Done", self.fails, parts, 60.0, "Expired", self.keeps, self.hears
        )
        self.slots = {code.branch: slot for slot, code in enumerate(self.codes)}
        self.services, self.runs = Numbers(), Numbers()
        self.served, self.tell = cache(self._served), cache(self._tell)
        self.arrived = cache(self._arrived)

    def start(self) -> World:
        """Return the world in which the first event was published."""
        nothing = tuple(Effect() for _ in self.codes)
        begun = Services((Event(self.shape.begins),), frozenset(), frozenset(), nothing)
        return World(self.services.of(begun), self.runs.of(NEW))

    def moves(self, world: World) -> Iterator[tuple[str, World]]:
        """Yield all that can happen in *world*."""
        for move, services in self.served(world.services):
            yield move, world._replace(services=services)
        for event in self.services.values[world.services].events:
            heard = self.watched(world, Arrived(self.seen(event)))
            if heard is not world:
                yield f"the watcher hears {event.id}", heard
        for due in world.reminders:
            yield self.reminded(world, due)

    def _served(self, number: int) -> list[tuple[str, int]]:
        """Return what can happen to the services, whatever the watcher knows."""
        services, found = self.services.values[number], list[tuple[str, Services]]()
        for event in services.events:
            for code in self.codes:
                if event.type in code.takes:
                    found += self.delivered(services, event, code)
        found += [
            (f"a person says {word}", services.with_event(Event(word)))
            for word in self.hears
            if Event(word) not in services.events
        ]
        return [(move, self.services.of(after)) for move, after in found if after != services]

    def delivered(
        self, services: Services, event: Event, code: ReactionCode
    ) -> Iterator[tuple[str, Services]]:
        """Yield what may come of it that an event is brought to a reaction, perhaps again."""
        store, arrived = Store(services.rows), self.arrived(event, code)
        tx: Any = store
        is_known = inbox.admit(tx, code, arrived, AT) is Verdict.KNOWN
        there = inbox.standing(tx, code, arrived, is_home=True)
        move = f"{code.branch} takes {event.id}"
        if is_known:
            yield f"{move} again", services
        elif there.verdict is Verdict.LATE:
            inbox.settle(tx, code.consumer, arrived, is_home=True)
            yield f"{move}, too late", services._replace(rows=frozenset(store.rows.items()))
        else:
            taken = services.taken | {(code.branch, event.type)}
            for answer in code.function(frozenset(type_ for branch, type_ in taken if branch == code.branch)):
                ran = self.ran(services._replace(taken=taken), event, code, answer, there.undoes)
                yield f"{move}, answers {answer}", self.concluded(ran, services, event, code, answer)

    def ran(
        self, services: Services, event: Event, code: ReactionCode, answer: str | None, undoes: Json | None
    ) -> Services:
        """Return the services with the effect of a reaction, and its answer in the outbox."""
        effects = list(services.effects)
        if code.against is None and answer not in (None, *self.fails):
            slot = self.slots[code.branch]
            effects[slot] = effects[slot]._replace(done=effects[slot].done + 1)
        elif code.against is not None and undoes is not None and undoes.split()[0] not in self.fails:
            slot = self.slots[code.against[1].branch]
            effects[slot] = effects[slot]._replace(undone=effects[slot].undone + 1)
        ran = services._replace(effects=tuple(effects))
        return ran if answer is None else ran.with_event(Event(answer, event.id))

    def concluded(
        self, ran: Services, before: Services, event: Event, code: ReactionCode, answer: str | None
    ) -> Services:
        """Return the services with the witnesses of a reaction, which stand in the commit of its effect."""
        store = Store(before.rows)
        tx: Any = store
        kept = Json(f"{answer} null") if answer is not None and code.is_answered_once else None
        inbox.conclude(tx, code, self.arrived(event, code), kept, is_home=True)
        return ran._replace(rows=frozenset(store.rows.items()))

    # ── Whoever watches ─────────────────────────────────────────────────────────────────────

    def reminded(self, world: World, due: int) -> tuple[str, World]:
        """Return that the watcher hears of the deadline, at any time after it has passed."""
        now = max(world.now, due)
        heard = world._replace(now=now, reminders=world.reminders - {due})
        signal = DeadlineCame(AT + now * self.shape.deadline_seconds)
        return f"the watcher hears that the deadline has passed {now} times", self.watched(heard, signal)

    def watched(self, world: World, signal: Arrived | DeadlineCame) -> World:
        """Return the world in which the watcher has heard something."""
        run, has_expired = self.tell(world.run, signal)
        if run == world.run:
            return world
        services, reminders = world.services, world.reminders
        is_begun = isinstance(signal, Arrived) and signal.seen.type == self.shape.begins
        if is_begun or self.runs.values[world.run] == NEW:
            reminders |= {1, 2}
        if has_expired:
            expired = self.services.values[services].with_event(Event(self.shape.expires, "deadline"))
            services, reminders = self.services.of(expired), reminders | {world.now + 1}
        return World(services, run, world.now, reminders)

    def _tell(self, run: int, signal: Arrived | DeadlineCame) -> tuple[int, bool]:
        """Return the number of the state after *signal*, in whatever order its events were seen."""
        before = self.runs.values[run]
        told = core.decide(self.shape, before, signal)
        after = fold(core.evolve, before, told)
        what = signal.seen.id if isinstance(signal, Arrived) else "the deadline"
        assert core.decide(self.shape, after, signal) == (), f"the watcher hears {what} twice, and notes it"
        after = replace(after, seen=tuple(sorted(after.seen, key=lambda seen: seen.id)))
        return self.runs.of(after), any(isinstance(each, Expired) for each in told)

    @staticmethod
    @cache
    def seen(event: Event) -> Seen:
        """Return an event as the watcher sees it."""
        return Seen(event.type, event.id, "shop", KEY, TOPIC, RUN, AT, event.because or None)

    @staticmethod
    def _arrived(event: Event, code: ReactionCode) -> inbox.Arrived:
        envelope = Envelope(event.id, "shop", event.type, TOPIC, b"", KEY, AT, correlation_id=RUN)
        return inbox.Arrived(code.reader, envelope, None)
