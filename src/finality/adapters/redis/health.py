"""What the promises of Redis or Valkey rest on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.exceptions import ResponseError

from finality.adapters.redis.line import Line

VERSION_MIN = (7, 0)  # The first whose groups know how far behind they are.
SETTINGS = ("appendfsync", "maxmemory-policy")

Finding = tuple[str, bool, str]


async def findings(line: Line) -> list[Finding]:
    """Ask the server what the promises rest on."""
    with line.asking():
        server: Mapping[str, Any] = await line.client.info()
        settings = await _settings(line)
    return [
        _version(server),
        _file(server),
        _sync(settings),
        _memory(settings),
        _replicas(server, line.address.replicas),
    ]


async def _settings(line: Line) -> Mapping[str, str]:
    """Return the settings that its user may see."""
    try:
        found: Any = await line.client.config_get(*SETTINGS)
    except ResponseError:  # A server that others run may keep them to itself.
        return {}
    return dict(found)


def _version(server: Mapping[str, Any]) -> Finding:
    speaks = str(server["redis_version"])
    own = server.get("valkey_version")
    found = f"Valkey {own}, which speaks Redis {speaks}" if own else f"Redis {speaks}"
    if tuple(map(int, speaks.split(".")[:2])) >= VERSION_MIN:
        return "version", True, found
    return "version", False, f"{found}; {'.'.join(map(str, VERSION_MIN))} is the oldest that is known to do"


def _file(server: Mapping[str, Any]) -> Finding:
    if not server.get("aof_enabled"):
        return (
            "appendonly",
            False,
            "appendonly = no, so a server that stops forgets what it acknowledged; set it to yes",
        )
    if server.get("aof_last_write_status") != "ok":
        return (
            "appendonly",
            False,
            "the last write to the append-only file failed; see that its disk has room",
        )
    return "appendonly", True, "appendonly = yes"


def _sync(settings: Mapping[str, str]) -> Finding:
    setting = settings.get("appendfsync")
    if setting == "always":
        return "appendfsync", True, "appendfsync = always"
    if setting is None:
        return "appendfsync", False, "appendfsync is not known: CONFIG GET is refused; see that it is always"
    return (
        "appendfsync",
        False,
        f"appendfsync = {setting}, so a server that is killed may forget what it acknowledged; set it to "
        "always",
    )


def _memory(settings: Mapping[str, str]) -> Finding:
    setting = settings.get("maxmemory-policy")
    if setting == "noeviction":
        return "maxmemory-policy", True, "maxmemory-policy = noeviction"
    if setting is None:
        return (
            "maxmemory-policy",
            False,
            "maxmemory-policy is not known: CONFIG GET is refused; see that it is noeviction",
        )
    return (
        "maxmemory-policy",
        False,
        f"maxmemory-policy = {setting}, so a server that is full forgets whole topics; set it to noeviction",
    )


def _replicas(server: Mapping[str, Any], wanted: int) -> Finding:
    if server.get("role") != "master":
        return "replicas", False, "it is a replica, which takes no events; name its primary"
    there = int(server.get("connected_slaves", 0))
    if there < wanted:
        return "replicas", False, f"{there} replicas are connected, and {wanted} have to have each event"
    if there and not wanted:
        return (
            "replicas",
            False,
            f"{there} replicas are connected, and none has to have an event: one that takes over may lack "
            "what was acknowledged of late; say wait=1 in the URL",
        )
    if not there:
        return "replicas", True, "no replica is connected, so events are as safe as one server"
    return "replicas", True, f"{wanted} replicas have each event before it is acknowledged, of {there}"
