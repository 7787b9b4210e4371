"""Brokers that ask who comes, and encrypt the line: what a URL says, and what a wrong one hears."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aio_pika
import pytest

import finality.testing
from finality.adapters.refusals import CHECK_LOGIN, NAME_AUTHORITY, is_untrusted
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import Unavailable
from finality.node.brokers import broker_at
from finality.testing.valkey_server import ValkeyServer
from tests.integration.certificates import certificate
from tests.integration.guarded_servers import PASSWORD, USER, WRITTEN, GuardedKafka, GuardedRabbitMq

pytestmark = pytest.mark.slow


async def said(url: str) -> str:
    """Return why the broker at a URL cannot be opened; empty if it can."""
    broker = broker_at(url)
    try:
        await broker.open(SystemEnvironment())
    except Unavailable as error:
        return str(error)
    await broker.declare("logins")
    await broker.close()
    return ""


def test_an_error_that_is_its_own_cause_is_looked_through_once() -> None:
    """RabbitMQ's client raises one when the node dies while it connects."""
    outer, inner = OSError("closed"), OSError("reset")
    outer.__cause__, inner.__cause__ = inner, outer
    assert not is_untrusted(outer)

    inner.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert is_untrusted(outer)


def test_nats_over_an_encrypted_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, key = certificate(tmp_path)
    settings = (
        f"tls {{ cert_file: '{file}', key_file: '{key}' }}",
        f"authorization {{ users: [{{ user: {USER}, password: '{PASSWORD}' }}] }}",
    )

    async def story(url: str) -> None:
        right, wrong = (
            url.replace("nats://", "tls://me:my%25self@"),
            url.replace("nats://", "tls://me:guessed@"),
        )
        untrusted = await said(right)
        assert "certificate verify failed" in untrusted
        assert untrusted.endswith(f"; {NAME_AUTHORITY}")
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert await said(right) == ""
        refused = await said(wrong)
        assert (refused.endswith(CHECK_LOGIN), "guessed" in refused) == (True, False)

    with finality.testing.nats(settings=settings) as server:
        asyncio.run(story(server.url))


def test_valkey_with_a_password_over_an_encrypted_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our Valkey cannot encrypt, so the line ends in front of it, as it does in front of many."""
    file, key = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file, key)

    async def story(server: ValkeyServer) -> None:
        async with finality.testing.Proxy("127.0.0.1", server.port, tls=tls) as line:
            url = f"rediss://:{WRITTEN}@127.0.0.1:{line.port}"
            assert (await said(url)).endswith(NAME_AUTHORITY)
            monkeypatch.setenv("SSL_CERT_FILE", str(file))
            assert await said(url) == ""
        wrong = await said(server.url.replace("//", "//me:guessed@"))
        assert (wrong.endswith(CHECK_LOGIN), "guessed" in wrong) == (True, False)
        assert (await said(server.url)).endswith(CHECK_LOGIN)

    with finality.testing.valkey(settings={"requirepass": PASSWORD}) as server:
        asyncio.run(story(server))


@pytest.mark.xdist_group("rabbitmq")
def test_rabbitmq_with_a_password_over_an_encrypted_line(
    rabbitmq_server: GuardedRabbitMq, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(url: str) -> None:
        assert (await said(url)).endswith(NAME_AUTHORITY)
        assert await said(f"{url}?cafile={rabbitmq_server.authority}") == ""
        monkeypatch.setenv("SSL_CERT_FILE", str(rabbitmq_server.authority))
        assert await said(url) == ""
        wrong = await said(url.replace("guest:guest@", "guest:guessed@"))
        assert (wrong.endswith(CHECK_LOGIN), "guessed" in wrong) == (True, False)

    asyncio.run(story(rabbitmq_server.guarded_url))


@pytest.mark.xdist_group("kafka")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_kafka_with_a_password_over_an_encrypted_line(
    apache_kafka: GuardedKafka, monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    place = f"127.0.0.1:{apache_kafka.guarded_port}?mechanism="

    async def story(url: str) -> None:
        assert (await said(url)).endswith(NAME_AUTHORITY)
        monkeypatch.setenv("SSL_CERT_FILE", str(apache_kafka.authority))
        assert await said(url) == ""
        wrong = await said(url.replace(WRITTEN, "guessed"))
        assert (wrong.endswith(CHECK_LOGIN), "guessed" in wrong) == (True, False)

    asyncio.run(story(f"kafka://{USER}:{WRITTEN}@{place}{mechanism}"))


@pytest.mark.parametrize("url", ["kafka://127.0.0.1:1", "amqp://127.0.0.1:1"])
def test_what_a_client_logs_of_a_broker_that_is_away_is_one_line_of_ours(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def story() -> None:
        for _ in range(3):
            assert "is out of reach" in await said(url)

    asyncio.run(story())

    [line] = caplog.records
    assert (line.name, line.levelname) == ("finality.brokers", "WARNING")
    assert "in trouble, and tries again" in line.getMessage()
    assert line.exc_info is None


def test_what_a_client_logs_for_somebody_else_is_theirs(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        assert await said("amqp://127.0.0.1:2")
        caplog.clear()
        with pytest.raises(ConnectionError):
            await aio_pika.connect("amqp://127.0.0.1:2")

    asyncio.run(story())

    assert [each.name for each in caplog.records] == ["aiormq.connection"]


@pytest.mark.xdist_group("kafka")
def test_kafka_asked_for_what_it_does_not_have(
    apache_kafka: GuardedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(apache_kafka.authority))
    login = f"kafka://{USER}:{WRITTEN}@127.0.0.1:"

    async def story() -> tuple[str, str]:
        return (
            await said(f"{login}{apache_kafka.guarded_port}?mechanism=SCRAM-SHA-256"),
            await said(f"{login}{apache_kafka.port}"),
        )

    mechanism, security = asyncio.run(story())

    assert mechanism.endswith("name one of those as mechanism= in its URL")
    assert security.endswith("listens for what security= in its URL says, then ask again")
