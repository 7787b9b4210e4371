"""What the promises of NATS JetStream rest on.

A server acknowledges an event before it is on disk, unless ``sync_interval`` is ``always``. Servers tell
that to users of the system account only, so those are asked where the URL names one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from nats.js import api

from finality.adapters.nats.line import ERRORS, Line, connect_as
from finality.adapters.nats.topics import TOPIC

VERSION_MIN = (2, 12, 1)  # The first whose atomic batches know repeats.
SETTINGS = "$SYS.REQ.SERVER.PING.JSZ"
QUIET_SECONDS = 0.3  # Servers of a cluster that have not answered by then are out of reach.
SERVERS_MAX = 100
REPLICAS_SAFE = 3  # Two of three have an event before it is acknowledged.

Finding = tuple[str, bool, str]


async def findings(line: Line) -> list[Finding]:
    """Ask the servers what the promises rest on."""
    infos = await _streams(line)
    found = [_version(line), _storage(line, infos), _replicas(line, infos), await _sync(line)]
    return [*found, *_windows(line, infos)]


async def _streams(line: Line) -> list[api.StreamInfo]:
    """Return the streams of topics, whoever has declared them."""
    found: list[api.StreamInfo] = []
    offset = 0
    async with line.asking():
        while page := await line.streams.streams_info(offset):
            found += [info for info in page if TOPIC in (info.config.metadata or {})]
            offset += len(page)
    return found


def _version(line: Line) -> Finding:
    version = line.client.connected_server_version
    numbers = (version.major, version.minor, version.patch)
    found = f"NATS {'.'.join(map(str, numbers))}"
    if numbers >= VERSION_MIN:
        return "version", True, found
    oldest = ".".join(map(str, VERSION_MIN))
    return "version", False, f"{found} publishes event by event, which is slow; {oldest} takes whole batches"


def _storage(line: Line, infos: Sequence[api.StreamInfo]) -> Finding:
    storages = {str(info.config.storage) for info in infos} | {line.address.storage}
    if storages == {"file"}:
        return "storage", True, "storage = file"
    return (
        "storage",
        False,
        "storage = memory, so servers that stop forget what they acknowledged; declare topics with "
        "storage=file, and re-send from the outbox what was lost",
    )


def _replicas(line: Line, infos: Sequence[api.StreamInfo]) -> Finding:
    wanted = line.address.replicas
    few = [info.config.name for info in infos if (info.config.num_replicas or 1) < wanted]
    if few:
        return "replicas", False, f"stream {few[0]} has fewer than {wanted} replicas; edit it"
    behind = [
        f"{peer.name} of stream {info.config.name}"
        for info in infos
        for peer in (info.cluster.replicas or [] if info.cluster else [])
        if peer.offline or not peer.current
    ]
    if behind:
        return "replicas", False, f"replica {behind[0]} is out of reach or behind; see that its server runs"
    safe = "" if wanted >= REPLICAS_SAFE else ", so events are as safe as one disk"
    return "replicas", True, f"replicas = {wanted}{safe}"


async def _sync(line: Line) -> Finding:
    if line.address.system is None:
        return (
            "sync",
            line.address.replicas >= REPLICAS_SAFE,
            "sync_interval is not known: only a user of the system account sees it; name one with "
            "system=user:password in the URL, and set it to always",
        )
    try:
        settings = await _settings(line, *line.address.system)
    except ERRORS as error:
        return "sync", False, f"sync_interval is not known: the system account is closed: {error}"
    late = [server for server, config in settings.items() if not config.get("sync_always")]
    if not late:
        return "sync", bool(settings), f"sync_interval = always, on {len(settings)} servers"
    seconds = settings[late[0]].get("sync_interval", 0) / 1e9
    return (
        "sync",
        False,
        f"sync_interval = {seconds:g} s on server {late[0]}, so a computer that stops forgets what it "
        "acknowledged; set it to always",
    )


async def _settings(line: Line, user: str, password: str) -> dict[str, dict[str, Any]]:
    """Return how JetStream is set up on each server that answers."""
    client = await connect_as(line.address, user, password)
    settings: dict[str, dict[str, Any]] = {}
    try:
        answers = client.new_inbox()
        inbox = await client.subscribe(answers)
        await client.publish(SETTINGS, b"{}", reply=answers)
        has_others = True
        with suppress(asyncio.TimeoutError):
            while has_others and len(settings) < SERVERS_MAX:
                answer = json.loads((await inbox.next_msg(QUIET_SECONDS)).data)
                settings[answer["server"]["name"]] = answer["data"].get("config", {})
                has_others = "cluster" in answer["server"]
    finally:
        await client.close()
    return settings


def _windows(line: Line, infos: Sequence[api.StreamInfo]) -> list[Finding]:
    wanted = line.address.window_seconds
    shortest = min((info.config.duplicate_window for info in infos), default=wanted)
    if shortest >= wanted:
        return [("window", True, f"repeats are known for {shortest:g} seconds")]
    found = f"repeats are known for {shortest:g} seconds, and {wanted} were asked for; edit the stream"
    return [("window", False, found)]
