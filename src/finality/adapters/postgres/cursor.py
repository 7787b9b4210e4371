"""Where a follower goes on: what a snapshot showed, and not a number.

A position is taken at the insert and seen at the commit, so that events of a late committer
appear behind a follower that only remembers a number. A cursor remembers what it could see:

```
    seen ────────────────┐            ┌───────────── shown
    everything that this │  a page is │ everything that this snapshot shows
    snapshot showed      │ the differ-│ and *seen* did not, in the order
    is behind us         │    ence    │ of positions, after ``position``
```

Whatever commits, however late, is shown by some later snapshot for the first time, and then it is
in the difference. What is not committed is in nobody's way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finality.core.errors import NotFound
from finality.core.ids import START, Cursor


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor, taken apart.

    Attributes:
        cluster: The identifier of the cluster that counts the transactions.
        seen: The snapshot that is behind us, whole; empty at the beginning.
        shown: The snapshot whose difference is being read; empty when a new one is due.
        position: How far that difference was read.
    """

    cluster: str
    seen: str = ""
    shown: str = ""
    position: int = 0

    def asked(self, what: str, limit: int) -> tuple[Any, ...]:
        """Return the name of the statement that finds the next page of *what*, and what it is given."""
        where = (self.shown, self.position, limit)
        if not self.seen:
            return f"{what}_by_position", *where
        return f"{what}_further" if self.position else f"{what}_by_snapshot", *where, self.seen

    def behind(self, positions: Sequence[int], limit: int) -> Cursor:
        """Return the cursor behind a page of these positions, of *limit* at most."""
        if len(positions) == limit:
            return Cursor(str(replace(self, position=positions[-1])))
        return Cursor(str(Place(self.cluster, seen=self.shown)))

    def __str__(self) -> str:
        return f"{self.cluster}/{self.seen}/{self.shown}/{self.position}"


def place_of(cursor: Cursor, cluster: str) -> Place:
    """Return what *cursor* says. A bare number stands for all that is shown behind that position.

    Raises:
        NotFound: It is of another cluster, where transactions have other numbers, or it is none.
    """
    if cursor == START or cursor.isdecimal():
        return Place(cluster, position=int(cursor or 0))
    parts = cursor.split("/")
    if len(parts) != 4 or not parts[3].isdecimal():
        raise NotFound(f"{cursor!r} is no cursor of this store: begin anew, or behind a position")
    if parts[0] != cluster:
        raise NotFound(
            f"the cursor is of cluster {parts[0]} and this is {cluster}, which counts its transactions anew: "
            "begin again behind the position of the last event that was handled"
        )
    return Place(cluster, parts[1], parts[2], int(parts[3]))


def shown_with(snapshot: str, own: int) -> str:
    """Return *snapshot* as it would be if the transaction *own* had committed, and nobody else since.

    A snapshot is ``xmin:xmax:running``: it shows all below xmin, and below xmax all but those that run.
    """
    _, end, running = snapshot.split(":")
    xmax = max(int(end), own + 1)
    # What began between the two may run still.
    hidden = {*map(int, filter(None, running.split(","))), *range(int(end), xmax)} - {own}
    return f"{min(hidden, default=xmax)}:{xmax}:{','.join(map(str, sorted(hidden)))}"
