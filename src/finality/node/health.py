"""How a node and its stores are, in one value: for a health page, a metric, an alarm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from finality.core.breaker import Breaker, BreakerPolicy, evolve
from finality.core.errors import Unavailable
from finality.core.ids import NodeId
from finality.core.protocol import fold
from finality.node.projecting import ProjectionState
from finality.node.views import Views
from finality.ports.home import HEADS_MAX, Head
from finality.runtime.breakers import BREAKER_PREFIX
from finality.runtime.context import Context
from finality.runtime.link import Link
from finality.runtime.reactions import Reactions
from finality.runtime.reader import Reader


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and what was found."""

    store: str
    name: str
    is_good: bool
    finding: str


@dataclass(frozen=True, slots=True)
class Health:
    """How a node and its stores are.

    Attributes:
        in_flight: Sagas that this node has in hand.
        nodes: The nodes that are alive, this one included unless it is an observer.
        checks: What the home store says of its version and durability.
        open_breakers: The circuit breakers that keep calls away, and why.
        readers: What a reader of this node cannot do at the moment, such as relay to the broker, and why.
        parked: How many events each reader has put aside, at most a thousand of all.
        undriven: Open transactions that no live node can drive, at most a thousand of them.
        statuses: How many transactions there are in each status.
        slowest_turns: By store, who held its write turn longest and for how many seconds, if anybody
            held it for longer than a tenth of a second.
        lags: By ``consumer/topic`` of this node, how many events the consumer has not dealt with yet.
        projections: Those that have begun in its stores, and how far they are.
    """

    node: NodeId
    in_flight: int
    nodes: int
    checks: tuple[Check, ...]
    open_breakers: dict[str, str]
    readers: dict[str, str]
    parked: dict[str, int]
    undriven: tuple[Head, ...]
    statuses: dict[str, int]
    slowest_turns: dict[str, tuple[str, float]]
    lags: dict[str, int]
    projections: tuple[ProjectionState, ...]

    @property
    def is_good(self) -> bool:
        """Say whether all is well: every check holds, nothing is stuck, parked, undriven or held up."""
        waits_for_person = self.statuses.get("stuck", 0) + self.statuses.get("parked", 0)
        is_stuck = any(each.because for each in self.projections)
        is_held_up = self.undriven or self.readers or self.parked or is_stuck
        return not waits_for_person and not is_held_up and all(check.is_good for check in self.checks)


async def health_of(
    context: Context,
    views: Views,
    *,
    in_flight: int,
    reactions: Reactions,
    readers: Sequence[Reader],
    link: Link | None,
    projections: Sequence[ProjectionState],
) -> Health:
    """Look at everything, and change nothing."""
    home, now = context.home, context.environment.now()
    stores = (home, *context.stores.values())
    statuses: Counter[str] = Counter()
    for (_, status), count in (await home.counts()).items():
        statuses[status] += count
    return Health(
        node=context.node,
        in_flight=in_flight,
        nodes=sum(row.lease_until > now for row in await home.nodes()),
        checks=(
            *(Check(home.name, *found) for found in await home.health()),
            *([] if link is None else await _broker_checks(link)),
        ),
        readers={
            f"{reader.name} of {reader.store.name}, share {share}": why
            for reader in readers
            for share, why in reader.trouble.items()
        }
        | {reader: each.trouble for reader, each in reactions.consumers.items() if each.trouble},
        parked=dict(Counter([row.reader for store in stores for row in await store.parked_events()])),
        open_breakers=await _open_breakers(context),
        undriven=tuple(await views.undriven(limit=HEADS_MAX)),
        statuses=dict(statuses),
        slowest_turns={store.name: store.slowest for store in stores if store.slowest[1]},
        lags=await reactions.lags(),
        projections=tuple(projections),
    )


async def _broker_checks(link: Link) -> list[Check]:
    try:
        broker = await link.opened()
        return [Check(broker.name, *found) for found in await broker.health()]
    except Unavailable as error:
        return [Check(link.name, "broker", False, str(error))]


async def _open_breakers(context: Context) -> dict[str, str]:
    found = {}
    for stream in await context.home.streams(BREAKER_PREFIX):
        told = [recorded.event for recorded in await context.home.read(stream)]
        breaker = fold(evolve, Breaker(BreakerPolicy()), told)
        if not breaker.is_closed:
            found[stream.removeprefix(BREAKER_PREFIX)] = breaker.because
    return found
