"""The world around a three-phase commit: a network that crashes leave whole, or one that splits.

```
    coordinator ──prepare, pre-commit, outcome──▶ a, b, c
         ▲                                        │  │  │
         └───────── votes, standings ─────────────┴──┴──┘   agents ask each other, too
```

Whatever has been sent may arrive at any time from then on, any number of times: after its sender
has crashed, after its receiver has come back. Everybody is asked all the time where it stands, so
that whatever was true once may be heard by anybody later. Whoever waits for somebody that has
crashed will notice, at any time; before a split nobody is taken for dead who is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from finality.core.three_phase import agent as agents
from finality.core.three_phase import coordinator as coordinators
from finality.core.three_phase.standing import COORDINATOR, AskPreCommit, AskStanding, Report, Standing
from finality.core.two_phase import Decision, Vote
from tests.model.three_phase.sites import NEW, Sites

DOWN = -1
LATE = "late: "


class Site(NamedTuple):
    """Somebody's memory, and what a crash leaves of it: numbers of states."""

    at: int = NEW
    kept: int = NEW


class Parcel(NamedTuple):
    """Something on its way: *what* is a command, a vote or a report, which is for everybody."""

    source: int
    target: int | None
    what: Any


class World(NamedTuple):
    """Everything there is.

    Attributes:
        sites: The coordinator, then the agents.
        parcels: A bit for the number of each that has ever been sent.
        side: Once the network has split, a bit for each site on the coordinator's side.
        crashes: How many more there will be.
    """

    sites: tuple[Site, ...]
    parcels: int = 0
    side: int = 0
    crashes: int = 0

    def with_site(self, place: int, site: Site, sent: int = 0) -> World:
        sites = (*self.sites[:place], site, *self.sites[place + 1 :])
        return World(sites, self.parcels | sent, self.side, self.crashes)


Moves = Iterator[tuple[str, World]]
Changes = list[tuple[str, Site, int]]


