"""The doctor: what is wrong with a store and its nodes, or soon will be, and what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from finality.core.breaker import Breaker, BreakerPolicy, evolve
from finality.core.errors import FinalityError, Unavailable
from finality.core.protocol import fold
from finality.node.async_node import AsyncNode
from finality.node.brokers import url_beside
from finality.node.event_findings import event_findings, projection_findings
from finality.node.finding import Finding, Level
from finality.node.opening import POSTGRES, open_async, participant_at, path_of
from finality.ports.home import Head, NodeRow
from finality.ports.participant import Branch, Participant
from finality.runtime.breakers import BREAKER_PREFIX

SKEW_SECONDS = 2.0  # Clocks that are kept by NTP differ by milliseconds.
LEASE_SECONDS_MAX = 600.0  # A lease that ends later was written by another clock.
DISK_BYTES_SOON = 1 << 30  # 1 GiB: a day of a busy node.
DISK_BYTES_MIN = 64 << 20  # 64 MiB: the write-ahead log alone may take that.
NETWORK_FILE_SYSTEMS = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs"})
IN_DOUBT_SOON = timedelta(minutes=1)  # A node needs seconds, so one is missing.
SHOWN_MAX = 5


async def examine(
    url: str,
    participants: Mapping[str, str] | None = None,
    broker: str | None = None,
    stores: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Look at the store at *url*, the nodes that share it, *participants* and a *broker*; change nothing.

    Args:
        stores: Others beside it, by name, with their projections.
        participants: Their URLs, by the names that decisions know them by.

    Raises:
        DefinitionError: *url* names no store, a participant's URL nothing that can vote, or the
            broker's none.
    """
    findings = [_python()]
    given = [participant_at(name, each) for name, each in (participants or {}).items()]
    try:
        async with open_async(
            url, stores=stores, participants=given, is_observer=True, must_exist=True
        ) as node:
            findings += await (_server(node) if url.startswith(POSTGRES) else _file(node, path_of(url)))
            findings += await _sagas(node)
            findings.append(await _breakers(node))
            for participant in given:
                findings += await _participant(participant)
            findings += await _in_doubt(node) if given else []
            findings += await event_findings(node, broker or _broker_beside(url))
            findings += await projection_findings(node)
    except (FinalityError, OSError) as error:
        findings.append(Finding("store", Level.PROBLEM, str(error)))
    return findings


def _broker_beside(url: str) -> str | None:
    """Return the URL of the broker that the store's nodes have made for themselves, if they have."""
    beside = url_beside(url)
    return beside if beside is not None and path_of(beside).exists() else None


# ── The machine and the file ────────────────────────────────────────────────────────────────


def _python() -> Finding:
    from finality import __version__

    return Finding("version", Level.OK, f"Finality {__version__} on Python {sys.version.split()[0]}")


async def _server(node: AsyncNode) -> list[Finding]:
    todo = "the finding says what to do; it is the server's setting"
    findings = [
        Finding(check, Level.OK if is_good else Level.PROBLEM, found, "" if is_good else todo)
        for check, is_good, found in await (await node.opened()).home.health()
    ]
    clocks = await _future(node)
    return [*findings, *(clocks or [Finding("clock", Level.OK, "agrees with the journal and the nodes")])]


async def _file(node: AsyncNode, path: Path) -> list[Finding]:
    findings = [*_store(path), *await _database(node), _schema(path), _disk(path), *_file_system(path)]
    return findings + await _clocks(node, path)


def _store(path: Path) -> Iterator[Finding]:
    size = path.stat().st_size
    log = Path(f"{path}-wal")
    log_size = log.stat().st_size if log.exists() else 0
    yield Finding("store", Level.OK, f"{path}, {_bytes(size)} and {_bytes(log_size)} of write-ahead log")
    if log_size > max(size, 256 << 20):
        yield Finding(
            "write-ahead log", Level.WARNING, f"it has {_bytes(log_size)} and is not copied into the file",
            "find the process that keeps an old read transaction open",
        )  # fmt: skip


