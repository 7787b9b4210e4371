"""What a file is, found out without changing a byte of it: nothing, somebody's database, or a store."""

from __future__ import annotations

from pathlib import Path

import apsw

from finality.adapters.sqlite.connection import READ_BUSY_MILLISECONDS
from finality.adapters.sqlite.schema import HOME, STORE, migrations, version_of
from finality.core.errors import NotFound, SchemaMismatch, Unavailable


def found_schema(path: Path, *, is_home: bool = True) -> dict[str, tuple[int, int]]:
    """Return for each part of a store's schema its version in the file, and the newest known here.

    Raises:
        NotFound: There is no such file, or it is a database without a journal, or without our tables.
        Unavailable: It cannot be read, or is no database.
    """
    if not path.exists():
        raise NotFound(f"there is no store at {path}: check the path, or run a saga to make one")
    if not path.is_file():
        raise NotFound(f"{path} is no file: name the file of the store")
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(READ_BUSY_MILLISECONDS)
            parts = (STORE, HOME) if is_home else (STORE,)
            newest = {part: max(scripts) for part, scripts in migrations(*parts).items()}
            found = {part: (version_of(connection, part), known) for part, known in newest.items()}
        finally:
            connection.close()
    except apsw.Error as error:
        raise Unavailable(
            f"cannot read {path}: {error}; check that you may read and write it and its folder, and that it "
            "is a SQLite database"
        ) from error
    if found[STORE][0] == 0 and not is_home:
        raise NotFound(f"{path} is a database in which no node of Finality has worked: check the path")
    if is_home and found[HOME][0] == 0:
        raise NotFound(
            f"{path} is a database and keeps no journal of Finality: check the path; a store beside the "
            "home, as in stores={...}, has none"
        )
    return found


def check_store(path: Path, *, is_home: bool = True, may_be_older: bool = False) -> None:
    """See that *path* is a store that this code can read, without changing it.

    Args:
        is_home: It has to be one that keeps the journal.
        may_be_older: The caller migrates it.

    Raises:
        NotFound: There is none.
        Unavailable: It cannot be read, or is no database.
        SchemaMismatch: It is newer than this code, or older, so that opening it would migrate it.
    """
    for part, (found, known) in found_schema(path, is_home=is_home).items():
        if found > known:
            raise SchemaMismatch(
                f"the {part} schema of {path} has version {found} and this code knows {known}: "
                "a newer Finality has opened it; upgrade here"
            )
        if found < known and not may_be_older:
            raise SchemaMismatch(
                f"the {part} schema of {path} has version {found} and this code needs {known}: "
                "looking does not change a store; `finality migrate` does, and so does a node of this version"
            )