@dataclass
class Rules:
    """What may happen in one world.

    Attributes:
        size: How many agents there are.
        has_voted: All have voted yes before it begins.
        may_return: Whoever has crashed may come back.
    """

    size: int = 2
    crashes: int = 0
    may_split: bool = False
    has_voted: bool = False
    may_return: bool = True
    names: tuple[str, ...] = field(init=False)
    kinds: tuple[Sites[Any], ...] = field(init=False)

    def __post_init__(self) -> None:
        self.names = (COORDINATOR, *"abcd"[: self.size])
        agent: Sites[Any] = _sites(agents)
        self.kinds = (_sites(coordinators), *(agent for _ in self.names[1:]))
        self.parcels: list[Parcel] = []
        self._number_of: dict[Parcel, int] = {}
        self._changes: dict[tuple[int, int, Site], Changes] = {}
        self._sent: dict[tuple[int, int], int] = {}

    def start(self) -> World:
        """Return the world in which the block has ended."""
        world = World(tuple(Site() for _ in self.names), crashes=self.crashes)
        begun = self.told(0, world.sites[0], coordinators.Begin(self.names[1:]))
        world = world.with_site(0, begun, self.sent(0, begun.at))
        return self.voted(world) if self.has_voted else world

    def voted(self, world: World) -> World:
        for place, name in enumerate(self.names[1:], start=1):
            prepared = self.told(place, world.sites[place], agents.VoteYes(name, self.names[1:]))
            heard = self.told(0, world.sites[0], coordinators.Heard(name, Vote.YES))
            vote = self.bit(Parcel(place, 0, Vote.YES))
            world = world.with_site(place, prepared, self.sent(place, prepared.at) | vote)
            world = world.with_site(0, heard, self.sent(0, heard.at))
        return world

    def moves(self, world: World) -> Moves:
        """Yield all that can happen in *world*."""
        for place, site in enumerate(world.sites):
            if site.at == DOWN:
                if self.may_return:
                    yield from self.back(world, place)
                continue
            yield from self.silences(world, place)
            if world.crashes:
                crashed = world.with_site(place, Site(DOWN, site.kept))
                yield f"{self.name(place)} crashes", crashed._replace(crashes=world.crashes - 1)
        for number, parcel in enumerate(self.parcels[: world.parcels.bit_length()]):
            if world.parcels >> number & 1:
                yield from self.arrives(world, number, parcel)
        if self.may_split and not world.side:
            yield from self.splits(world)

    def arrives(self, world: World, number: int, parcel: Parcel) -> Moves:
        late = "" if self.is_sent_again(world, number) else LATE
        for place, site in enumerate(world.sites):
            is_for = place != parcel.source if parcel.target is None else place == parcel.target
            if is_for and site.at != DOWN and self.is_heard(world, parcel.source, place):
                for move, after, sent in self.delivered(number, place, site):
                    yield late + move, world.with_site(place, after, sent)

    def name(self, place: int) -> str:
        return self.names[place] or "the coordinator"

    def state(self, place: int, site: Site) -> Any:
        """Return what somebody knows, or would know again."""
        return self.kinds[place].states[site.kept if site.at == DOWN else site.at]

    # ── Sites ───────────────────────────────────────────────────────────────────────────────

    def told(self, place: int, site: Site, signal: Any) -> Site:
        events, after = self.kinds[place].tell(site.at, signal)
        return Site(after, self.kinds[place].keep(site.kept, events)) if events else site

    def sent(self, place: int, at: int) -> int:
        """Return what somebody who is so far sends, again and again, and says when it is asked."""
        bits = self._sent.get((place, at))
        if bits is None:
            state = self.kinds[place].states[at]
            can_say = place == 0 or state.standing is not None
            bits = self.bit(Parcel(place, None, state.report)) if can_say else 0
            for command in self.kinds[place].commands[at]:
                if not isinstance(command, agents.FinishBranch):
                    target = command.peer if isinstance(command, AskStanding) else command.agent
                    bits |= self.bit(Parcel(place, self.names.index(target), command))
            self._sent[place, at] = bits
        return bits

    def bit(self, parcel: Parcel) -> int:
        number = self._number_of.setdefault(parcel, len(self.parcels))
        if number == len(self.parcels):
            self.parcels.append(parcel)
        return 1 << number

    def silences(self, world: World, place: int) -> Moves:
        """Somebody waits for one who does not answer any more."""
        site = world.sites[place]
        state = self.state(place, site)
        for other in state.agents if place == 0 else (COORDINATOR, *state.others):
            silent = self.names.index(other)
            if world.sites[silent].at == DOWN or not self.is_heard(world, silent, place):
                after = self.told(place, site, (agents if place else coordinators).Silence(other))
                if after != site:
                    move = f"{self.name(place)} takes {self.name(silent)} for dead"
                    yield move, world.with_site(place, after, self.sent(place, after.at))

    def back(self, world: World, place: int) -> Moves:
        kept = world.sites[place].kept
        awake = Site(kept, kept)
        if place:
            awake = self.told(place, awake, agents.ComeBack())
        nobody = ", as no agent is left that was never away"
        why = nobody if place and not self.has_survivor(world) else ""
        move = f"{self.name(place)} comes back{why}"
        yield move, world.with_site(place, awake, self.sent(place, awake.at))

    def has_survivor(self, world: World) -> bool:
        return any(
            site.at not in (DOWN, NEW) and not self.state(place, site).was_away
            for place, site in enumerate(world.sites)
            if place
        )

    # ── The network ─────────────────────────────────────────────────────────────────────────

    def is_heard(self, world: World, source: int, target: int) -> bool:
        return not world.side or (world.side >> source & 1) == (world.side >> target & 1)

    def is_sent_again(self, world: World, number: int) -> bool:
        """Say whether what is lost of a parcel will be made up for: nobody may wait for other things."""
        source, _, what = self.parcels[number]
        at = world.sites[source].at
        return at != DOWN and (isinstance(what, Vote | Report) or bool(self.sent(source, at) >> number & 1))

    def splits(self, world: World) -> Moves:
        for side in range(1, 2 ** len(self.names) - 1, 2):
            beyond = [name for place, name in enumerate(self.names) if not side >> place & 1]
            yield f"the network splits: {' and '.join(beyond)} alone", world._replace(side=side)

    def delivered(self, number: int, place: int, site: Site) -> Changes:
        """Return what the arrival of a parcel may change: its target, and what that sends."""
        changes = self._changes.get((number, place, site))
        if changes is None:
            changes = self._changes[number, place, site] = [
                (move, after, sent | self.sent(place, after.at))
                for move, after, sent in self.arrivals(self.parcels[number], place, site)
                if after != site or sent
            ]
        return changes

    def arrivals(self, parcel: Parcel, place: int, site: Site) -> Changes:
        source, _, what = parcel
        name, other = self.name(place), self.name(source)
        match what:
            case coordinators.Prepare():
                return self.votes(place, site)
            case AskPreCommit(_, term):
                after = self.told(place, site, agents.PreCommitAsked(term))
                return [(f"{other} asks {name} to pre-commit", after, 0)]
            case AskStanding(_, term):
                after = self.told(place, site, agents.StandingAsked(term)) if place else site
                return [(f"{other} asks {name} where it stands", after, 0)]
            case coordinators.TellOutcome(_, decision):
                after = self.told(place, site, agents.Outcome(decision))
                return [(f"{other} tells {name} to {decision.value}", after, 0)]
            case Vote():
                after = self.told(place, site, coordinators.Heard(self.names[source], what))
                return [(f"{name} hears that {other} votes {what.value}", after, 0)]
            case Report():
                heard = (agents if place else coordinators).Answered(self.names[source], what)
                move = f"{name} hears that {other} is {what.standing.value}"
                return [(move, self.told(place, site, heard), 0)]
        raise AssertionError(what)

    def votes(self, place: int, site: Site) -> Changes:
        yes = self.told(place, site, agents.VoteYes(self.names[place], self.names[1:]))
        is_late = self.state(place, yes).standing is Standing.ABORTED
        answers = [(Vote.NO if is_late else Vote.YES, yes)]
        if self.state(place, site).standing is None:
            answers.append((Vote.NO, self.told(place, site, agents.Outcome(Decision.ABORT))))
        return [
            (f"{self.name(place)} votes {vote.value}", after, self.bit(Parcel(place, 0, vote)))
            for vote, after in answers
        ]


def _sites(module: Any) -> Sites[Any]:
    return Sites(module.NEW, module.decide, module.evolve, module.outstanding, module.is_durable)
