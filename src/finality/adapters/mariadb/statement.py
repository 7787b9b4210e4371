"""What the user's own SQL may do in a branch: anything that XA takes back, and that ends with the branch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from finality.adapters.sql_text import MARIADB, bare, first_word
from finality.ports.store import StatementRefused

STATEMENTS_KEPT_MAX = 2_000  # Of their texts: a program has some hundreds.

_READS = {"SELECT", "SHOW", "EXPLAIN", "DESCRIBE", "DESC", "VALUES"}
_WRITES_ALL_THE_SAME = re.compile(r"\bFOR UPDATE\b|\bLOCK IN SHARE MODE\b|\bNEXT ?VAL|\bSETVAL\b|\bINTO\b")

_ENDS = "it ends the branch; leave that to the transaction, whose block decides"
_COMMITS = "it would commit by itself, and XA does not take it back; do it outside of the transaction"
_OUTLIVES = "it outlives the branch and would reach the next one on the connection; {instead}"

_REFUSED_WORDS = {
    **dict.fromkeys(("BEGIN", "START", "COMMIT", "ROLLBACK", "XA"), _ENDS),
    **dict.fromkeys(("SAVEPOINT", "RELEASE"), "savepoints belong to the branch; use branch.savepoint()"),
    **dict.fromkeys(
        ("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE", "GRANT", "REVOKE", "ANALYZE", "OPTIMIZE", "REPAIR",
         "CHECK", "CACHE", "FLUSH", "RESET", "INSTALL", "UNINSTALL"),
        _COMMITS,
    ),
    **dict.fromkeys(("SET", "USE"), _OUTLIVES.format(instead="use SET STATEMENT … FOR, or qualified names")),
    **dict.fromkeys(("LOCK", "UNLOCK"), _OUTLIVES.format(instead="use SELECT … FOR UPDATE")),
    **dict.fromkeys(
        ("PREPARE", "EXECUTE", "DEALLOCATE", "HANDLER"),
        "statements are prepared by themselves; write them out",
    ),
}  # fmt: skip
_REFUSED_PARTS = (
    (re.compile(r"\bGET_LOCK ?\("), _OUTLIVES.format(instead="use SELECT … FOR UPDATE")),
    (re.compile(r";(?=.)"), "one statement at a time; call execute for each"),
    (re.compile(r"/\*M?!"), "a comment of it would be run; write it out"),
)
_OURS = re.compile(r"\bFINALITY_")


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement is to its branch, as far as its text tells.

    Attributes:
        reads: It writes nothing, unless it calls a function that does.
        refusal: Why it must not run; empty if it may.
        words: All names that occur in it, in upper case.
    """

    reads: bool
    refusal: str
    words: frozenset[str]


@lru_cache(STATEMENTS_KEPT_MAX)
def statement_of(sql: str) -> Statement:
    """Return what *sql* is to its branch."""
    text = bare(sql, MARIADB)
    word = first_word(text)
    reads = word in _READS and not _WRITES_ALL_THE_SAME.search(text)
    return Statement(reads, _refusal(text, word), frozenset(re.findall(r"[\w$]+", text)))


def _refusal(text: str, word: str) -> str:
    if word in _REFUSED_WORDS and not text.startswith("SET STATEMENT "):
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
