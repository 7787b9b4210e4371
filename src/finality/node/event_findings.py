"""What the doctor finds of events: what is not relayed, parked or stands still, a broker that forgets."""

from __future__ import annotations

import time

from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import FinalityError
from finality.core.sentences import ago
from finality.node.async_node import AsyncNode
from finality.node.brokers import broker_at
from finality.node.finding import Finding, Level
from finality.node.projecting import ProjectionState

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
    consumers = await _consumers(node)
    findings += [*await _put_aside(node), *consumers.values()]
    return findings if broker is None else [*findings, *await _broker(broker, list(consumers))]


async def _put_aside(node: AsyncNode) -> list[Finding]:
    """Look at what consumers have parked, and who has to do something about it."""
    parked = await node.inbox.parked()
    waiting = [event for event in parked if event.status == "person"]
    if not waiting:
        return [Finding("inbox", Level.OK, f"{len(parked):,} events are parked, and none waits for a person")]
    todo = "`finality event list` says why; put it right, then `finality event retry NUMBER`, or discard"
    names = ", ".join(sorted({event.consumer for event in waiting}))
    return [Finding("inbox", Level.PROBLEM, f"{len(waiting):,} events of {names} wait for a person", todo)]


async def _consumers(node: AsyncNode) -> dict[str, Finding]:
    """Say of each consumer, by ``consumer/topic``, whether a node reads for it."""
    now, read = time.time(), dict[str, bool]()
    for progress in await (await node.opened()).home.progress():
        if "/" in progress.reader:
            is_read = progress.node is not None and progress.lease_until > now
            read[progress.reader] = is_read or read.get(progress.reader, False)
    todo = "open a node with this reaction, or nothing reacts to what is published"
    return {
        name: Finding("consumer", Level.OK, f"{name} is read")
        if is_read
        else Finding("consumer", Level.WARNING, f"no node reads {name}", todo)
        for name, is_read in sorted(read.items())
    }


async def projection_findings(node: AsyncNode) -> list[Finding]:
    """Look at how far the projections are."""
    return [_projection(state) for state in await node.projections()]


def _projection(state: ProjectionState) -> Finding:
    check = f"projection {state.name}"
    if state.pause is not None:
        pause, since = state.pause, ago(time.time() - state.pause.at)
        found = f"paused {since} by {pause.by}: {pause.because}; {state.events_behind:,} events behind"
        todo = f"`finality projection resume {state.name}`; the journal keeps what it has not passed"
        return Finding(check, Level.WARNING, found, todo)
    if state.because:
        todo = "put its function right and deploy it: it goes on there"
        return Finding(check, Level.PROBLEM, f"stuck at {state.because}", todo)
    found = f"{state.events_behind:,} events behind since {ago(state.seconds_behind)}"
    if state.node is None:
        todo = "open a node with projections=[…], or its tables stand still"
        return Finding(check, Level.WARNING, f"no node keeps it up; {found}", todo)
    if state.seconds_behind > BEHIND_SECONDS:
        todo = "it cannot follow, or has just begun: see `finality projection list` again in a minute"
        return Finding(check, Level.WARNING, found, todo)
    return Finding(check, Level.OK, found if state.events_behind else "level")


def _outbox(waiting: int, oldest: float | None, *, is_relayed: bool) -> Finding:
    if oldest is None:
        return Finding("outbox", Level.OK, "no event waits to be relayed")
    age = time.time() - oldest
    found = f"{waiting:,} events wait to be relayed, the oldest since {ago(age)}"
    if not is_relayed:
        todo = "open a node with broker=; if something else reads the outbox, this is as it should be"
        return Finding("outbox", Level.WARNING, f"{found}, and no node relays them", todo)
    if age > BEHIND_SECONDS:
        todo = "`node.health()` of the node that `finality outbox shares` names says why"
        return Finding("outbox", Level.PROBLEM, found, todo)
    return Finding("outbox", Level.OK, found)


async def _broker(url: str, consumers: list[str]) -> list[Finding]:
    lags = list[Finding]()
    try:
        broker = broker_at(url)
        await broker.open(SystemEnvironment())
        try:
            checks = await broker.health()
            for name in consumers:
                consumer, _, topic = name.partition("/")
                await broker.declare(topic)
                lag = await broker.lag(topic, consumer)
                lags.append(Finding("lag", Level.OK, f"{name} has {lag:,} events before it"))
        finally:
            await broker.close()
    except FinalityError as error:
        return [Finding("broker", Level.PROBLEM, str(error), "see that it runs and can be reached")]
    settings = [
        Finding(f"broker: {check}", Level.OK if is_good else Level.PROBLEM, found)
        for check, is_good, found in checks
    ]
    return [*settings, *lags]
