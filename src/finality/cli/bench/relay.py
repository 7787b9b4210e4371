"""The relay end to end, outbox to consumer, beside the client's own bare publish of the same payloads.

The bare one is a module ``bare_NAME`` beside this one, with a coroutine function
``publish(url, topic, events)``: it stores events as fast as the client of that broker can, in batches, and
returns when the broker has acknowledged all of them. They carry what ours carry: a key, the attributes of
CloudEvents, and the data.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import finality
from finality.cli.bench.bare import bare_events
from finality.cli.bench.child import child
from finality.cli.bench.machine import description
from finality.node.brokers import ADAPTERS, broker_at

KEYS = 1_000
PAYLOAD = "x" * 200
FILLED_AT_ONCE = 500
PINGS = 400  # In the last round: four of them are later than the 99th percentile.
PING_SECONDS = 0.05
SETTLE_SECONDS = 1.0
IDLE_SECONDS = 5.0
METHOD = (
    "events of 200 bytes and a thousand keys, published before a node with the broker opens; its relay and a "
    "consumer are two processes; then the same events, keys and CloudEvents attributes with them, by the "
    "broker's own client, in batches of 500 and as durably, alone: nobody consumes them, none is known again"
)


@dataclass(frozen=True)
class Placed:
    """What is published."""

    at: float
    padding: str = PAYLOAD


async def run(
    directory: Path, store: str, broker: str, events: int, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure relay and bare publish in turn, then the latency and the CPU of an idle system."""
    broker_at(broker)  # Whatever is wrong with it is said here, and not by a process of the bench.
    machine = description(directory)
    relayed, bare = [], []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: {events} events")
        pings = PINGS if number == rounds - 1 else 0
        relayed.append(await _relayed(store, broker, f"bench-{number}-{int(time.time())}", events, pings))
        bare.append(await _bare(broker, f"bare-{number}-{int(time.time())}", events))
    say("an idle system")
    results: dict[str, Any] = {
        "relayed a second": round(statistics.median(each["rate"] for each in relayed)),
        "CPU µs an event, relay": round(statistics.median(each["cpu"] for each in relayed), 1),
        "publish to consume, p50 ms": _percentile(relayed[-1]["late"], 0.5),
        "publish to consume, p99 ms": _percentile(relayed[-1]["late"], 0.99),
        "CPU % of an idle node, without a broker": await _idle(store, None),
        "CPU % of an idle node, with one": await _idle(store, broker),
    }
    if all(bare):
        pairs = [(mine["rate"], its) for mine, its in zip(relayed, bare, strict=True) if its]
        results |= {
            "bare a second": round(statistics.median(its["rate"] for _, its in pairs)),
            "CPU µs an event, bare": round(statistics.median(its["cpu"] for _, its in pairs), 1),
            "ratio": round(statistics.median(rate / its["rate"] for rate, its in pairs), 2),
        }
    return {
        "bench": "relay",
        "machine": machine | {"broker": broker.partition("://")[0]},
        "method": METHOD,
        "results": results,
        "checked": {"events": events * rounds, "each delivered": True},
    }


def _percentile(seconds: list[float], part: float) -> float:
    return round(sorted(seconds)[int(len(seconds) * part)] * 1_000, 2)


async def _relayed(store: str, broker: str, topic: str, events: int, pings: int) -> dict[str, Any]:
    async with finality.open_async(store) as node:
        for begin in range(0, events, FILLED_AT_ONCE):
            numbers = range(begin, min(begin + FILLED_AT_ONCE, events))
            await node.run(partial(_fill, topic=topic, numbers=numbers))
    async with child("finality.cli.bench.relay_consumer", broker, topic, events, pings) as consumer:
        await consumer.said()
        begun, cpu = time.time(), time.process_time()
        async with finality.open_async(store, broker=broker) as node:
            done = await consumer.said()
            used = time.process_time() - cpu
            if pings:
                await _settled()
            for _ in range(pings):
                await asyncio.sleep(PING_SECONDS)
                await node.run(lambda tx: tx.publish(topic, Placed(time.time()), key="ping"))
            late = (await consumer.said())["late"]
    return {"rate": events / (done["done_at"] - begun), "cpu": used / events * 1e6, "late": late}


async def _settled() -> None:
    """Wait until the system is idle: what it has written by the megabyte is on its way to the disk yet."""
    await asyncio.to_thread(os.sync)
    await asyncio.sleep(SETTLE_SECONDS)


def _fill(tx: finality.SyncTx, topic: str, numbers: range) -> None:
    for number in numbers:
        tx.publish(topic, Placed(0.0), key=f"k{number % KEYS}")


async def _bare(broker: str, topic: str, events: int) -> dict[str, float] | None:
    adapter, _ = ADAPTERS[broker.partition("://")[0]]
    if adapter == "memory":
        return None  # It has no client of its own.
    publish = import_module(f"finality.cli.bench.bare_{adapter}").publish
    published = bare_events({"at": 0.0, "padding": PAYLOAD}, Placed.__name__, events, KEYS)
    begun, cpu = time.perf_counter(), time.process_time()
    await publish(broker, topic, published)
    used = time.process_time() - cpu
    return {"rate": events / (time.perf_counter() - begun), "cpu": used / events * 1e6}


async def _idle(store: str, broker: str | None) -> float:
    async with finality.open_async(store, broker=broker):
        await asyncio.sleep(SETTLE_SECONDS)
        cpu = time.process_time()
        await asyncio.sleep(IDLE_SECONDS)
        return round((time.process_time() - cpu) / IDLE_SECONDS * 100, 2)
