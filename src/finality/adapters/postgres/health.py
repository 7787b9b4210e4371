"""What the promises of a PostgreSQL participant rest on, and what its branches hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finality.adapters.postgres.session import Connection

VERSION_MIN = 14
PREPARED_SHARE_MAX = 0.8  # Beyond it, the next burst of transactions is refused.
ROW_LOCKS = ("RowShareLock", "RowExclusiveLock")

Finding = tuple[str, bool, str]


def holds(locks: Sequence[str]) -> str:
    """Return *locks*, each a mode and what it is on, in words."""
    words = []
    for lock in sorted(locks):
        mode, _, thing = lock.partition(" ")
        words.append(f"row locks on {thing}" if mode in ROW_LOCKS else f"{mode} on {thing}")
    return ", ".join(dict.fromkeys(words))


async def findings(connection: Connection, queries: Mapping[str, str]) -> list[Finding]:
    """Ask the server what its promises rest on."""
    settings = dict(await connection.fetch(queries["settings"]))
    prepared, oldest, others = await connection.fetchrow(queries["prepared_by_others"])
    return [
        _version(connection.get_server_version().major, settings["server_version"]),
        _prepared(prepared, int(settings["max_prepared_transactions"])),
        *(_is_on(name, settings[name]) for name in ("fsync", "full_page_writes", "synchronous_commit")),
        _others(others, oldest),
    ]


def _version(major: int, version: str) -> Finding:
    found = f"PostgreSQL {version}"
    return (
        "version",
        major >= VERSION_MIN,
        found if major >= VERSION_MIN else f"{found}; {VERSION_MIN} is the oldest",
    )


def _prepared(prepared: int, limit: int) -> Finding:
    if limit == 0:
        found = (
            "max_prepared_transactions = 0, so no branch can vote yes; set it to max_connections, and restart"
        )
        return "prepared transactions", False, found
    found = f"{prepared} of max_prepared_transactions = {limit}"
    is_good = prepared <= limit * PREPARED_SHARE_MAX
    return (
        "prepared transactions",
        is_good,
        found if is_good else f"{found}; finish those in doubt, or raise it",
    )


def _is_on(name: str, setting: str) -> Finding:
    if setting != "off":
        return name, True, f"{name} = {setting}"
    return name, False, f"{name} = off, so a crash can lose what was promised; switch it on"


def _others(count: int, oldest: str | None) -> Finding:
    if not count:
        return "orphans", True, "no prepared transaction of others is older than an hour"
    found = (
        f"{count} prepared transactions of others are older than an hour, such as {oldest!r}: they hold "
        "locks and keep vacuum from its work; find out whose they are, and finish them"
    )
    return "orphans", False, found
