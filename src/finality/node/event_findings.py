"""What the doctor finds of events: an outbox that nobody relays, what is parked, a broker that forgets."""

from __future__ import annotations

import time

from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import FinalityError
from finality.core.sentences import ago
from finality.node.async_node import AsyncNode
from finality.node.brokers import broker_at
from finality.node.finding import Finding, Level

BEHIND_SECONDS = 60.0  # A relay needs milliseconds; a broker that was restarted, some seconds.


async def event_findings(node: AsyncNode, broker: str | None) -> list[Finding]:
    """Look at the home's outbox, and at the broker if its URL is given."""
    outbox = await node.outbox()
    shares = await outbox.shares()
    waiting = sum(share.waiting for share in shares)
    oldest = min((share.oldest_at for share in shares if share.oldest_at is not None), default=None)
    findings = [_outbox(waiting, oldest, is_relayed=any(share.node for share in shares))]
    parked = await outbox.parked()
    if parked:
        todo = (
            "`finality outbox parked` says why; put it right, then `finality outbox retry PLACE`, or discard"
        )
        findings.append(Finding("outbox parked", Level.PROBLEM, f"{len(parked):,} events", todo))
    return findings if broker is None else [*findings, *await _broker(broker)]


def _outbox(waiting: int, oldest: float | None, *, is_relayed: bool) -> Finding:
    if oldest is None:
        return Finding("outbox", Level.OK, "no event waits to be relayed")
    age = time.time() - oldest
    found = f"{waiting:,} events wait to be relayed, the oldest for {ago(age)}"
    if not is_relayed:
        todo = "open a node with broker=; if something else reads the outbox, this is as it should be"
        return Finding("outbox", Level.WARNING, f"{found}, and no node relays them", todo)
    if age > BEHIND_SECONDS:
        todo = "`node.health()` of the node that `finality outbox shares` names says why"
        return Finding("outbox", Level.PROBLEM, found, todo)
    return Finding("outbox", Level.OK, found)


async def _broker(url: str) -> list[Finding]:
    broker = broker_at(url)
    try:
        await broker.open(SystemEnvironment())
        try:
            checks = await broker.health()
        finally:
            await broker.close()
    except FinalityError as error:
        return [Finding("broker", Level.PROBLEM, str(error), "see that it runs and can be reached")]
    return [
        Finding(f"broker: {check}", Level.OK if is_good else Level.PROBLEM, found)
        for check, is_good, found in checks
    ]
