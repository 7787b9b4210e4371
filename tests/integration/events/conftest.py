"""Runs a test of events over every broker that is a server."""

from __future__ import annotations

import pytest

from tests.integration.events.log import Server

# By the groups of tests that have such a server to themselves.
SERVERS = {
    "kafka": "apache_kafka",
    "nats": "finality_nats",
    "rabbitmq": "rabbitmq_server",
    "redis": "finality_valkey",
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in SERVERS])
def server(request: pytest.FixtureRequest) -> Server:
    """Give a server that other tests use, too."""
    server: Server = request.getfixturevalue(SERVERS[request.param])
    return server
