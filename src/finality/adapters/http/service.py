"""A service over HTTP as a participant: its branches are reservations at the service.

An unclear answer is never taken for a yes or a no: the branch cannot vote then, and is cancelled by
its name, which also keeps out a try that is still on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

from finality.adapters.http import agents
from finality.adapters.http.connection import RETRY, Connection, Lost, NotSent, Reply
from finality.adapters.http.words import (
    ABORT,
    BRANCHES,
    COMMIT,
    NOTHING_HELD,
    PRE_COMMIT,
    PROTOCOL,
    ROOT,
    STANDING,
    VERSION,
    Problem,
    path_of,
)
from finality.core.backoff import Retry
from finality.core.errors import (
    Conflict,
    DefinitionError,
    InputMismatch,
    MethodFailed,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from finality.core.reservation import Stage
from finality.core.secret import without_password
from finality.core.three_phase.standing import Report
from finality.core.two_phase import Decision, Vote
from finality.ports.agent import Address
from finality.ports.branch_names import check_branch, check_name
from finality.ports.environment import Environment
from finality.ports.participant import BranchId, InDoubt
from finality.ports.reservation import HoldingBranch

CALL_SECONDS = 5.0  # From the request to the last byte of the answer.
ONCE = Retry(attempts=1)
TOKEN_HINT = "give token= as the service knows it"  # noqa: S105 - a hint, and no token


def service(
    url: str,
    *,
    name: str,
    token: str | None = None,
    timeout: timedelta = timedelta(seconds=CALL_SECONDS),
    allow_http: bool = False,
) -> Service:
    """Return a service over HTTP as a participant; it is connected to by the node.

    Args:
        url: Where the service has its participant, ``https://seats.example/finality``.
        name: What decisions call it, the same on every node and for ever.
        token: What it knows this node by; it is sent as a bearer token. By default the URL's password.
        timeout: For one call. A try or a confirm that takes longer is asked for again.
        allow_http: Send the token and the data in the clear to another machine, too.

    Raises:
        DefinitionError: The name is none, or the URL is none or would tell everybody the token.
    """
    check_name(name)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise DefinitionError(
            f"{without_password(url)!r} is no URL of a service: write https://seats.example/finality"
        )
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        raise DefinitionError(
            f"{without_password(url)!r} is not encrypted: use https, or say allow_http=True if the network "
            "is your own"
        )
    # A command line has nothing but the URL: https://:TOKEN@seats.example
    token = token or unquote(parts.password or "") or None
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return Service(Connection(plain, token, timeout.total_seconds()), name)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Service:
    """Fulfils ``ports.participant.Participant``."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._environment: Environment | None = None

    async def open(self, environment: Environment) -> None:
        """Find out whether the service is there and speaks this protocol.

        Raises:
            Unavailable: It is out of reach, or speaks another.
        """
        self._environment = environment
        self._connection.open(environment)
        document = (await self.ask("GET", ROOT, retry=ONCE)).document
        if (document.get("protocol"), document.get("version")) != (PROTOCOL, VERSION):
            raise Unavailable(f"service {self.name} speaks another protocol than {PROTOCOL} {VERSION}")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._connection.close()

    def now(self) -> float:
        """Return the node's time."""
        assert self._environment is not None, "the node opens its participants"
        return self._environment.now()

    async def begin(self, branch: BranchId, *, deadline: float | None = None) -> ServiceBranch:
        """Begin a branch, for one reservation; the service hears of it with the try."""
        check_branch(branch)
        return ServiceBranch(branch, self, deadline)

    async def ask(self, method: str, path: str, body: Any = None, *, retry: Retry = RETRY) -> Reply:
        """Call the service; a problem that it has with it is an error.

        Raises:
            Unavailable: It is out of reach, or cannot do it now.
        """
        try:
            reply = await self._connection.call(method, path, body, retry=retry)
        except Lost as lost:
            raise Unavailable(f"service {self.name} does not answer: {lost}") from lost
        if reply.problem is not None:
            raise self.unavailable(reply)
        return reply

    async def try_(self, path: str, body: Any) -> Reply:
        """Send a try; return the answer, a problem included.

        Raises:
            NotSent: The service has not heard of it.
            Lost: It may hold something.
        """
        return await self._connection.call("PUT", path, body)

    def unavailable(self, reply: Reply) -> Unavailable:
        """Return what a problem means for whoever has asked."""
        assert reply.problem is not None, "it has answered with a problem"
        hint = f"; {TOKEN_HINT}" if reply.problem is Problem.UNAUTHENTICATED else ""
        error = MethodFailed if reply.problem is Problem.METHOD_FAILED else Unavailable
        return error(f"service {self.name} answers {reply.problem.code}: {reply.detail}{hint}")

    async def finish(self, branch: BranchId, decision: Decision) -> Decision:
        """Confirm or cancel, once."""
        check_branch(branch)
        what = COMMIT if decision is Decision.COMMIT else ABORT
        reply = await self.ask("POST", path_of(str(branch), what))
        return self._did(branch, reply)

    def _did(self, branch: BranchId, reply: Reply) -> Decision:
        did = reply.document.get("did")
        if did not in (COMMIT, ABORT):
            raise Unavailable(f"service {self.name} does not say what branch {branch} has done")
        return Decision.COMMIT if did == COMMIT else Decision.ABORT

    async def settle(self, branch: BranchId) -> Decision:
        """Cancel what has not been confirmed, and say what it is."""
        return await self.finish(branch, Decision.ABORT)

    async def in_doubt(self, *, says_holds: bool = False) -> list[InDoubt]:
        """Return what the service holds for branches of this name, oldest first."""
        wanted = f"{BRANCHES}?participant={quote(self.name)}" + ("&failures=yes" if says_holds else "")
        reply = await self.ask("GET", wanted, retry=ONCE)
        try:
            listed = msgspec.convert(reply.document.get("branches"), list[_Listed])
        except msgspec.ValidationError as error:
            raise Unavailable(f"service {self.name} lists what cannot be read: {error}") from error
        found = [(BranchId.parse(each.branch), each) for each in listed]
        return [
            InDoubt(branch, each.age_seconds, each.holds, each.decided_by)
            for branch, each in found
            if branch is not None and branch.participant == self.name
        ]

    # ── Three-phase commit ──────────────────────────────────────────────────────────────────

    async def agent_url(self) -> str | None:
        """Return where other agents reach the service's; None if it runs none."""
        has_agent = (await self.ask("GET", ROOT)).document.get("agent") is True
        return self._connection.url if has_agent else None

    async def vote(self, branch: BranchId, line: Sequence[Address]) -> Vote:
        """Let the branch's agent vote."""
        return await agents.vote(self._connection, str(branch), line)

    async def pre_commit(self, branch: BranchId) -> Report:
        """Ask the branch's agent to pre-commit."""
        return await agents.coordinate(self._connection, str(branch), PRE_COMMIT)

    async def standing(self, branch: BranchId) -> Report:
        """Return where the branch's agent stands."""
        return await agents.coordinate(self._connection, str(branch), STANDING)

    async def conclude(self, branch: BranchId, decision: Decision) -> None:
        """Tell the branch's agent the outcome."""
        await agents.conclude(self._connection, str(branch), decision)

    async def committed(self, *, within: timedelta, limit: int) -> Sequence[BranchId]:
        """Return branches that have voted and committed lately."""
        return []  # The service alone knows what it has done.

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return whether the service is there."""
        try:
            reply = await self.ask("GET", ROOT, retry=ONCE)
        except Unavailable as error:
            return [("service", False, str(error))]
        return [("service", True, f"holds {', '.join(reply.document.get('reservations', []))}")]


class _Listed(msgspec.Struct):
    branch: str
    age_seconds: float
    holds: str = ""
    decided_by: float | None = None


class ServiceBranch(HoldingBranch):
    """Fulfils ``ports.participant.ReservingBranch``."""

    def __init__(self, id: BranchId, there: Service, deadline: float | None) -> None:
        super().__init__(id, there, there.now, deadline)
        self._service = there

    async def reserve(self, kind: str, input: Any, /, *, returns: Any = Any) -> Any:
        """Let the service try; return what it holds, as a value of *returns*.

        Args:
            kind: The reservation's name there.
            input: What JSON can carry: a dict, or a dataclass.

        Raises:
            Refused: It says no, and holds nothing. Conflict: likewise, for now.
            NotFound: It knows no such reservation.
            InputMismatch: It does not take the input.
            Unavailable: It is out of reach or has failed, and holds nothing.
            OutcomeUnknown: It may hold; the transaction will not commit.
        """
        began = self._service.now()
        body = {"reservation": kind, "input": input, "decided_by": self.decided_by}
        self.is_unclear = True  # Until it is not, also if whoever waits is cancelled.
        try:
            reply = await self._service.try_(path_of(str(self.id)), body)
        except NotSent as error:
            self.is_unclear = False
            raise Unavailable(f"service {self._service.name}: {error}; nothing is held") from error
        except Lost as lost:
            raise self._unknown(str(lost)) from lost
        if reply.problem is not None:
            self.is_unclear = reply.problem not in NOTHING_HELD
            raise self._unknown(reply.detail) if self.is_unclear else self._problem(kind, reply)
        if reply.document.get("stage") != Stage.TRIED.value:
            self.is_unclear = False
            because = "a branch of this name was confirmed before; choose another id"
            raise Refused(because, branch=self.id.name, transaction_id=self.id.transaction)
        expires_in = reply.document.get("expires_in")
        if isinstance(expires_in, int | float):
            self.expires_at = began + expires_in  # By our clock, and rather too early.
        try:
            held = msgspec.convert(reply.document.get("held"), returns)
        except msgspec.ValidationError as error:
            raise self._unknown(f"it holds something else than was expected: {error}") from error
        self.is_unclear, self.is_held = False, True
        return held

    def _problem(self, kind: str, reply: Reply) -> Exception:
        name, detail = self._service.name, reply.detail
        match reply.problem:
            case Problem.REFUSED:
                return Refused(detail, branch=self.id.name, transaction_id=self.id.transaction)
            case Problem.CONFLICT:
                return Conflict(detail, transaction_id=self.id.transaction)
            case Problem.UNKNOWN_RESERVATION:
                return NotFound(f"service {name} knows no reservation {kind}: {detail}")
            case Problem.BAD_INPUT | Problem.INPUT_MISMATCH:
                return InputMismatch(f"service {name} does not take this {kind}: {detail}")
            case _:
                return self._service.unavailable(reply)

    def _unknown(self, why: str) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"service {self._service.name} may hold something for branch {self.id.name}: {why}; "
            "the transaction is aborted, run it again",
            transaction_id=self.id.transaction,
        )
