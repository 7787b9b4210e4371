"""Where a RabbitMQ node is, and how topics are declared there: what a URL says.

``amqp://user:password@host:5672/vhost?replicas=3&keep=604800``
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from finality.core.errors import DefinitionError

SCHEMES = ("amqp", "amqps")
OPTIONS = ("keep", "replicas")
KEEP_SECONDS = 7 * 24 * 3_600  # Events older than this go, read or not.
EXAMPLE = "amqp://user:password@host:5672/vhost?replicas=3"


@dataclass(frozen=True, slots=True)
class Address:
    """A node, and what its topics are like.

    Attributes:
        url: What the client is given.
        name: What operators call it, without a password.
        keep_seconds: How long a topic keeps its events at least.
        replicas: Of a topic that is declared; 0 is one on every node that there is then.
    """

    url: str
    name: str
    keep_seconds: int
    replicas: int


def address_at(url: str) -> Address:
    """Return the address that *url* is.

    Raises:
        DefinitionError: It is none.
    """
    parts = urlsplit(url)
    ours = dict(parse_qsl(parts.query))
    given = {name: ours.pop(name) for name in OPTIONS if name in ours}
    host = parts.netloc.rpartition("@")[2]
    bad = [f"{name}={text}" for name, text in given.items() if not text.isdecimal() or not int(text)]
    if parts.scheme not in SCHEMES or not host or bad:
        what = f"{bad[0]} is no number from 1" if bad else "it names no host"
        raise DefinitionError(f"{parts.scheme}://{host} is no address of RabbitMQ: {what}; write {EXAMPLE}")
    return Address(
        url=parts._replace(query=urlencode(ours)).geturl(),
        name=f"{parts.scheme}://{host}{parts.path}",
        keep_seconds=int(given.get("keep", KEEP_SECONDS)),
        replicas=int(given.get("replicas", 0)),
    )
