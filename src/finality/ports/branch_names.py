"""What a branch and its participant may be called, so that every database can keep the name."""

from __future__ import annotations

import re

from finality.core.errors import DefinitionError, LimitExceeded
from finality.ports.participant import (
    PARTICIPANT_NAME_CHARACTERS_MAX,
    TRANSACTION_ID_CHARACTERS_MAX,
    BranchId,
)

HOME_CHARACTERS_MAX = 16  # With all that stands around it, within the 64 bytes of XA's branch qualifier.
BRANCH_NUMBER_MAX = 9_999  # Likewise.

NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{PARTICIPANT_NAME_CHARACTERS_MAX}}}")
HOME = re.compile(rf"[A-Za-z0-9_-]{{1,{HOME_CHARACTERS_MAX}}}")
TRANSACTION = re.compile(rf"[ -9;-~]{{1,{TRANSACTION_ID_CHARACTERS_MAX}}}")  # Printable ASCII but the colon.


def check_name(name: str) -> str:
    """Return *name* if a participant may have it.

    Raises:
        DefinitionError: It may not.
    """
    if NAME.fullmatch(name):
        return name
    raise DefinitionError(
        f"a participant cannot be called {name!r}: its name is part of each branch's name in its database; "
        f"write at most {PARTICIPANT_NAME_CHARACTERS_MAX} letters, digits, - and _"
    )


def check_branch(branch: BranchId) -> None:
    """See that every database can keep the branch's name.

    Raises:
        LimitExceeded: It is too long, or has characters that not all of them take.
    """
    for what, text, pattern in (
        ("home", branch.home, HOME),
        ("transaction", branch.transaction, TRANSACTION),
        ("participant", branch.participant, NAME),
    ):
        if not pattern.fullmatch(text):
            raise LimitExceeded(
                f"branch {str(branch)!r} cannot begin: databases do not keep such a name of its {what}; "
                f"use at most {TRANSACTION_ID_CHARACTERS_MAX} printable ASCII characters without a colon "
                "for the transaction's id",
                transaction_id=branch.transaction,
            )
    if branch.number > BRANCH_NUMBER_MAX:
        raise LimitExceeded(
            f"branch {branch} cannot begin: a transaction has at most {BRANCH_NUMBER_MAX} branches at one "
            "participant; do more within one branch",
            transaction_id=branch.transaction,
        )
