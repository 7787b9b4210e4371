"""The reservations of a service, served over HTTP to the coordinators of transactions elsewhere.

A plain ASGI application: mount it in any Starlette, FastAPI or Litestar app, or run it by itself.
What is answered is durable in the service's own store, so that it answers the same after a crash.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import msgspec

from finality.adapters.http.words import (
    ABORT,
    BRANCHES,
    COMMIT,
    LISTED_MAX,
    PROTOCOL,
    ROOT,
    VERSION,
    Problem,
)
from finality.core.errors import (
    Conflict,
    DefinitionError,
    InputMismatch,
    LimitExceeded,
    MethodFailed,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from finality.core.ids import Json
from finality.core.two_phase import Decision
from finality.http.agency import Agency
from finality.http.request import Failed, Receive, Request, Scope, Send
from finality.node import AsyncNode
from finality.patterns.reservation import Reservation, code_of
from finality.ports.branch_names import check_branch
from finality.ports.codec import Codec, DecodeError
from finality.ports.participant import BranchId
from finality.runtime.agents import SILENCE_SECONDS
from finality.runtime.reservations.code import ReservationCode
from finality.runtime.reservations.participant import RESERVATIONS, Reservations

log = logging.getLogger("finality.http")

TOKEN_CHARACTERS_MIN = 16  # A shorter one is guessed.
LAPSE_LOOK_SECONDS = 5.0  # What has expired is nobody's, so a few seconds more hurt nobody.


class _Try(msgspec.Struct):
    reservation: str
    input: msgspec.Raw
    decided_by: float


def participant(
    node: AsyncNode,
    *,
    reservations: Iterable[type[Reservation[Any]]],
    tokens: Collection[str],
    at: str | None = None,
    agents_token: str | None = None,
    silence: timedelta = timedelta(seconds=SILENCE_SECONDS),
) -> ParticipantApp:
    """Return an ASGI application that serves *reservations*.

    Args:
        node: The service's own; what is reserved is in its home store.
        tokens: A caller must have one of them. Several, so that one can be replaced at leisure.
        at: Reserve in another store of the node.
        agents_token: Run an agent, so that branches may take part in three-phase commit; all agents
            know each other by this one token. One process at a time may serve the store then.
        silence: Who has not answered an agent for so long is taken for dead.

    Raises:
        DefinitionError: There is no token, one is too short, or a reservation cannot keep its promise.
    """
    given = [*tokens, *([agents_token] if agents_token is not None else [])]
    if not tokens or any(len(token) < TOKEN_CHARACTERS_MIN for token in given):
        raise DefinitionError(
            f"a service needs tokens of {TOKEN_CHARACTERS_MIN} characters or more, or anybody could reserve "
            "and cancel: make one with secrets.token_urlsafe()"
        )
    kinds = {code.kind: code for code in map(code_of, reservations)}
    digests = [sha256(token.encode()).digest() for token in tokens]
    agency = None if agents_token is None else Agency(agents_token, silence.total_seconds())
    return ParticipantApp(node, kinds, digests, at, agency)


class ParticipantApp:
    """The application; ``participant`` makes it."""

    def __init__(
        self,
        node: AsyncNode,
        kinds: dict[str, ReservationCode],
        digests: list[bytes],
        at: str | None,
        agency: Agency | None,
    ) -> None:
        self._node = node
        self._kinds = kinds
        self._digests = digests
        self._at = at
        self._agency = agency
        self._there: Reservations | None = None
        self._lapsing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; run by itself, open the node first and close it in the end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise NotImplementedError(f"a participant speaks HTTP and no {scope['type']}")
        request = Request(scope, receive, send)
        try:
            document = await self._served(request)
        except Failed as failed:
            await request.fail(failed)
        except Exception:  # What it says is the service's business; its log has it all.
            log.exception("%s %s failed", request.method, request.path)
            await request.fail(Failed(Problem.UNKNOWN, "the service has failed; its log says why"))
        else:
            await request.answer(document)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._opened()
                except Exception as error:  # Whatever it is, whoever runs us has to hear it.
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await self._node.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def close(self) -> None:
        """Let no more holds lapse; the node is closed by whoever opened it."""
        if self._lapsing is not None:
            self._lapsing.cancel()
            await asyncio.gather(self._lapsing, return_exceptions=True)
        if self._agency is not None:
            await self._agency.close()

    async def _opened(self) -> tuple[Reservations, Codec]:
        context = await self._node.opened()
        if self._there is None:
            there = self._there = Reservations(PROTOCOL, context, context.store(self._at), self._kinds)
            if self._agency is not None:
                await self._agency.open(there, context, context.store(self._at))
            if any(code.expires_seconds is not None for code in self._kinds.values()):
                self._lapsing = asyncio.ensure_future(self._lapse(self._there))
        return self._there, context.codec

    async def _lapse(self, there: Reservations) -> None:
        while True:
            try:
                await (there.lapse() if self._agency is None else there.lapse(self._agency.agents.runs))
            except Unavailable as error:
                log.warning("what has expired could not be looked for: %s", error)
            await asyncio.sleep(LAPSE_LOOK_SECONDS)

    # ── Routes ──────────────────────────────────────────────────────────────────────────────

    async def _served(self, request: Request) -> dict[str, Any]:
        self._authenticate(request)
        there, codec = await self._opened()
        path, method = request.path.rstrip("/"), request.method
        if path in (ROOT, BRANCHES):
            if method != "GET":
                raise Failed(Problem.METHOD_NOT_ALLOWED, f"{path} takes GET", allow="GET")
            return self._self() if path == ROOT else await self._list(there, request)
        if not path.startswith(f"{BRANCHES}/"):
            raise Failed(Problem.NOT_FOUND, f"there is no such path; this is {PROTOCOL} {VERSION}")
        named = path.removeprefix(f"{BRANCHES}/")
        branch, _, what = named.rpartition("/") if method == "POST" else (named, "", "")
        match method, what:
            case "PUT", _:
                return await self._try(there, codec, _branch(branch), await request.body())
            case "POST", "commit" | "abort":
                finish = there.finish if self._agency is None else self._agency.agents.finish
                return await _settled(finish, _branch(branch), Decision(what))
            case "POST", _ if self._agency is not None and what in self._agency.routes:
                served: dict[str, Any] = await _reached(
                    self._agency.serve(what, _branch(branch), await request.body())
                )
                return served
            case "GET", _:
                return await self._status(there, _branch(branch))
        raise Failed(Problem.METHOD_NOT_ALLOWED, "a branch takes PUT, GET and POST …/commit or …/abort")

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.header("authorization").partition(" ")
        digest = sha256(token.strip().encode("latin-1")).digest()
        # Every one is compared, so that the time it takes tells nothing.
        digests = self._digests
        if self._agency is not None and request.path.endswith(self._agency.paths):
            digests = [*digests, self._agency.digest]
        found = [hmac.compare_digest(digest, known) for known in digests]
        if scheme.lower() != "bearer" or not any(found):
            raise Failed(Problem.UNAUTHENTICATED, "a bearer token is needed", www_authenticate="Bearer")

    def _self(self) -> dict[str, Any]:
        agent = {} if self._agency is None else {"agent": True}
        return {"protocol": PROTOCOL, "version": VERSION, "reservations": sorted(self._kinds), **agent}

    async def _list(self, there: Reservations, request: Request) -> dict[str, Any]:
        name = request.parameter("participant")
        if not name or name.partition("-")[0] == RESERVATIONS:
            raise Failed(Problem.BAD_REQUEST, "say whose branches: ?participant=NAME")
        held = await _reached(there.holds(says_holds=request.parameter("failures") == "yes"))
        doubts = [each for each in held if each.branch.participant == name]
        if self._agency is not None:
            # What has voted in three-phase commit is ended by its agents, and by no sweep.
            doubts = [each for each in doubts if not self._agency.agents.runs(each.branch)]
        return {
            "branches": [
                {
                    "branch": str(each.branch),
                    "age_seconds": each.age_seconds,
                    "holds": each.holds,
                    "decided_by": each.decided_by,
                }
                for each in doubts[:LISTED_MAX]
            ]
        }

    async def _status(self, there: Reservations, branch: BranchId) -> dict[str, Any]:
        reserved = await _reached(there.look(branch))
        did = reserved.did
        return {
            "branch": str(branch),
            "stage": reserved.stage.value,
            "did": None if did is None else did.value,
            "because": reserved.because,
        }

    async def _try(self, there: Reservations, codec: Codec, branch: BranchId, body: bytes) -> dict[str, Any]:
        try:
            asked = msgspec.json.decode(body, type=_Try)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Failed(Problem.BAD_REQUEST, f"the body is no try: {error}") from error
        code = self._kinds.get(asked.reservation)
        if code is None:
            raise Failed(Problem.UNKNOWN_RESERVATION, f"it has {', '.join(sorted(self._kinds))}")
        try:
            reservation = codec.decode(Json(bytes(asked.input).decode()), code.type)
        except DecodeError as error:
            raise Failed(Problem.BAD_INPUT, str(error)) from error
        try:
            reserved, expires_at = await _reached(
                there.try_(branch, code.kind, reservation, decided_by=asked.decided_by)
            )
        except Conflict as error:
            raise Failed(Problem.CONFLICT, str(error)) from error
        except InputMismatch as error:
            raise Failed(Problem.INPUT_MISMATCH, str(error)) from error
        except (Failed, asyncio.CancelledError):
            raise
        except Exception as error:  # Whatever the try raises; nothing of it remains.
            log.exception("the try of %s for branch %s failed", code.kind, branch)
            raise Failed(Problem.TRY_FAILED, "the try has failed; the service's log says why") from error
        if reserved.held is None or reserved.did is Decision.ABORT:
            raise Failed(Problem.REFUSED, reserved.because)
        left = None if expires_at is None else max(expires_at - there.now(), 0.0)
        return {
            "branch": str(branch),
            "stage": reserved.stage.value,
            "held": msgspec.Raw(reserved.held.encode()),
            "expires_in": left,
        }


def _branch(text: str) -> BranchId:
    branch = BranchId.parse(text)
    if branch is None:
        raise Failed(Problem.BAD_REQUEST, "a branch is named finality:HOME:TRANSACTION:PARTICIPANT")
    try:
        check_branch(branch)
    except LimitExceeded as error:
        raise Failed(Problem.BAD_REQUEST, str(error)) from error
    if branch.participant.partition("-")[0] == RESERVATIONS:
        raise Failed(Problem.BAD_REQUEST, "branches of that name are the service's own transactions'")
    return branch


async def _reached(work: Awaitable[Any]) -> Any:
    """Return what *work* answers, or fail as the store does."""
    try:
        return await work
    except MethodFailed as error:
        log.error("%s", error)
        raise Failed(
            Problem.METHOD_FAILED, "it has failed and is due until it works; the service's log says why",
            retry_after="1",
        ) from error  # fmt: skip
    except (Unavailable, NotFound) as error:
        log.warning("%s", error)
        raise Failed(Problem.UNAVAILABLE, "the service cannot do it now", retry_after="1") from error
    except OutcomeUnknown as error:
        log.warning("%s", error)
        raise Failed(Problem.UNKNOWN, "the service's store has lost the answer; ask again") from error


async def _settled(
    finish: Callable[[BranchId, Decision], Awaitable[Decision]], branch: BranchId, decision: Decision
) -> dict[str, Any]:
    did = await _reached(finish(branch, decision))
    return {"branch": str(branch), "did": COMMIT if did is Decision.COMMIT else ABORT}
