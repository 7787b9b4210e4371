"""Where a Redis or Valkey server is, and how topics are kept there: what a URL says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from finality.core.errors import DefinitionError

SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis"}
PORT = 6379
WINDOW_SECONDS = 600  # In which an event that is published again is known; each id takes some 100 bytes.
KEEP_SECONDS = 24 * 3_600  # Events older than this go, read or not: all of them are in memory.
OPTIONS = ("keep", "wait", "window")
EXAMPLE = "redis://host:6379/0"


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and how its topics are kept.

    Attributes:
        url: As the client wants it.
        name: What operators call it, without a password.
        replicas: How many have to have an event before it counts as stored.
    """

    url: str
    name: str
    window_seconds: int
    keep_seconds: int
    replicas: int


def address_at(url: str) -> Address:
    """Return the address that *url* is.

    Raises:
        DefinitionError: It is none.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    unknown = sorted(set(options) - set(OPTIONS))
    where = f"{parts.hostname}:{parts.port or PORT}{parts.path}"
    if parts.scheme not in SCHEMES or not parts.hostname or unknown:
        what = f"no option is called {unknown[0]!r}" if unknown else "it names no server"
        raise DefinitionError(
            f"{parts.scheme}://{where} is no address of Redis: {what}; write {EXAMPLE}, with any of "
            f"{', '.join(OPTIONS)}"
        )
    return Address(
        url=parts._replace(scheme=SCHEMES[parts.scheme], query="").geturl(),
        name=f"{parts.scheme}://{where}",
        window_seconds=_number(options, "window", WINDOW_SECONDS),
        keep_seconds=_number(options, "keep", KEEP_SECONDS),
        replicas=_number(options, "wait", 0),
    )


def _number(options: Mapping[str, str], name: str, usual: int) -> int:
    text = options.get(name, str(usual))
    if not text.isdecimal():
        raise DefinitionError(f"{name}={text} is no whole number: write {name}={usual}, for example")
    return int(text)
