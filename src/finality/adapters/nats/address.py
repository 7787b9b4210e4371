"""Where a NATS cluster is, and how topics are declared there: what a URL says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from finality.core.errors import DefinitionError

SCHEMES = ("nats", "tls")
OPTIONS = ("credentials", "keep", "replicas", "storage", "system", "window")
STORAGES = ("file", "memory")
WINDOW_SECONDS = 120  # In which an event that is published again is known: the broker's own default.
KEEP_SECONDS = 7 * 24 * 3_600  # Events older than this go, read or not.
EXAMPLE = "nats://host1:4222,host2:4222?replicas=3"


@dataclass(frozen=True, slots=True)
class Address:
    """A cluster, and what its topics are like.

    Attributes:
        servers: Where to connect, in any order.
        name: What operators call it, without a password.
        system: User and password in the system account, who sees the servers' settings.
    """

    servers: tuple[str, ...]
    name: str
    user: str | None
    password: str | None
    credentials: str | None
    system: tuple[str, str] | None
    replicas: int
    storage: str
    window_seconds: int
    keep_seconds: int

    def login(self) -> dict[str, Any]:
        """Return who connects, as ``nats.connect`` wants it."""
        if self.credentials is not None:
            return {"user_credentials": self.credentials}
        if self.password is None:
            return {"token": self.user}
        return {"user": self.user, "password": self.password}


def address_at(url: str) -> Address:
    """Return the address that *url* is.

    Raises:
        DefinitionError: It is none.
    """
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    options = dict(parse_qsl(parts.query))
    unknown = sorted(set(options) - set(OPTIONS))
    if parts.scheme not in SCHEMES or not hosts or unknown:
        what = f"no option is called {unknown[0]!r}" if unknown else "it names no server"
        raise DefinitionError(
            f"{parts.scheme}://{hosts} is no address of NATS: {what}; write {EXAMPLE}, with any of "
            f"{', '.join(OPTIONS)}"
        )
    user, _, password = login.partition(":")
    system, _, secret = options.get("system", "").partition(":")
    return Address(
        servers=tuple(f"{parts.scheme}://{host}" for host in hosts.split(",")),
        name=f"{parts.scheme}://{hosts}",
        user=unquote(user) or None,
        password=unquote(password) or None,
        credentials=options.get("credentials"),
        system=(system, secret) if system else None,
        replicas=_number(options, "replicas", 1),
        storage=_storage(options.get("storage", "file")),
        window_seconds=_number(options, "window", WINDOW_SECONDS),
        keep_seconds=_number(options, "keep", KEEP_SECONDS),
    )


def _number(options: Mapping[str, str], name: str, usual: int) -> int:
    text = options.get(name, str(usual))
    if not text.isdecimal() or not int(text):
        raise DefinitionError(f"{name}={text} is no number from 1: write {name}={usual}, for example")
    return int(text)


def _storage(name: str) -> str:
    if name not in STORAGES:
        raise DefinitionError(f"no storage is called {name!r}: write storage={' or storage='.join(STORAGES)}")
    return name
