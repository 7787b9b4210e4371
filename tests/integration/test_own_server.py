"""The servers of the test kit that are cheap to start: what they do about a port that is taken."""

from __future__ import annotations

import gc
import os
import random
import socket
from collections.abc import Callable, Iterator, Sequence

import pytest

from finality.testing import MariaDbServer, mariadb, postgres, valkey
from finality.testing.nats_server import NatsServer, nats
from finality.testing.own_server import OwnServer
from finality.testing.plugin import skip_without_mariadb
from finality.testing.server_process import children

pytestmark = pytest.mark.slow


def nats_server() -> NatsServer:
    return nats().servers["n0"]


def mariadb_server() -> MariaDbServer:
    skip_without_mariadb()
    return mariadb()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Give a port that another program listens on, and that every server picks first."""
    picks_at_random = random.choice
    with socket.create_server(("127.0.0.1", 0)) as other:
        picks = iter([other.getsockname()[1]])

        def pick(ports: Sequence[int]) -> int:
            return next(picks, None) or picks_at_random(ports)

        monkeypatch.setattr(random, "choice", pick)
        yield other.getsockname()[1]


@pytest.mark.parametrize("server_of", [nats_server, valkey, postgres, mariadb_server])
def test_another_port_is_tried_when_one_is_taken(server_of: Callable[[], OwnServer], taken: int) -> None:
    """Nothing is left of the first attempt, nor of the second: what nobody closed is a warning, an error."""
    others = set(children(os.getpid()))
    with server_of() as server:
        its_own = set(children(os.getpid())) - others

        assert server.port not in (0, taken)
        assert len(its_own) == 2  # The server and its guard.
    gc.collect()

    assert set(children(os.getpid())) == others
    assert not server.folder.exists()
