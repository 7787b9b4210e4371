"""Sagas made from text, so that a table can hold a class on one line."""

from __future__ import annotations

import textwrap
from typing import Any

from finality.patterns.saga import Saga, definition_of
from finality.runtime.definition import Definition

PRELUDE = """
from dataclasses import dataclass
from datetime import timedelta

from finality.core.backoff import FOREVER, Retry
from finality.patterns.options import Breaker, signal, timer
from finality.patterns.saga import Saga
from finality.patterns.step import child, pivot, step
from finality.patterns.transaction import SyncTx, Tx

@dataclass(frozen=True)
class BookHotel(Saga):
    @step
    def room(self, tx) -> str: return ""

@dataclass(frozen=True)
class Final(Saga):
    @pivot
    def end(self, tx) -> str: return ""
"""


def declared(
    body: str, keywords: str = "", more: str = "", *, decorator: str = "@dataclass(frozen=True)"
) -> type[Saga]:
    """Return the saga BookTrip with that *body*, or what *more* source makes of it: the last saga of all."""
    header = f"{decorator}\nclass BookTrip(Saga, {keywords}):\n"
    source = f"{PRELUDE}{header}{textwrap.indent(body, '    ')}\n{more}"
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "notation", "exec", dont_inherit=True), names)
    found: type[Saga] = names.get("Later", names["BookTrip"])
    return found


def defined(
    body: str, keywords: str = "", more: str = "", *, decorator: str = "@dataclass(frozen=True)"
) -> Definition:
    """Return the definition of that saga."""
    return definition_of(declared(body, keywords, more, decorator=decorator))
