"""The agents of a service's branches, served over HTTP to coordinators and to each other."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from finality.adapters.http.agents import Peers
from finality.adapters.http.words import CONCLUDE, PRE_COMMIT, STANDING, VOTE, Problem
from finality.core.three_phase.standing import Report
from finality.core.two_phase import Decision
from finality.http.request import Failed
from finality.ports.agent import Address
from finality.ports.participant import BranchId
from finality.ports.store import Store
from finality.runtime.agents import Agents
from finality.runtime.context import Context
from finality.runtime.reservations.participant import Reservations

CALL_SHARE = 0.4  # Of the silence: an agent is asked twice before it is taken for dead.


class _Line(msgspec.Struct):
    line: tuple[Address, ...]


class _Asked(msgspec.Struct):
    term: int
    by: str


class _Concluded(msgspec.Struct):
    did: Decision


class Agency:
    """Runs agents, and serves their four requests.

    Attributes:
        digest: Of the token by which agents know each other.
        paths: How the requests end that agents send, too.
    """

    routes = (VOTE, PRE_COMMIT, STANDING, CONCLUDE)
    paths = (f"/{PRE_COMMIT}", f"/{STANDING}")

    def __init__(self, token: str, silence: float) -> None:
        self.digest = sha256(token.encode()).digest()
        self._token = token
        self._silence = silence
        self._agents: Agents | None = None
        self._peers: Peers | None = None

    @property
    def agents(self) -> Agents:
        """Return the agents."""
        assert self._agents is not None, "the application opens them with its node"
        return self._agents

    async def open(self, there: Reservations, context: Context, store: Store) -> None:
        """Go on with whatever was open."""
        self._peers = Peers(self._token, context.environment, self._silence * CALL_SHARE)
        self._agents = Agents(there, store, context.codec, self._peers.ask, self._silence)
        await self._agents.wake()

    async def close(self) -> None:
        """Look around no more."""
        if self._agents is not None:
            await self._agents.close()
        if self._peers is not None:
            await self._peers.close()

    async def serve(self, what: str, branch: BranchId, body: bytes) -> dict[str, Any]:
        """Answer one of the requests.

        Raises:
            Failed: Its body is none.
        """
        match what:
            case "vote":
                vote = await self.agents.vote(branch, _read(body, _Line).line)
                return {"branch": str(branch), "vote": vote.value}
            case "conclude":
                did = await self.agents.conclude(branch, _read(body, _Concluded).did)
                return {"branch": str(branch), "did": did.value}
        asked = _read(body, _Asked)
        ask = self.agents.pre_commit if what == PRE_COMMIT else self.agents.standing
        return _document(branch, await ask(branch, asked.term, by=asked.by))


def _document(branch: BranchId, report: Report) -> dict[str, Any]:
    return {"branch": str(branch), **msgspec.to_builtins(report)}


def _read(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(Problem.BAD_REQUEST, f"the body is none of this request: {error}") from error
