"""What the promises of a MariaDB participant rest on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from finality.adapters.mariadb.session import Session
from finality.adapters.mariadb.xid import branch_of

# The first in which a prepared branch outlives its session.
VERSION_MIN = {"MariaDB": (10, 5), "MySQL": (8, 0)}

Finding = tuple[str, bool, str]


async def findings(session: Session, queries: Mapping[str, str]) -> list[Finding]:
    """Ask the server what its promises rest on."""
    [(settings,), prepared] = await session.say(queries["settings"], queries["recover"])
    version, flush, has_binlog, sync = settings
    return [
        _version(str(version)),
        _flush(int(flush)),
        _binlog(has_binlog=bool(has_binlog), sync=int(sync)),
        _others([row for row in prepared if branch_of(row) is None]),
    ]


def _version(version: str) -> Finding:
    product = "MariaDB" if "MariaDB" in version else "MySQL"
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    oldest = VERSION_MIN[product]
    found = f"{product} {version}"
    if numbers >= oldest:
        return "version", True, found
    return (
        "version",
        False,
        f"{found}; {'.'.join(map(str, oldest))} is the oldest whose prepared branches last",
    )


def _flush(setting: int) -> Finding:
    found = f"innodb_flush_log_at_trx_commit = {setting}"
    if setting in (1, 3):
        return "durability", True, found
    return "durability", False, f"{found}, so a crash can lose what was promised; set it to 1"


def _binlog(*, has_binlog: bool, sync: int) -> Finding:
    if not has_binlog:
        return "binlog", True, "log_bin = OFF"
    found = f"log_bin = ON, sync_binlog = {sync}"
    if sync == 1:
        return "binlog", True, found
    return "binlog", False, f"{found}, so a crash can lose what replicas and recovery need; set it to 1"


def _others(rows: list[tuple[object, ...]]) -> Finding:
    if not rows:
        return "orphans", True, "no XA transaction of others is prepared"
    found = (
        f"{len(rows)} XA transactions of others are prepared and hold locks; find out whose they are with "
        "XA RECOVER FORMAT='SQL', and finish them"
    )
    return "orphans", False, found
