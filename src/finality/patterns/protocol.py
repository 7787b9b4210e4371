"""How the branches of a transaction agree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from finality.core.errors import DefinitionError
from finality.runtime.agents import SILENCE_SECONDS


@dataclass(frozen=True, slots=True)
class CommitProtocol:
    """Two phases wait for the decision's record; three do not, and must not see a split network.

    Attributes:
        silence: In three-phase commit, who has not answered for so long is taken for dead.
    """

    name: str
    silence: timedelta = timedelta(seconds=SILENCE_SECONDS)

    def with_silence(self, silence: timedelta) -> CommitProtocol:
        """Return the same with another silence: longer than any pause, or two outcomes are possible.

        Raises:
            DefinitionError: It has no silence, or not for a positive time.
        """
        if self.name != THREE_PHASE.name or silence <= timedelta(0):
            raise DefinitionError(
                f"{self.name} commit cannot take silence of {silence} for a crash: three-phase commit alone "
                "does so, after a positive time"
            )
        return replace(self, silence=silence)


TWO_PHASE = CommitProtocol("two-phase")
THREE_PHASE = CommitProtocol("three-phase")