async def _database(node: AsyncNode) -> list[Finding]:
    todo = {
        "sqlite": "upgrade apsw: SQLite before 3.51.3 may damage a database that several connections use",
        "journal mode": "use a local disk, and let no other program change the journal mode",
        "durability": "commits may be lost in a power cut: let nothing change PRAGMA synchronous",
    }
    return [
        Finding(check, Level.OK if is_good else Level.PROBLEM, found, "" if is_good else todo.get(check, ""))
        for check, is_good, found in await (await node.opened()).home.health()
    ]


def _schema(path: Path) -> Finding:
    from finality.adapters.sqlite.look import found_schema

    versions = ", ".join(f"{part} {found}" for part, (found, _) in found_schema(path).items())
    return Finding("schema", Level.OK, f"{versions}, the newest that this version knows")


def _disk(path: Path) -> Finding:
    usage = shutil.disk_usage(path.absolute().parent)
    found = f"{_bytes(usage.free)} of {_bytes(usage.total)} free"
    if usage.free < DISK_BYTES_MIN:
        return Finding("disk", Level.PROBLEM, found, "free some space: without it nothing can be written")
    if usage.free < DISK_BYTES_SOON:
        return Finding("disk", Level.WARNING, found, "free some space soon")
    return Finding("disk", Level.OK, found)


def _file_system(path: Path) -> Iterator[Finding]:
    kind = _kind_of_file_system(path.absolute().parent)
    if kind in NETWORK_FILE_SYSTEMS:
        yield Finding(
            "file system", Level.PROBLEM, f"{path} is on {kind}",
            "move it to a local disk: SQLite's write-ahead log needs shared memory",
        )  # fmt: skip


def _kind_of_file_system(folder: Path) -> str:
    try:
        lines = Path("/proc/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""  # Only Linux has this file; elsewhere nothing is said.
    mounts = [(line.split()[1], line.split()[2]) for line in lines if len(line.split()) > 2]
    real = str(folder.resolve())
    over = [(at, kind) for at, kind in mounts if at == "/" or real == at or real.startswith(f"{at}/")]
    return max(over, key=lambda mount: len(mount[0]))[1] if over else ""


# ── Clocks ──────────────────────────────────────────────────────────────────────────────────


async def _clocks(node: AsyncNode, path: Path) -> list[Finding]:
    findings = []
    skew = _file_skew(path)
    if skew is not None and abs(skew) > SKEW_SECONDS:
        findings.append(
            _clock(f"the disk's clock is {abs(skew):.0f} seconds {_side(skew)} of this machine's")
        )
    findings += await _future(node)
    return findings or [Finding("clock", Level.OK, "agrees with the disk, the journal and the nodes")]


async def _future(node: AsyncNode) -> list[Finding]:
    """Return what was written by a clock that is ahead of this one."""
    now = time.time()
    findings = []
    home = (await node.opened()).home
    newest = (await home.newest(limit=1)).events
    if newest and newest[0].at > now + SKEW_SECONDS:
        findings.append(_clock(f"the newest event is {newest[0].at - now:.0f} seconds in the future"))
    for row in await node.nodes():
        ahead = max(row.joined_at - now, row.lease_until - now - LEASE_SECONDS_MAX)
        if ahead > SKEW_SECONDS:
            findings.append(_clock(f"the clock of node {row.id} is ahead of this machine's"))
    return findings


def _clock(found: str) -> Finding:
    todo = "set the clocks by NTP: leases and timers are told by them"
    return Finding("clock", Level.WARNING, found, todo)


def _side(skew: float) -> str:
    return "ahead" if skew > 0 else "behind"


def _file_skew(path: Path) -> float | None:
    """Return by how much the disk's clock is ahead, by a file that nobody sees; None if it cannot be made."""
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent) as file:
            before = time.time()
            file.write(b"x")
            file.flush()
            written = os.fstat(file.fileno()).st_mtime
            after = time.time()
    except OSError:
        return None  # A folder that may not be written is the store's finding, not the clock's.
    return 0.0 if before - SKEW_SECONDS <= written <= after + SKEW_SECONDS else written - after


# ── Participants ────────────────────────────────────────────────────────────────────────────


