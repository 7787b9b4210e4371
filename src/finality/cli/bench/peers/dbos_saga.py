"""A durable-execution library on the same server, in a Python of its own: it is no dependency of ours."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

from finality.cli.bench.workload import Run

PACKAGE = "dbos>=3,<4"
SCRIPT = Path(__file__).with_name("dbos_script.py")
INSTALL_SECONDS_MAX = 300.0
START_SECONDS_MAX = 60.0


class PeerFailed(Exception):
    """The peer could not be installed, or did not run; nothing was measured of it."""


async def installed(folder: Path) -> Path:
    """Install the peer into an environment that is thrown away with *folder*; return its Python.

    Raises:
        PeerFailed: The package could not be fetched.
    """
    python = folder / "bin" / "python"
    uv = shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv")
    if uv is not None:
        await _output(INSTALL_SECONDS_MAX, uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        await _output(INSTALL_SECONDS_MAX, uv, "pip", "install", "--quiet", "--python", str(python), PACKAGE)
    else:
        await asyncio.to_thread(venv.create, folder, with_pip=True)
        await _output(INSTALL_SECONDS_MAX, str(python), "-m", "pip", "install", "--quiet", PACKAGE)
    return python


async def version(python: Path) -> str:
    """Return the version of the peer.

    Raises:
        PeerFailed: That Python does not have it.
    """
    ask = "from importlib.metadata import version; print(version('dbos'))"
    return (await _output(START_SECONDS_MAX, str(python), "-c", ask)).strip()


class Workflows:
    """Runs workflows in a process of their own.

    Attributes:
        ended: How many have ended, in all runs together.
    """

    def __init__(self, python: Path, url: str) -> None:
        self.ended = 0
        self._python = python
        self._url = url

    async def measure(self, concurrency: int, seconds: float) -> Run:
        """Keep so many in flight for so long.

        Raises:
            PeerFailed: The process has failed.
        """
        arguments = (str(self._python), str(SCRIPT), self._url, str(concurrency), str(seconds))
        printed = await _output(seconds + START_SECONDS_MAX, *arguments)
        told: dict[str, Any] = json.loads(printed.splitlines()[-1])
        self.ended += told["ended"]
        return Run(len(told["latencies"]), told["seconds"], told["cpu"], sorted(told["latencies"]))


async def _output(seconds_max: float, *command: str) -> str:
    """Run a program; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds_max):
            out, err = await process.communicate()
    except TimeoutError:
        raise PeerFailed(f"{command[0]} has not ended within {seconds_max:.0f} seconds") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise PeerFailed(f"{' '.join(command[:4])} failed: {err.decode(errors='replace').strip()[-1_000:]}")
    return out.decode()
