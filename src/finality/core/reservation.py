"""A reservation at its participant (TCC): what it holds, and what it answers to try, confirm and cancel.

```
                 ┌── try ──────────▶ TRIED ── confirm ───────────▶ CONFIRMED
    NEVER TRIED ─┤                     └───── cancel, or lapse ──▶ CANCELLED
                 ├── try, refused ─▶ REFUSED
                 └── cancel ──────────────────────────────────▶ CANCELLED   (empty cancel)
                                              late try ──▶ refused, for ever
```

A try that is committed is a vote of yes: from then on the coordinator decides. Whatever is asked
again gets the first answer, and a confirm of what was never tried is a mistake that changes nothing.

**Expiry.** A hold may say until when it is promised. That bounds the *vote*: a hold that has expired
votes no. It does not end the hold, since a commit may have been decided in time and be on its way.
Who can ask the transaction's home does so, and cancels when the home answers abort (which it does
for what nobody has decided). Only a participant that cannot ask, a service that a coordinator calls,
lets a hold lapse by itself, ``LAPSE_SECONDS`` after the last vote that it may have given. Should the
commit come even later, the participant answers that it has cancelled: a heuristic outcome, which
the coordinator records and tells a person.

Source: Consistency in the Try-Confirm/Cancel pattern, G. Pardon and C. Pautasso, 2014; Seata's TCC
fence, 2022.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from finality.core.ids import Json
from finality.core.two_phase import Decision

LAPSE_SECONDS = 60.0  # Time for a commit that was decided in time to arrive, over a bad network, too.
CANCELLED = "it was cancelled"
LATE = "it was cancelled before it came"
LAPSED = "it has expired, and nobody confirmed it"


class Stage(Enum):
    """Where a reservation is."""

    NEVER_TRIED = "never tried"
    TRIED = "tried"
    REFUSED = "refused"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class Ask(Enum):
    """What a reservation may be asked. To lapse is what a participant asks itself."""

    TRY = "try"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    LAPSE = "lapse"


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a participant has recorded of a reservation.

    Attributes:
        held: What the try answered, if it was not refused.
        because: Why it was refused or cancelled.
    """

    stage: Stage = Stage.NEVER_TRIED
    held: Json | None = None
    because: str = ""

    @property
    def did(self) -> Decision | None:
        """Return what has become of the branch; None while it waits for the decision."""
        if self.stage is Stage.TRIED:
            return None
        return Decision.COMMIT if self.stage is Stage.CONFIRMED else Decision.ABORT


NEVER_TRIED = Reserved()


@dataclass(frozen=True, slots=True)
class Proceed:
    """Run what is asked and record it in the same local transaction.

    Attributes:
        held: For a confirm or a cancel, what the try answered.
    """

    held: Json | None = None


@dataclass(frozen=True, slots=True)
class RecordOnly:
    """There is nothing to run, but it must be known for ever: the empty cancel."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Change nothing: what is recorded is the answer."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """It must not be asked, and changes nothing."""

    because: str


Reply = Proceed | RecordOnly | Repeat | Mistake


def answer_to(reserved: Reserved, ask: Ask) -> Reply:
    """Return what a participant that has recorded *reserved* does when it is asked *ask*."""
    match ask, reserved.stage:
        case Ask.TRY, Stage.NEVER_TRIED:
            return Proceed()
        case Ask.CONFIRM | Ask.CANCEL | Ask.LAPSE, Stage.TRIED:
            return Proceed(reserved.held)
        case Ask.CONFIRM, Stage.NEVER_TRIED | Stage.REFUSED:
            return Mistake(f"it was {reserved.stage.value}, so there is nothing to confirm")
        case Ask.CANCEL, Stage.NEVER_TRIED:
            return RecordOnly()
        case _:
            return Repeat()


def tried(held: Json) -> Reserved:
    """Return what is recorded of a try that holds *held*."""
    return Reserved(Stage.TRIED, held)


def refused(because: str) -> Reserved:
    """Return what is recorded of a try that said no: asked again it must not turn into a yes."""
    return Reserved(Stage.REFUSED, None, because)


def finished(reserved: Reserved, ask: Ask) -> Reserved:
    """Return what is recorded of *reserved* once it was confirmed, cancelled or has lapsed.

    Neither may refuse: what cannot be done fails, and is asked again.
    """
    reply = answer_to(reserved, ask)
    assert isinstance(reply, Proceed | RecordOnly), f"{ask} must not run: {reply}"
    assert ask is not Ask.TRY, "a try is recorded with its answer"
    if ask is Ask.CONFIRM:
        return replace(reserved, stage=Stage.CONFIRMED)
    because = LATE if isinstance(reply, RecordOnly) else LAPSED if ask is Ask.LAPSE else CANCELLED
    return replace(reserved, stage=Stage.CANCELLED, because=because)


def may_vote_yes(expires_at: float | None, now: float) -> bool:
    """Say whether a hold that is promised until *expires_at* may still vote yes."""
    return expires_at is None or now < expires_at


def may_lapse(expires_at: float | None, now: float) -> bool:
    """Say whether a participant that can ask nobody may cancel by itself."""
    return expires_at is not None and now >= expires_at + LAPSE_SECONDS
