"""What the user's own SQL may do in a branch: anything that can be prepared and ends with the branch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from finality.adapters.sql_text import POSTGRES, bare, first_word
from finality.ports.store import StatementRefused

STATEMENTS_KEPT_MAX = 2_000  # Of their texts: a program has some hundreds.

_WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE"}

_ENDS = "it ends the branch; leave that to the transaction, whose block decides"
_UNPREPARABLE = "a branch that did it cannot be prepared; do it outside of the transaction"
_OUTLIVES = "it outlives the branch and would reach the next one on the connection; use {instead}"

_REFUSED_WORDS = {
    **dict.fromkeys(("BEGIN", "START", "COMMIT", "END", "ABORT", "ROLLBACK", "PREPARE"), _ENDS),
    **dict.fromkeys(("SAVEPOINT", "RELEASE"), "savepoints belong to the branch; use branch.savepoint()"),
    **dict.fromkeys(("LISTEN", "UNLISTEN", "NOTIFY"), _UNPREPARABLE),
    **dict.fromkeys(("SET", "RESET", "DISCARD", "LOAD"), _OUTLIVES.format(instead="SET LOCAL")),
    **dict.fromkeys(("EXECUTE", "DEALLOCATE"), "statements are prepared by themselves; write them out"),
    "COPY": "COPY needs a connection of its own; use INSERT … SELECT FROM unnest(…)",
}
_REFUSED_PARTS = (
    (re.compile(r"\b(CREATE|INTO)( (LOCAL|GLOBAL))? TEMP(ORARY)?\b"), _UNPREPARABLE),
    (re.compile(r"\bWITH HOLD\b"), _UNPREPARABLE),
    (re.compile(r"\b(PG_NOTIFY|PG_EXPORT_SNAPSHOT) ?\("), _UNPREPARABLE),
    (
        re.compile(r"\bPG_(TRY_)?ADVISORY_LOCK(_SHARED)? ?\("),
        _OUTLIVES.format(instead="pg_advisory_xact_lock"),
    ),
    (
        re.compile(r"^SET LOCAL (ROLE|SESSION)\b"),
        "only who has prepared a branch may finish it; connect as that role",
    ),
)
_HARMLESS_SET = re.compile(r"^SET (LOCAL|CONSTRAINTS)\b")
_OURS = re.compile(r"\bFINALITY_")


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement is to its branch.

    Attributes:
        writes: It surely wrote something; others are asked about.
        refusal: Why it must not run; empty if it may.
    """

    writes: bool
    refusal: str = ""


@lru_cache(STATEMENTS_KEPT_MAX)
def statement_of(sql: str) -> Statement:
    """Return what *sql* is to its branch. The server refuses at PREPARE what is too well hidden for us."""
    text = bare(sql, POSTGRES)
    word = first_word(text)
    return Statement(word in _WRITES, _refusal(text, word))


def _refusal(text: str, word: str) -> str:
    if word in _REFUSED_WORDS and not _HARMLESS_SET.match(text):
        return _REFUSED_WORDS[word]
    for pattern, why in _REFUSED_PARTS:
        if pattern.search(text):
            return why
    if _OURS.search(text) and word != "SELECT":
        return "the tables of Finality's are not yours to write; read them as you like"
    return ""


def refuse(sql: str, why: str) -> StatementRefused:
    """Return the refusal of a statement."""
    return StatementRefused(f"the statement {sql[:60]!r} is refused: {why}")