async def _participant(participant: Participant[Branch]) -> list[Finding]:
    try:
        checks = await participant.health()
    except Unavailable as error:
        return [Finding(participant.name, Level.PROBLEM, str(error), "see that it runs and can be reached")]
    return [
        Finding(f"{participant.name}: {check}", Level.OK if is_good else Level.PROBLEM, found)
        for check, is_good, found in checks
    ]


async def _in_doubt(node: AsyncNode) -> list[Finding]:
    doubts = await node.in_doubt(older_than=IN_DOUBT_SOON)
    ours = [str(doubt.found.branch) for doubt in doubts if not doubt.is_foreign]
    foreign = [str(doubt.found.branch) for doubt in doubts if doubt.is_foreign]
    findings = []
    if ours:
        todo = "run a node with these participants; `finality transaction in-doubt` says what they hold"
        findings.append(Finding("in doubt", Level.PROBLEM, _some(ours), todo))
    if foreign:
        todo = "run a node of the home they belong to, or ask whoever runs it; this one leaves them alone"
        findings.append(Finding("in doubt elsewhere", Level.WARNING, _some(foreign), todo))
    return findings or [Finding("in doubt", Level.OK, "no branch is, for longer than a minute")]


def _some(names: Sequence[str]) -> str:
    more = ", …" if len(names) > SHOWN_MAX else ""
    return f"{len(names):,}: {', '.join(names[:SHOWN_MAX])}{more}"


# ── Sagas and breakers ──────────────────────────────────────────────────────────────────────


async def _sagas(node: AsyncNode) -> list[Finding]:
    now = time.time()
    alive = [row for row in await node.nodes() if row.lease_until > now]
    still = await node.transactions(is_open=True, limit=1)
    findings = [_nodes(alive, has_open=bool(still))]
    for status in ("stuck", "parked"):
        heads = await node.transactions(status=status, limit=1_000)
        findings.append(_waiting_for_person(status, heads))
    undriven = await node.undriven()
    if not undriven:
        return [
            *findings,
            Finding("driven", Level.OK, "every open transaction has a live node that can drive it"),
        ]
    kinds = sorted({f"{head.kind}@{head.definition}" for head in undriven})
    found = f"no live node can drive {_listed(undriven)}: {', '.join(kinds[:SHOWN_MAX])}"
    todo = "start a node with this saga in this version; `finality transaction explain ID` says more"
    return [*findings, Finding("driven", Level.PROBLEM, found, todo)]


def _nodes(alive: Sequence[NodeRow], *, has_open: bool) -> Finding:
    if alive:
        return Finding("nodes", Level.OK, f"{len(alive)} alive")
    if has_open:
        return Finding(
            "nodes", Level.WARNING, "none is alive and transactions are open", "start one: it takes them over"
        )
    return Finding("nodes", Level.OK, "none is alive and nothing is open")


def _waiting_for_person(status: str, heads: Sequence[Head]) -> Finding:
    if not heads:
        return Finding(status, Level.OK, "no transaction")
    todo = (
        f"`finality transaction explain {heads[0].id}` says why; put it right, then "
        f'`finality transaction retry {heads[0].id} --because "…"`'
    )
    return Finding(status, Level.PROBLEM, _listed(heads), todo)


async def _breakers(node: AsyncNode) -> Finding:
    home = (await node.opened()).home
    now = time.time()
    opened = []
    for stream in await home.streams(BREAKER_PREFIX):
        events: list[Any] = [recorded.event for recorded in await home.read(stream)]
        breaker = fold(evolve, Breaker(BreakerPolicy()), events)
        if breaker.until is not None and breaker.until > now:
            opened.append(f"{stream.removeprefix(BREAKER_PREFIX)} ({breaker.because})")
    if not opened:
        return Finding("breakers", Level.OK, "none is open")
    todo = "see why the service behind it fails; it is tried again by itself"
    return Finding("breakers", Level.WARNING, f"open: {'; '.join(opened[:SHOWN_MAX])}", todo)


def _listed(heads: Sequence[Head]) -> str:
    count = f"{len(heads):,}" if len(heads) < 1_000 else "1,000 or more"
    more = ", …" if len(heads) > SHOWN_MAX else ""
    return f"{count}: {', '.join(head.id for head in heads[:SHOWN_MAX])}{more}"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
