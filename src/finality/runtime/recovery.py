"""Recovery: sweeps the participants for branches in doubt, and finishes what has a decision.

Every node sweeps, at its start and then all the time; no lease and no election, since the first
event of a stream decides and finishing twice changes nothing. A branch whose transaction nobody
has decided is aborted once its coordinator has had time enough: presumed abort. A branch of
another home is reported and left alone.

```
    in doubt at a participant ──┬─ decided ──────────────────▶ finish
                                ├─ not decided, grace over ──▶ decide ABORT, then finish
                                └─ of another home ──────────▶ report
    committed, of no decision ──────────────────────────────▶ decide ABORT: it was finished by hand
    decided, not all finished ─────────────────────────────▶ finish
```
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from finality.core.errors import FinalityError, Unavailable, VersionConflict
from finality.core.two_phase import Decided, Decision, FoundCommitted, FoundInDoubt
from finality.ports.home import Head
from finality.ports.participant import Branch, BranchId, InDoubt, Participant
from finality.runtime.commitment import Commitments
from finality.runtime.decisions import Known

log = logging.getLogger("finality.two_phase")

SWEEP_SECONDS = 1.0  # Branches in doubt hold locks, so somebody may be waiting.
COMPARE_SECONDS = 10.0  # Nobody waits for what was committed by hand.
COMPARED = timedelta(days=1)  # Longer than no node runs.
COMPARED_MAX = 1_000  # Branches of each participant: those before a crash are its newest.
GRACE_SECONDS = 2.0  # From prepare to decision it takes milliseconds; a pause may take longer.
LANES_MAX = 64  # Branches that are being finished at once; more would only queue at the participants.
LEFT = "its coordinator left it undecided"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Doubt:
    """A branch in doubt, as a sweep has found it.

    Attributes:
        is_foreign: Another home holds its decision, so this node leaves it alone.
    """

    found: InDoubt
    since: float
    is_foreign: bool

    @property
    def undecided_since(self) -> float:
        """Return from when on no block can be at work on it any more."""
        return max(self.since, self.found.decided_by or 0.0)


class Recovery:
    """The loop that ends what was left in doubt.

    Attributes:
        finished: How many branches it has finished.
        unreachable: The participants that the last sweep could not ask, and why.
        grace_seconds: How long a coordinator has to decide what it has prepared.
        sweep_seconds: How long apart sweeps are, about.
    """

    def __init__(
        self,
        commitments: Commitments,
        *,
        grace_seconds: float = GRACE_SECONDS,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self.finished = 0
        self._is_stopped = False
        self.unreachable: dict[str, str] = {}
        self._commitments = commitments
        self.grace_seconds = grace_seconds
        self.sweep_seconds = sweep_seconds
        self._seen: dict[BranchId, float] = {}
        self._compare_at = 0.0
        self._sweeping: asyncio.Task[None] | None = None
        self._is_closing = False

    async def run(self) -> None:
        """Sweep until cancelled or stopped; no trouble ends it, since locks would be held for ever."""
        while not self._is_stopped:
            # Who is cancelled in the middle of a finish may leave half of a statement behind.
            self._sweeping = asyncio.ensure_future(self._sweep())
            await asyncio.shield(self._sweeping)
            # Several nodes should not all ask at the same moment.
            chance = self._commitments.environment.chance()
            await asyncio.sleep(self.sweep_seconds * (0.5 + chance))

    async def stop(self) -> None:
        """End the loop when its sweep is over, so that a test or a bench sweeps by itself."""
        self._is_stopped = True
        if self._sweeping is not None:
            await self._sweeping

    async def close(self, seconds: float) -> None:
        """Begin nothing more, and wait for what is being finished, so long at most."""
        self._is_closing = True
        if self._sweeping is not None:
            await asyncio.wait([self._sweeping], timeout=seconds)

    async def _sweep(self) -> None:
        try:
            await self.sweep()
        except FinalityError as error:
            log.warning("branches in doubt could not be swept, it is tried again: %s", error)
        except Exception:
            log.exception("branches in doubt could not be swept, it is tried again")

    async def sweep(self) -> None:
        """Look once, and finish what can be finished now."""
        async for heads in self._commitments.decisions.open():
            await self._each(heads, self._finish_decided)
        doubts = await self.doubts()
        left_at = self._commitments.environment.now() - self.grace_seconds
        ripe = [doubt for doubt in doubts if not doubt.is_foreign and left_at >= doubt.undecided_since]
        if ripe:
            log.warning("branches left in doubt are finished: %s, %d in all", ripe[0].found.branch, len(ripe))
        await self._each([doubt.found.branch for doubt in ripe], self._end)
        await self._each(await self._committed_undecided(), self._end)

    async def doubts(self, *, says_holds: bool = False) -> list[Doubt]:
        """Return every branch in doubt that no block of this process is about to finish.

        Args:
            says_holds: Find out what each holds, which a participant may have to look for.
        """
        commitments = self._commitments
        identity = await commitments.decisions.found_identity()
        now = commitments.environment.now()
        asked = (self._ask(each, says_holds) for each in commitments.participants.values())
        lists = await asyncio.gather(*asked)
        found = [each for some in lists for each in some if not commitments.drives(each.branch.transaction)]
        self._seen = {each.branch: self._since(each, now) for each in found}
        return [Doubt(each, self._seen[each.branch], each.branch.home != identity) for each in found]

    async def _committed_undecided(self) -> list[BranchId]:
        """Return branches that were committed by hand before anybody decided, now and then."""
        commitments = self._commitments
        now = commitments.environment.now()
        if now < self._compare_at:
            return []
        self._compare_at = now + COMPARE_SECONDS
        identity = await commitments.decisions.identity()
        lists = await asyncio.gather(*map(self._ask_committed, commitments.participants.values()))
        ours = [each for some in lists for each in some if each.home == identity]
        undecided = await commitments.decisions.undecided({branch.transaction for branch in ours})
        return [branch for branch in ours if branch.transaction in undecided]

    async def _ask_committed(self, participant: Participant[Branch]) -> Iterable[BranchId]:
        try:
            return await participant.committed(within=COMPARED, limit=COMPARED_MAX)
        except Unavailable:
            return ()  # The sweep has said so.

    def _since(self, found: InDoubt, now: float) -> float:
        """Return when a branch was first seen in doubt, by whichever clock knows more."""
        seen = self._seen.get(found.branch, now)
        return seen if found.age_seconds is None else min(seen, now - found.age_seconds)

    async def _ask(self, participant: Participant[Branch], says_holds: bool) -> Iterable[InDoubt]:
        try:
            found = await participant.in_doubt(says_holds=says_holds)
        except Unavailable as error:
            if participant.name not in self.unreachable:
                log.warning("participant %s cannot be swept: %s", participant.name, error)
            self.unreachable[participant.name] = str(error)
            return ()
        self.unreachable.pop(participant.name, None)
        return found

    async def _finish_decided(self, head: Head) -> None:
        if not self._commitments.drives(head.id):
            await self._finish(await self._commitments.decisions.load(head.id, head.key))

    async def _finish(self, known: Known) -> None:
        heard = await self._commitments.finisher.finish(known)
        self.finished += len(known.state.unfinished) - len(heard.state.unfinished)

    async def _end(self, branch: BranchId) -> None:
        """Finish one branch, and decide for it first if nobody has."""
        decisions = self._commitments.decisions
        known = await decisions.find(branch.transaction)
        if known is None:
            log.info("branch %s is aborted: %s", branch, LEFT)
            known = await decisions.decide(branch.transaction, Decided(Decision.ABORT, (branch.name,), LEFT))
            known = await self._look_for_committed(known)
        # It may have answered the abort before its prepare arrived: then it is named again.
        await self._finish(await decisions.hear(known, [FoundInDoubt(branch.name)]))

    async def _look_for_committed(self, known: Known) -> Known:
        """Ask every participant whether somebody has committed its branch by hand meanwhile."""
        commitments = self._commitments
        identity = await commitments.decisions.identity()
        found = []
        for name, participant in commitments.participants.items():
            if name not in known.state.branches:
                did = await participant.finish(BranchId(identity, known.id, name), Decision.ABORT)
                found += [FoundCommitted(name)] if did is Decision.COMMIT else []
        return await commitments.decisions.hear(known, found)

    async def _each(self, items: list[T], work: Callable[[T], Awaitable[None]]) -> None:
        """Do *work* for each of *items*, in a bounded number of lanes; trouble with one hurts no other."""
        waiting = iter(items)
        await asyncio.gather(*(self._lane(waiting, work) for _ in items[:LANES_MAX]))

    async def _lane(self, waiting: Iterator[T], work: Callable[[T], Awaitable[None]]) -> None:
        for item in waiting:
            if self._is_closing:
                return
            try:
                await work(item)
            except (Unavailable, VersionConflict) as error:
                log.warning("%s is left for the next sweep: %s", item, error)
