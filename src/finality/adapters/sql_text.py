"""A statement's text without what is only said in it: its comments and literals are blanked out."""

from __future__ import annotations

import re

POSTGRES = re.compile(
    r"""
      (?P<comment>  --[^\n]* | /\*.*?\*/ )
    | (?P<literal>  '(?:[^']|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    """,
    re.VERBOSE | re.DOTALL,
)
MARIADB = re.compile(
    r"""
      (?P<comment>  (?:--(?=\s)|\#)[^\n]* | /\*(?!M?!).*?\*/ )
    | (?P<literal>  '(?:[^'\\]|''|\\.)*' | "(?:[^"\\]|""|\\.)*" )
    """,
    re.VERBOSE | re.DOTALL,
)


def bare(sql: str, dialect: re.Pattern[str]) -> str:
    """Return *sql* in upper case and single spaces, without comments and with empty literals."""
    told = dialect.sub(lambda part: " " if part["comment"] is not None else "''", sql)
    return " ".join(told.upper().split())


def first_word(text: str) -> str:
    """Return the word that a bare statement begins with."""
    return text.lstrip("( ").partition(" ")[0].rstrip(";(")
