"""Brokers that ask who comes, and encrypt the line: what a URL says, and what a wrong one hears."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import finality.testing
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import Unavailable
from finality.node.brokers import broker_at
from finality.testing.rabbitmq_server import RabbitMqServer
from tests.integration.certificates import certificate

pytestmark = pytest.mark.slow

CHECK = "check the user and the password in its URL"


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


def test_nats_over_an_encrypted_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, key = certificate(tmp_path)
    settings = (
        f"tls {{ cert_file: '{file}', key_file: '{key}' }}",
        "authorization { users: [{ user: me, password: 'my%self' }] }",
    )

    async def story(url: str) -> None:
        right, wrong = (
            url.replace("nats://", "tls://me:my%25self@"),
            url.replace("nats://", "tls://me:guessed@"),
        )
        untrusted = await said(right)
        assert "certificate verify failed" in untrusted
        assert untrusted.endswith("; name the file of its authority's certificate in SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert await said(right) == ""
        assert (await said(wrong)).endswith(CHECK)
        assert "guessed" not in await said(wrong)

    with finality.testing.nats(settings=settings) as server:
        asyncio.run(story(server.url))


def test_valkey_with_a_password() -> None:
    async def story(url: str) -> None:
        assert await said(url.replace("//", "//:my%25self@")) == ""
        wrong = await said(url.replace("//", "//me:guessed@"))
        assert (wrong.endswith(CHECK), "guessed" in wrong) == (True, False)
        assert (await said(url)).endswith(CHECK)

    with finality.testing.valkey(settings={"requirepass": "my%self"}) as server:
        asyncio.run(story(server.url))


@pytest.mark.xdist_group("rabbitmq")
def test_rabbitmq_with_a_password(rabbitmq_server: RabbitMqServer) -> None:
    async def story(url: str) -> None:
        assert await said(url) == ""
        wrong = await said(url.replace("guest:guest@", "guest:guessed@"))
        assert (wrong.endswith(CHECK), "guessed" in wrong) == (True, False)

    asyncio.run(story(rabbitmq_server.url))
