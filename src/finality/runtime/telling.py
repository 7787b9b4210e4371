"""What comes of a step that was asked: the saga hears its answer, and its circuit breaker does."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from finality.core.errors import Conflict, DefinitionError, FinalityError, Refused, Unavailable
from finality.core.saga import Status
from finality.core.saga import events as e
from finality.runtime.answers import Asked, Unkeepable, erred, reason
from finality.runtime.breakers import Breakers
from finality.runtime.context import Context
from finality.runtime.definition import StepCode
from finality.runtime.drive import Drive
from finality.runtime.turns import Settled, SignalTurn

log = logging.getLogger("finality.coordinator")

TROUBLE_SECONDS = 1.0  # How long a saga rests when the store is out of reach.


class Telling:
    """Passes on what steps answered."""

    def __init__(self, context: Context, breakers: Breakers, settled: Settled) -> None:
        self._context = context
        self._breakers = breakers
        self._settled = settled

    def signal(self, drive: Drive, signal: e.SagaSignal, branch: str | None = None) -> None:
        """Let the saga hear *signal*."""
        self._context.home.submit(SignalTurn(drive, signal, self._settled, branch))

    def answer(self, drive: Drive, signal: e.SagaSignal, branch: str) -> None:
        """Let the saga hear what a step answered, and again if the store was out of reach.

        To ask the step again would be right as well, but it would ask for its effect twice.
        """
        heard = partial(self._answer_heard, signal=signal, branch=branch)
        self._context.home.submit(SignalTurn(drive, signal, heard, branch))

    def _answer_heard(
        self, drive: Drive, error: BaseException | None, *, signal: e.SagaSignal, branch: str
    ) -> None:
        if not isinstance(error, Unavailable):
            self._settled(drive, error)
            return
        drive.busy.add(branch)
        asyncio.get_running_loop().call_later(TROUBLE_SECONDS, self.answer, drive, signal, branch)

    async def failed(
        self, drive: Drive, command: Asked, code: StepCode, error: BaseException
    ) -> e.SagaSignal:
        """Count a failure at the step's breaker; return what the saga is to hear."""
        signal = erred(self._context, drive, command, error)
        if isinstance(error, Refused | Unkeepable | Conflict | DefinitionError):
            await self.worked(code)  # Whoever was asked has answered, or was not the one in trouble.
        else:
            await self._count_failure(code, reason(self._context, drive, error))
        return signal

    async def worked(self, code: StepCode) -> None:
        """Tell the step's breaker that a call worked."""
        if code.breaker is None:
            return
        try:
            await self._breakers.succeeded(code.breaker, code.breaker_policy)
        except FinalityError as trouble:  # The step's answer is worth more than the breaker's count.
            log.warning("circuit breaker %s could not hear of a success: %s", code.breaker, trouble)

    async def _count_failure(self, code: StepCode, because: str) -> None:
        if code.breaker is None:
            return
        try:
            await self._breakers.failed(code.breaker, code.breaker_policy, because)
        except FinalityError as trouble:  # As above.
            log.warning("circuit breaker %s could not hear of a failure: %s", code.breaker, trouble)

    async def count(self, drive: Drive, command: Asked, code: StepCode) -> None:
        """Tell the step's breaker what came of a step that is one commit with its event."""
        branch = drive.state.branches.get(command.step)
        if branch is not None and branch.because and branch.status is not Status.REFUSED:
            await self._count_failure(code, branch.because)
        else:
            await self.worked(code)
