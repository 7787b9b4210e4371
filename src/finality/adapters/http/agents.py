"""Calls to agents, from a coordinator or from each other; every call may be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from finality.adapters.http.connection import Connection, Lost
from finality.adapters.http.words import CONCLUDE, PRE_COMMIT, STANDING, VOTE, path_of
from finality.core.backoff import Retry
from finality.core.errors import Unavailable
from finality.core.three_phase.standing import COORDINATOR, COORDINATORS_TERM, Report
from finality.core.two_phase import Decision, Vote
from finality.ports.agent import Address
from finality.ports.environment import Environment

ONCE = Retry(attempts=1)  # Whoever asks an agent asks again until it takes it for dead.


async def ask(connection: Connection, branch: str, what: str, body: Any) -> dict[str, Any]:
    """Return what an agent answers.

    Raises:
        Unavailable: Nobody knows whether it has heard.
    """
    try:
        reply = await connection.call("POST", path_of(branch, what), body, retry=ONCE)
    except Lost as lost:
        raise Unavailable(f"the agent of branch {branch} does not answer: {lost}") from lost
    if reply.problem is not None:
        raise Unavailable(f"the agent of branch {branch} answers {reply.problem.code}: {reply.detail}")
    return reply.document


def report_of(document: dict[str, Any]) -> Report:
    """Return where an agent says that it stands.

    Raises:
        Unavailable: It does not say it.
    """
    try:
        return msgspec.convert(document, Report)
    except msgspec.ValidationError as error:
        raise Unavailable(f"an agent says what cannot be read: {error}") from error


async def vote(connection: Connection, branch: str, line: Sequence[Address]) -> Vote:
    """Let a branch's agent vote."""
    document = await ask(connection, branch, VOTE, {"line": line})
    return Vote.YES if document.get("vote") == Vote.YES.value else Vote.NO


async def stand(connection: Connection, branch: str, what: str, term: int, by: str) -> Report:
    """Ask a branch's agent to pre-commit, or only where it stands."""
    assert what in (PRE_COMMIT, STANDING), f"{what} is answered by no report"
    return report_of(await ask(connection, branch, what, {"term": term, "by": by}))


async def coordinate(connection: Connection, branch: str, what: str) -> Report:
    """Ask the same as the coordinator."""
    return await stand(connection, branch, what, COORDINATORS_TERM, COORDINATOR)


async def conclude(connection: Connection, branch: str, decision: Decision) -> None:
    """Tell a branch's agent the outcome."""
    await ask(connection, branch, CONCLUDE, {"did": decision.value})


class Peers:
    """The other agents, as one agent's process calls them."""

    def __init__(self, token: str, environment: Environment, seconds: float) -> None:
        self._token = token
        self._environment = environment
        self._seconds = seconds
        self._connections: dict[str, Connection] = {}

    async def ask(self, address: Address, what: str, term: int, by: str) -> Report:
        """Ask the agent at *address*.

        Raises:
            Unavailable: It does not answer.
        """
        connection = self._connections.get(address.url)
        if connection is None:
            connection = self._connections[address.url] = Connection(address.url, self._token, self._seconds)
            connection.open(self._environment)
        return await stand(connection, address.branch, what, term, by)

    async def close(self) -> None:
        """Let go of the connections."""
        for connection in self._connections.values():
            await connection.close()
