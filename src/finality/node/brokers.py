"""From a URL to a broker; what an adapter needs is imported when its broker is first asked for."""

from __future__ import annotations

from importlib import import_module

from finality.core.errors import DefinitionError
from finality.core.secret import without_password
from finality.node.extras import needs
from finality.ports.broker import Broker

# Scheme → (the adapter, whose module `broker` has a function `broker(url)`, and the extra that it needs).
ADAPTERS = {
    "amqp": ("rabbitmq", "rabbitmq"),
    "amqps": ("rabbitmq", "rabbitmq"),
    "kafka": ("kafka", "kafka"),
    "memory": ("memory", ""),
    "nats": ("nats", "nats"),
    "redis": ("redis", "redis"),
    "rediss": ("redis", "redis"),
    "sqlite": ("sqlite", ""),
    "tls": ("nats", "nats"),
    "valkey": ("redis", "redis"),
}
SCHEMES = "nats://host, kafka://host:9092, amqp://host, redis://host, sqlite:///events.db or memory://"


def broker_at(url: str) -> Broker:
    """Return the broker at *url*; it connects when it is opened.

    Raises:
        DefinitionError: The URL names no broker.
        Unavailable: The extra that it needs is not installed.
    """
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in ADAPTERS:
        raise DefinitionError(f"{without_password(url)!r} names no broker: write {SCHEMES}")
    adapter, extra = ADAPTERS[scheme]
    with needs(f"the broker at {scheme}://", f"finality[{extra}]"):
        module = import_module(f"finality.adapters.{adapter}.broker")
    broker: Broker = module.broker(url)
    return broker


def url_beside(url: str) -> str | None:
    """Return the URL of the broker of a node that is given none, by that of its home store.

    Nodes of PostgreSQL may be on many hosts, and what could serve all of them is not to be guessed.
    """
    if url.startswith("sqlite:///"):
        return f"{url}-events"
    return url if url.startswith("memory://") else None
