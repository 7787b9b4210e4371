"""A private RabbitMQ node for tests: killed at will, gone afterwards.

```python
with finality.testing.rabbitmq() as server:
    broker = server.url
```

It runs the system's own ``rabbitmq-server``, with a database, a cookie and a port mapper (``epmd``) of its
own, so that it meets no other node. It needs some seconds to start: let your tests share one.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from finality.testing.own_server import OwnServer
from finality.testing.server_process import ServerFailed

HOMES = (
    Path("/usr/lib/rabbitmq/bin"),
    Path("/usr/local/lib/rabbitmq/bin"),
)  # Behind the wrappers in the PATH.
START_SECONDS_MAX = 90.0  # It takes seven, and several times that where others keep the processor busy.
TOLD_SECONDS_MAX = 60.0  # The tool is a node of its own.
INSTALL = "apt-get install --no-install-recommends rabbitmq-server"

SETTINGS: Mapping[str, str] = {"log.file": "false", "log.console": "true", "log.console.level": "info"}


def rabbitmq(*, settings: Mapping[str, str] | None = None) -> RabbitMqServer:
    """Return a RabbitMQ node of one's own, as a context manager: it runs inside the block.

    Args:
        settings: Settings of ``rabbitmq.conf`` beyond ``SETTINGS``, as
            ``{"disk_free_limit.absolute": "1GB"}``.
    """
    return RabbitMqServer({**SETTINGS, **(settings or {})})


def has_rabbitmq() -> bool:
    """Say whether this machine has a RabbitMQ node to start."""
    return _home() is not None and shutil.which("epmd") is not None


class RabbitMqServer(OwnServer):
    """A node that belongs to a test; beside *port* it has the next two, for its kind and for their mapper."""

    kind = "rabbitmq"
    ready = "Server startup complete"
    start_seconds_max = START_SECONDS_MAX
    refuses_root = True

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__()
        self._settings = settings

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it, and the port mapper before it: nobody else's is to be left behind."""
        settings = {f"listeners.tcp.{port}": f"127.0.0.1:{port}", **self._settings}
        (self.folder / "rabbitmq.conf").write_text("\n".join(" = ".join(item) for item in settings.items()))
        (self.folder / "plugins").write_text("[].")
        (self.folder / "env").write_text("")
        exports = "\n".join(f"export {name}='{value}'" for name, value in self._variables(port).items())
        script = self.folder / "run"
        script.write_text(
            f"{exports}\nepmd -port {port + 2} -address 127.0.0.1 &\nexec {_needed()}/rabbitmq-server\n"
        )
        return ["/bin/sh", script]

    def _variables(self, port: int) -> dict[str, str]:
        return {
            "HOME": str(self.folder),  # Where the cookie is.
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_NODENAME": f"finality-{port}@localhost",
            "RABBITMQ_DIST_PORT": str(port + 1),
            "ERL_EPMD_PORT": str(port + 2),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def tell(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``; return what it says."""
        exports = [f"{name}={value}" for name, value in self._variables(self.port).items()]
        ended = subprocess.run(  # noqa: S603  # the program is the installation's own
            ["/usr/bin/env", *exports, _needed() / "rabbitmqctl", "-q", *arguments],
            cwd="/", capture_output=True, text=True, timeout=TOLD_SECONDS_MAX,
        )  # fmt: skip
        if ended.returncode:
            raise ServerFailed(f"rabbitmqctl failed: {ended.stderr.strip()}")
        return ended.stdout


def _home() -> Path | None:
    return next((home for home in HOMES if (home / "rabbitmq-server").exists()), None)


def _needed() -> Path:
    found = _home()
    if found is None or not has_rabbitmq():
        raise ServerFailed(f"no RabbitMQ to start: there is none here; install it: {INSTALL}")
    return found
