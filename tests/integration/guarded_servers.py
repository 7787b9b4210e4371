"""Servers that listen at a second door, too: encrypted, and for those alone who have a password."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finality.testing.kafka_server import SETTINGS as KAFKA
from finality.testing.kafka_server import ApacheServer
from finality.testing.rabbitmq_server import SETTINGS as RABBITMQ
from finality.testing.rabbitmq_server import RabbitMqServer
from tests.integration.certificates import certificate

USER, PASSWORD, WRITTEN = "me", "my%self", "my%25self"
"""Who may come in; and how the password is written in a URL."""
PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"


class GuardedKafka(ApacheServer):
    """Apache Kafka, which lets anybody in at *port*, and at *guarded_port* who has a password.

    Attributes:
        authority: The certificate to trust.
    """

    def __init__(self, jars: Path) -> None:
        super().__init__(jars, {**KAFKA, "log.flush.interval.messages": "1"})
        self.authority, self._key = certificate(self.folder)
        self._both = self.folder / "both.pem"
        self._both.write_text(self._key.read_text() + self.authority.read_text())

    @property
    def guarded_port(self) -> int:
        """Return where it wants a password."""
        return self.port + 2

    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it with one listener more."""
        mine = "listener.name.guarded"
        doors = {"PLAINTEXT": port, "CONTROLLER": port + 1, "GUARDED": port + 2}
        self._settings = {
            **self._settings,
            "listeners": ",".join(f"{name}://127.0.0.1:{each}" for name, each in doors.items()),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL",
            f"{mine}.ssl.keystore.type": "PEM",
            f"{mine}.ssl.keystore.location": str(self._both),
            f"{mine}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            f"{mine}.plain.sasl.jaas.config": f'{PLAIN_LOGIN} required user_{USER}="{PASSWORD}";',
            f"{mine}.scram-sha-512.sasl.jaas.config": f"{SCRAM_LOGIN} required;",
        }
        return super().command(port)

    def _run(self, *arguments: Path | str) -> None:
        super()._run(*arguments, "--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]")


class GuardedRabbitMq(RabbitMqServer):
    """A RabbitMQ node that listens on an encrypted line, too.

    Attributes:
        authority: The certificate to trust.
    """

    def __init__(self) -> None:
        super().__init__(RABBITMQ)
        self.authority, self._key = certificate(self.folder)
        for file in (self.authority, self._key):
            file.chmod(0o644)

    @property
    def guarded_url(self) -> str:
        """Return where the line is encrypted."""
        return f"amqps://guest:guest@127.0.0.1:{self.port + 3}/"

    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it with one listener more."""
        self._settings = {
            **self._settings,
            "listeners.ssl.1": f"127.0.0.1:{port + 3}",
            "ssl_options.certfile": str(self.authority),
            "ssl_options.keyfile": str(self._key),
        }
        return super().command(port)
