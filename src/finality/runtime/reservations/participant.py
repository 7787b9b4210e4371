"""Reservations in one store as a participant: the committed try is the vote, confirm and cancel finish.

```
    begin ──▶ reserve (try: one local commit) ──▶ prepare: yes, at once ──▶ finish ──▶ confirm or cancel
                 │ refused                            │ expired: no
                 └─ the branch holds nothing ─────────┴─ cancel
```

What it takes to finish a hold is in its row, so any node that knows the class can do it after any crash.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from finality.core.errors import (
    DefinitionError,
    FinalityError,
    InputMismatch,
    MethodFailed,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from finality.core.ids import Json
from finality.core.reservation import Ask, Reserved, Stage, may_lapse
from finality.core.two_phase import Decision
from finality.ports.branch_names import check_branch
from finality.ports.codec import DecodeError
from finality.ports.environment import Environment
from finality.ports.participant import PARTICIPANT_NAME_CHARACTERS_MAX, BranchId, InDoubt
from finality.ports.store import Hold, Store
from finality.runtime.context import Context
from finality.runtime.reservations.asking import Asking
from finality.runtime.reservations.branch import ReservationBranch
from finality.runtime.reservations.code import ReservationCode
from finality.runtime.reservations.rows import Found, Standing, branch_of, failures, found, note_failure
from finality.runtime.reservations.turns import NothingToConfirm, Request

log = logging.getLogger("finality.reservation")

RESERVATIONS = "reservations"  # What decisions call those in the home store.
UNREADABLE = "what cannot be read"


class Reservations:
    """Fulfils ``ports.participant.Participant`` over a store of the node's.

    Args:
        kinds: What it can try, confirm and cancel, by name.
    """

    def __init__(
        self, name: str, context: Context, store: Store, kinds: Mapping[str, ReservationCode]
    ) -> None:
        self.name = name
        self.kinds = kinds
        self.now = context.environment.now
        self._codec = context.codec
        self._asking = Asking(context, store)
        self._noted: dict[BranchId, str] = {}

    async def open(self, environment: Environment) -> None:
        """The node has opened the store."""

    async def close(self) -> None:
        """The node closes the store."""

    async def begin(self, branch: BranchId, *, deadline: float | None = None) -> ReservationBranch:
        """Begin a branch, for one reservation."""
        check_branch(branch)
        return ReservationBranch(branch, self, deadline)

    # ── Try ─────────────────────────────────────────────────────────────────────────────────

    async def try_(
        self, branch: BranchId, kind: str, reservation: Any, *, decided_by: float
    ) -> tuple[Reserved, float | None]:
        """Try, or answer what a try before it has answered; durable.

        Args:
            decided_by: Before it nobody presumes that the transaction is aborted.

        Returns:
            What is recorded, and until when a hold is promised.

        Raises:
            NotFound: No such kind is known here.
            InputMismatch: The branch has tried something else.
            Unavailable: The store is out of reach; nothing was recorded.
            OutcomeUnknown: It may hold; ask again.
            Exception: Whatever the try raises; nothing of it remains.
        """
        code, now = self._code(kind), self.now()
        promised = None if code.expires_seconds is None else now + code.expires_seconds
        standing = Standing(kind, self._codec.encode(reservation), decided_by, promised)
        text = self._codec.encode(standing)
        known = await self._asking.ask(Request(branch, Ask.TRY, code, reservation, standing=text))
        if known.standing is None or known.standing == text:
            return known.reserved, promised
        before: Standing = self._codec.decode(known.standing, Standing)
        if (before.kind, before.input) != (standing.kind, standing.input):
            raise InputMismatch(
                f"branch {branch} holds a {before.kind} with another input: one branch is one reservation; "
                "begin another branch",
                transaction_id=branch.transaction,
            )
        return known.reserved, before.expires_at

    def _code(self, kind: str) -> ReservationCode:
        code = self.kinds.get(kind)
        if code is None:
            raise NotFound(
                f"reservation {kind} is not known here: open the node with reservations=[{kind}, …]"
            )
        return code

    def decoded(self, held: Json, type_: Any) -> Any:
        """Return what a try holds, as a value of *type_*."""
        return self._codec.decode(held, type_)

    # ── Confirm and cancel ──────────────────────────────────────────────────────────────────

    async def finish(self, branch: BranchId, decision: Decision) -> Decision:
        """Confirm or cancel, once; a branch that was never tried has not committed.

        Raises:
            MethodFailed: The confirm or the cancel has raised; ask again until it works.
            Unavailable: The store is out of reach, or does not say whether it was done; ask again.
        """
        check_branch(branch)
        return await self._end(branch, Ask.CONFIRM if decision is Decision.COMMIT else Ask.CANCEL)

    async def settle(self, branch: BranchId) -> Decision:
        """Cancel what has not been confirmed, and say what it is."""
        return await self.finish(branch, Decision.ABORT)

    async def look(self, branch: BranchId) -> Reserved:
        """Return what is recorded of a branch."""
        return (await self._look(branch)).reserved

    async def _look(self, branch: BranchId) -> Found:
        try:
            return await self._asking.look(f"look at reservation {branch}", partial(found, branch=branch))
        except DecodeError as error:
            raise Unavailable(f"branch {branch} cannot be finished or asked: {error}") from error

    async def _end(self, branch: BranchId, ask: Ask) -> Decision:
        known = await self._look(branch)
        did = known.reserved.did
        is_new = ask is Ask.CANCEL and known.reserved.stage is Stage.NEVER_TRIED
        if did is not None and not is_new:
            return did
        request = Request(branch, ask) if is_new else self._request(branch, ask, known)
        try:
            known = await self._asking.ask(request)
        except NothingToConfirm:
            return Decision.ABORT  # It can only have been cancelled since we looked.
        except OutcomeUnknown as lost:
            raise Unavailable(f"nobody knows whether {request.name} was done: {lost}; ask again") from lost
        except Unavailable:
            raise
        except Exception as error:  # Whatever the user's method raises, it is due until it works.
            reason = self._asking.reason(request, error)
            await self._note_failure(branch, f"its {ask.value} failed: {reason}")
            raise MethodFailed(
                f"{request.name} failed: {reason}; it is asked again until it works, so see to what it says"
            ) from error
        self._noted.pop(branch, None)
        assert known.reserved.did is not None, f"{request.name} has left it open"
        return known.reserved.did

    async def _note_failure(self, branch: BranchId, because: str) -> None:
        """Keep why it failed where every node can read it; once, since it is asked again and again."""
        if self._noted.get(branch) == because:
            return
        note = partial(note_failure, branch=branch, because=because)
        try:
            await self._asking.look(f"note of why {branch} has failed", note)
        except FinalityError as error:  # The next time it fails is soon.
            log.warning("why branch %s has failed could not be kept: %s", branch, error)
        else:
            self._noted[branch] = because

    def _request(self, branch: BranchId, ask: Ask, known: Found) -> Request:
        assert known.standing is not None, f"branch {branch} is held and has no hold"
        assert known.reserved.held is not None, f"branch {branch} is held and holds nothing"
        try:
            standing: Standing = self._codec.decode(known.standing, Standing)
            code = self._code(standing.kind)
            reservation = self._codec.decode(standing.input, code.type)
            held = self._codec.decode(known.reserved.held, code.held)
        except (DecodeError, NotFound) as error:
            raise Unavailable(
                f"branch {branch} waits for its {ask.value}, which this node cannot do: {error}"
            ) from error
        return Request(branch, ask, code, reservation, held)

    # ── What waits ──────────────────────────────────────────────────────────────────────────

    async def in_doubt(self, *, says_holds: bool = False) -> list[InDoubt]:
        """Return the holds, oldest first; one that cannot be read is among them and says so."""
        listed = await self.holds(says_holds=says_holds)
        return [doubt for doubt in listed if doubt.branch.participant == self.name]

    async def holds(self, *, says_holds: bool = False) -> list[InDoubt]:
        """Return the holds of every participant that works in this store, by whatever name.

        Args:
            says_holds: Find out why their confirms and cancels have failed.
        """
        now, listed = self.now(), []
        standing_ = await self._standing()
        held = [hold for hold, _, _ in standing_] if says_holds else []
        failed = await self._asking.look("look for failures", partial(failures, holds=held)) if held else {}
        for hold, branch, standing in standing_:
            age = max(now - hold.at, 0.0)
            if standing is None:
                listed.append(InDoubt(branch, age, UNREADABLE))
            else:
                failure = f"; {failed[hold]}" if hold in failed else ""
                listed.append(InDoubt(branch, age, standing.kind + failure, standing.decided_by))
        return listed

    async def _standing(self) -> list[tuple[Hold, BranchId, Standing | None]]:
        holds = await self._asking.look("look for holds", lambda tx: tx.holds())
        found_: list[tuple[Hold, BranchId, Standing | None]] = []
        for hold in holds:
            branch = branch_of(hold)
            if branch is not None:
                found_.append((hold, branch, self._read(hold)))
        return found_

    def _read(self, hold: Hold) -> Standing | None:
        try:
            standing: Standing = self._codec.decode(Json(hold.answer), Standing)
        except DecodeError as error:
            log.error("the hold of %s:%s cannot be read: %s", hold.transaction, hold.branch, error)
            return None
        return standing

    async def lapse(self, spare: Callable[[BranchId], bool] = lambda branch: False) -> list[BranchId]:
        """Cancel by itself what has expired long ago; for a service, which cannot ask the home.

        Args:
            spare: Says which branches somebody else sees to.

        Returns:
            What has lapsed; whoever confirms it later hears that it was aborted.
        """
        lapsed = []
        for _, branch, standing in await self._standing():
            if standing is None or spare(branch) or not may_lapse(standing.expires_at, self.now()):
                continue
            try:
                did = await self._end(branch, Ask.LAPSE)
            except Unavailable as error:
                log.warning("%s", error)
                continue
            if did is Decision.ABORT:
                log.warning("the hold of branch %s has expired, and was cancelled without a decision", branch)
                lapsed.append(branch)
        return lapsed

    async def committed(self, *, within: timedelta, limit: int) -> Sequence[BranchId]:
        """Return branches that have voted and committed lately."""
        return []  # Nobody confirms by hand: that is a method of the user's.

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return what waits, and whether this node can finish it."""
        standing = [found_[2] for found_ in await self._standing()]
        unknown = sum(each is None or each.kind not in self.kinds for each in standing)
        finding = f"{len(standing)} held" + (f", {unknown} of them unknown to this node" if unknown else "")
        return [("reservations", not unknown, finding)]


def participant_name(at: str | None) -> str:
    """Return what decisions call the reservations in a store.

    Raises:
        DefinitionError: The store's name is too long for it.
    """
    name = RESERVATIONS if at is None else f"{RESERVATIONS}-{at}"
    if len(name) > PARTICIPANT_NAME_CHARACTERS_MAX:
        raise DefinitionError(
            f"reservations in store {at!r} would be called {name!r}, which is longer than "
            f"{PARTICIPANT_NAME_CHARACTERS_MAX}: give the store a shorter name"
        )
    return name
