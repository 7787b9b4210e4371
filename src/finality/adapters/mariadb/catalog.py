"""What the names in a statement stand for in the database, where its text alone does not tell.

A view or a function may write although the statement reads, and a table may be of an engine that
does not take part in XA, so that an abort leaves what was written.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from finality.adapters.mariadb.session import Row
from finality.adapters.mariadb.statement import Statement
from finality.ports.store import StatementRefused

KNOWN_MAX = 2_000  # Statements; a program has some hundreds.
KNOWN_SECONDS = 60.0  # How long a table that was changed may be taken for what it was.


@dataclass(frozen=True, slots=True)
class Known:
    """What was found about a statement."""

    reads: bool
    lasting: str
    until: float

    def surely_reads(self) -> bool:
        """Say whether the statement surely writes nothing.

        Raises:
            StatementRefused: It writes a table that XA does not take back.
        """
        if self.lasting:
            raise StatementRefused(
                f"the statement is refused: {self.lasting}, which does not take part in XA, so an abort "
                "would leave what is written there; convert it with ALTER TABLE … ENGINE = InnoDB"
            )
        return self.reads


class Catalog:
    """Remembers what the database says about statements; each is asked about once a minute."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._known: OrderedDict[Statement, Known] = OrderedDict()

    def known(self, statement: Statement) -> Known | None:
        """Return what is known about a statement; None if the database is to be asked."""
        known = self._known.get(statement)
        return None if known is None or known.until < time.monotonic() else known

    def question(self, statement: Statement) -> str:
        """Return what to ask the database about a statement."""
        words = ", ".join(f"'{word}'" for word in sorted(statement.words) if word.isascii())
        return self._query.format(words=words or "''")

    def learn(self, statement: Statement, found: Sequence[Row]) -> Known:
        """Remember what the database has answered."""
        lasting = [f"table {name} has the engine {engine}" for name, engine in found if engine is not None]
        hides = any(engine is None for _, engine in found)
        known = self._known[statement] = Known(
            reads=statement.reads and not hides,
            lasting="" if statement.reads else ", ".join(lasting),
            until=time.monotonic() + KNOWN_SECONDS,
        )
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return known
