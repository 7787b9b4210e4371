"""What the names in a statement stand for in the database, where its text alone does not tell.

A view or a function may write although the statement reads, and a table may be of an engine that
does not take part in XA, so that an abort leaves what was written.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from finality.adapters.mariadb.session import Session
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


class Catalog:
    """Remembers what the database says about statements; each is asked about once a minute."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._known: OrderedDict[Statement, Known] = OrderedDict()

    async def reads(self, session: Session, statement: Statement) -> bool:
        """Say whether a statement surely writes nothing.

        Raises:
            StatementRefused: It writes a table that XA does not take back.
        """
        known = self._known.get(statement)
        now = asyncio.get_running_loop().time()
        if known is None or known.until < now:
            known = self._known[statement] = await self._ask(session, statement, now)
            while len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        if known.lasting:
            raise StatementRefused(
                f"the statement is refused: {known.lasting}, which does not take part in XA, so an abort "
                "would leave what is written there; convert it with ALTER TABLE … ENGINE = InnoDB"
            )
        return known.reads

    async def _ask(self, session: Session, statement: Statement, now: float) -> Known:
        words = ", ".join(f"'{word}'" for word in sorted(statement.words) if word.isascii())
        [found] = await session.say(self._query.format(words=words or "''"))
        lasting = [f"table {name} has the engine {engine}" for name, engine in found if engine is not None]
        hides = any(engine is None for _, engine in found)
        return Known(
            reads=statement.reads and not hides,
            lasting="" if statement.reads else ", ".join(lasting),
            until=now + KNOWN_SECONDS,
        )
