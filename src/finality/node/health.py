"""How a node and its stores are, in one value: for a health page, a metric, an alarm."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from finality.core.breaker import Breaker, BreakerPolicy, evolve
from finality.core.ids import NodeId
from finality.core.protocol import fold
from finality.node.views import Views
from finality.ports.home import HEADS_MAX, Head
from finality.runtime.breakers import BREAKER_PREFIX
from finality.runtime.context import Context


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
        undriven: Open transactions that no live node can drive, at most a thousand of them.
        statuses: How many transactions there are in each status.
        slowest_turns: By store, who held its write turn longest and for how many seconds, if anybody
            held it for longer than a tenth of a second.
    """

    node: NodeId
    in_flight: int
    nodes: int
    checks: tuple[Check, ...]
    open_breakers: dict[str, str]
    undriven: tuple[Head, ...]
    statuses: dict[str, int]
    slowest_turns: dict[str, tuple[str, float]]

    @property
    def is_good(self) -> bool:
        """Say whether nothing needs a person: every check holds, nothing is stuck, parked or undriven."""
        waits_for_person = self.statuses.get("stuck", 0) + self.statuses.get("parked", 0)
        return not waits_for_person and not self.undriven and all(check.is_good for check in self.checks)


async def health_of(context: Context, views: Views, *, in_flight: int) -> Health:
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
        checks=tuple(Check(home.name, *found) for found in await home.health()),
        open_breakers=await _open_breakers(context),
        undriven=tuple(await views.undriven(limit=HEADS_MAX)),
        statuses=dict(statuses),
        slowest_turns={store.name: store.slowest for store in stores if store.slowest[1]},
    )


async def _open_breakers(context: Context) -> dict[str, str]:
    found = {}
    for stream in await context.home.streams(BREAKER_PREFIX):
        told = [recorded.event for recorded in await context.home.read(stream)]
        breaker = fold(evolve, Breaker(BreakerPolicy()), told)
        if not breaker.is_closed:
            found[stream.removeprefix(BREAKER_PREFIX)] = breaker.because
    return found
