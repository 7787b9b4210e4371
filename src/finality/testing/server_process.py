"""A server's process, as the test kit runs one: without privileges, gone with the test."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

START_SECONDS_MAX = 30.0  # A recovery after a kill included; longer means that it hangs.
STOP_SECONDS_MAX = 10.0  # A fast shutdown waits for nobody; what takes longer is killed.
POLL_SECONDS = 0.01
PORTS = range(20_000, 32_000)  # Below the ports that systems give to outgoing connections.
PORTS_TRIED_MAX = 20
UNPRIVILEGED = "nobody"  # Every system has it, and a uid without a name does not do.


class ServerFailed(Exception):
    """The server did not start; the message ends with its own last words."""


def run_unprivileged(command: Sequence[Path | str], log: Any) -> subprocess.Popen[bytes]:
    """Start a program, as ``nobody`` when we are root: servers refuse to be root."""
    if not is_root():
        return run(command, log)
    group = pwd.getpwnam(UNPRIVILEGED).pw_gid
    return run(command, log, user=UNPRIVILEGED, group=group, extra_groups=[])


def run(command: Sequence[Path | str], log: Any, **who: Any) -> subprocess.Popen[bytes]:
    """Start a program, in a folder that everybody may see."""
    # Nobody may be allowed to see where the test runs, and a server insists on its own folder.
    return subprocess.Popen(  # noqa: S603  # the program is the installation's own
        command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"}, start_new_session=True, **who,
    )  # fmt: skip


def guard(server: int, folder: Path) -> subprocess.Popen[bytes]:
    """Let the server go when this process dies without a word: its end of a pipe closes then."""
    script = 'read _; kill -QUIT "$0"; sleep 1; kill -KILL "$0"; rm -rf "$1"'
    return subprocess.Popen(  # noqa: S603  # the script is ours
        ["/bin/sh", "-c", script, str(server), folder],
        stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def dismiss(watching: subprocess.Popen[bytes] | None) -> None:
    """End a guard whose server has ended."""
    if watching is not None:
        watching.kill()
        watching.communicate()


def is_root() -> bool:
    """Say whether we may do anything, which servers dislike."""
    return os.geteuid() == 0


def children(process: int) -> Sequence[int]:
    """Return the processes that *process* has started and that run."""
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:  # Not Linux.
        listing = ["/usr/bin/pgrep", "-P", str(process)]
        ended = subprocess.run(listing, capture_output=True, text=True)  # noqa: S603  # the program is fixed
        return [int(child) for child in ended.stdout.split()]


def kill(process: int) -> None:
    """Kill a process, if it still runs."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:  # It has ended by itself.
        return


def is_alive(process: int) -> bool:
    """Say whether a process still runs."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # Not Linux, or it has just gone.
        return True
    return state != "Z"  # Dead, and nobody has asked for its last word.


def wait(is_true: Callable[[], bool], seconds: float) -> bool:
    """Wait until it is true; say whether it came to that in time."""
    give_up = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > give_up:
            return False
        time.sleep(POLL_SECONDS)
    return True
