"""How the branches of a transaction agree."""

from __future__ import annotations

from enum import Enum


class CommitProtocol(Enum):
    """Two phases wait for the decision's record; three do not, and must not see a split network."""

    TWO_PHASE = "two-phase"
    THREE_PHASE = "three-phase"


TWO_PHASE = CommitProtocol.TWO_PHASE
THREE_PHASE = CommitProtocol.THREE_PHASE
