"""Where a Kafka cluster is and how to talk to it, from a URL; and what its errors mean in our words.

``kafka://user:password@one:9092,two:9092?security=SASL_SSL&mechanism=SCRAM-SHA-512&replicas=3``
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.helpers import create_ssl_context

from finality.adapters.client_log import ClientLog
from finality.adapters.refusals import CHECK_LOGIN, NAME_AUTHORITY, is_untrusted
from finality.core.errors import DefinitionError, Unavailable

CLIENT_LOG = ClientLog("aiokafka")
ANSWER_SECONDS_MAX = 5.0  # A healthy cluster answers in milliseconds; whoever asks, asks again.
SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SEE = "see that it runs and listens for what security= in its URL says, then ask again"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
SERVER = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:]+\](:\d+)?")
OPTIONS = ("replicas", "security", "mechanism", "transactional_id")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a URL says.

    Attributes:
        name: What operators call it, without a password.
        client: What every client of aiokafka is given.
        replicas: Of a topic that is declared; -1 is the cluster's own default.
        transactional_id: With one, each batch is a transaction of Kafka: all of it is seen, or nothing.
    """

    name: str
    client: dict[str, Any]
    replicas: int
    transactional_id: str | None


def cluster_at(url: str) -> Cluster:
    """Return what *url* says.

    Raises:
        DefinitionError: It is no URL of a Kafka cluster.
    """
    place, _, query = url.removeprefix("kafka://").partition("?")
    login, _, servers = place.rstrip("/").rpartition("@")
    options = dict(parse_qsl(query))
    is_place = all(SERVER.fullmatch(server) for server in servers.split(","))
    if not is_place or not set(options) <= set(OPTIONS):
        raise DefinitionError(
            f"{_without_password(url)!r} names no Kafka cluster: write kafka://one:9092,two:9092 with "
            f"options of {', '.join(OPTIONS)}"
        )
    replicas = options.get("replicas", "-1")
    if not replicas.removeprefix("-").isdecimal():
        raise DefinitionError(f"replicas={replicas} is no number: write replicas=3, for example")
    return Cluster(
        name=f"kafka://{servers}",
        client=_client(servers, login, options),
        replicas=int(replicas),
        transactional_id=options.get("transactional_id"),
    )


def _client(servers: str, login: str, options: dict[str, str]) -> dict[str, Any]:
    security = _one_of("security", options, SECURITY, usual="SASL_SSL" if login else "PLAINTEXT")
    client: dict[str, Any] = {
        "bootstrap_servers": servers.split(","),
        "request_timeout_ms": int(ANSWER_SECONDS_MAX * 1_000),
        "security_protocol": security,
    }
    if security.endswith("SSL"):
        client["ssl_context"] = create_ssl_context()
    if security.startswith("SASL"):
        user, _, password = login.partition(":")
        client |= {
            "sasl_mechanism": _one_of("mechanism", options, MECHANISMS, usual="PLAIN"),
            "sasl_plain_username": unquote(user),
            "sasl_plain_password": unquote(password),
        }
    return client


def _one_of(name: str, options: dict[str, str], known: tuple[str, ...], *, usual: str) -> str:
    value = options.get(name, usual).upper()
    if value not in known:
        raise DefinitionError(f"{name}={value} is none that we know: write one of {', '.join(known)}")
    return value


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


@contextlib.asynccontextmanager
async def answered(name: str, what: str, *, seconds: float = ANSWER_SECONDS_MAX) -> AsyncIterator[None]:
    """Wait for the cluster's answer, so long and no longer.

    Raises:
        Unavailable: It did not answer, or has an error of its own.
    """
    try:
        with CLIENT_LOG.about(name):
            async with asyncio.timeout(seconds):
                yield
    except TimeoutError as error:
        raise Unavailable(f"{name} {what}: no answer in {seconds:g} seconds; try again") from error
    except (KafkaError, OSError) as error:
        raise Unavailable(f"{name} {what}: {said(error)}; try again") from error


async def out_of_reach(cluster: Cluster, error: KafkaConnectionError) -> Unavailable:
    """Return why no server lets us in: the client says that in its log alone, so knock once more."""
    cause: BaseException = error
    client = dict(cluster.client)
    for host, port, _ in collect_hosts(client.pop("bootstrap_servers"), randomize=False):
        try:
            (await create_conn(host, port, **client)).close()
        except (KafkaError, OSError, TimeoutError) as found:
            cause = found
            if _advice(found) != SEE:  # It is there, and says no.
                break
    return Unavailable(f"{cluster.name} is out of reach: {said(cause)}; {_advice(cause)}")


def _advice(error: BaseException) -> str:
    if is_untrusted(error):
        return NAME_AUTHORITY
    if isinstance(error, AuthenticationFailedError | SaslAuthenticationFailed):
        return CHECK_LOGIN
    if isinstance(error, UnsupportedSaslMechanismError):
        return "name one of those as mechanism= in its URL"
    return SEE


def said(error: BaseException) -> str:
    """Return what an error of the client says, with its kind."""
    return f"{type(error).__name__} {error}".strip()
