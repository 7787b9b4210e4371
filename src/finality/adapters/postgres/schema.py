"""The schema of a PostgreSQL store, and its migrations: numbered scripts, each in two halves.

```
    old code ──▶  pre: adds   ──▶ old and new code, side by side ──▶  post: takes away  ──▶ new code
```
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from finality.adapters.postgres.queries import QUERIES
from finality.adapters.postgres.session import Connection
from finality.core.errors import NotFound, SchemaMismatch

STORE, HOME = "store", "home"
PRE, POST = "pre", "post"

Script = tuple[int, str]
"""A number, and a half: ``pre`` comes before ``post``, which the alphabet does not know."""


def scripts(*, is_home: bool) -> dict[str, dict[Script, str]]:
    """Return the scripts that make each part of the schema."""
    parts: dict[str, dict[Script, str]] = {STORE: {}, HOME: {}} if is_home else {STORE: {}}
    for file in (resources.files(__package__) / "migrations").iterdir():
        number, part, half = file.name.removesuffix(".sql").split("_")
        if part in parts:
            parts[part][int(number), half] = file.read_text("utf-8")
    return parts


def order(script: Script) -> tuple[int, bool]:
    """Return what scripts are sorted by."""
    number, half = script
    return number, half == POST


async def migrate(connection: Connection, *, is_home: bool, through_post: bool = False) -> list[str]:
    """Bring the schema forward; any number of processes may do so at once.

    Args:
        through_post: Take away, too, what only older code needs: once none of it runs any more.

    Returns:
        The names of the scripts that ran, such as ``0001_home_pre``.

    Raises:
        SchemaMismatch: The store is newer than this code; nothing was changed.
    """
    parts = scripts(is_home=is_home)
    ran: list[str] = []
    if not _missing(await found(connection), parts, through_post=through_post):
        return ran
    async with connection.transaction():
        await connection.execute(QUERIES["lock_schema"])
        await connection.execute(QUERIES["make_schema"])
        # Another process may have come first since we looked, and may be newer.
        for part, script in _missing(await found(connection), parts, through_post=through_post):
            await connection.execute(parts[part][script])
            await connection.execute(QUERIES["set_schema"], part, *script)
            ran.append(f"{script[0]:04}_{part}_{script[1]}")
    return ran


async def found(connection: Connection) -> dict[str, Script]:
    """Return the last script of each part that the database has seen; nothing if it is no store."""
    if await connection.fetchval("SELECT to_regclass('finality_schema')") is None:
        return {}
    return {part: (version, half) for part, version, half in await connection.fetch(QUERIES["schema"])}


async def check(connection: Connection, url: str, *, is_home: bool) -> None:
    """See that the database is a store that this code can read, without changing it.

    Raises:
        NotFound: It is none.
        SchemaMismatch: It is newer than this code, or older, so that opening it would migrate it.
    """
    seen, parts = await found(connection), scripts(is_home=is_home)
    if not is_home and any(part not in seen for part in parts):
        raise NotFound(f"{url} is a database in which no node of Finality has worked: check the URL")
    if any(part not in seen for part in parts):
        raise NotFound(f"{url} keeps no journal of Finality: check the database, or run a saga to make one")
    missing = _missing(seen, parts, through_post=False)
    if missing:
        raise SchemaMismatch(
            f"the {missing[0][0]} schema of {url} is older than this code: looking does not change a store; "
            "run `finality migrate`, or start a node with this version"
        )


def _missing(
    seen: Mapping[str, Script],
    parts: Mapping[str, Mapping[Script, str]],
    *,
    through_post: bool,
) -> list[tuple[str, Script]]:
    missing: list[tuple[str, Script]] = []
    for part, known in parts.items():
        last = seen.get(part, (0, POST))
        newest = max(number for number, _ in known)
        if last[0] > newest:
            raise SchemaMismatch(
                f"the {part} schema has version {last[0]} and this version of Finality knows {newest}: "
                "newer code has opened it; upgrade Finality here"
            )
        wanted = [script for script in sorted(known, key=order) if order(script) > order(last)]
        # What an earlier script takes away must be gone before a later one adds to it.
        end = max((i for i, (_, half) in enumerate(wanted) if half == PRE), default=-1)
        missing += [(part, script) for i, script in enumerate(wanted) if through_post or i <= end]
    return missing
