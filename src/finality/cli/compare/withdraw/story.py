"""The story, and its ways in the order in which they are told."""

from __future__ import annotations

from finality.cli.compare.story import Story
from finality.cli.compare.withdraw.event_sourcing import EventSourced
from finality.cli.compare.withdraw.local import Local
from finality.cli.compare.withdraw.outbox import ByOutbox
from finality.cli.compare.withdraw.saga import AsSaga
from finality.cli.compare.withdraw.tcc import Tcc
from finality.cli.compare.withdraw.three_phase import ThreePhase
from finality.cli.compare.withdraw.two_phase import TwoPhase

WITHDRAW = Story(
    name="withdraw",
    ways=(Local(), TwoPhase(), ThreePhase(), Tcc(), AsSaga(), ByOutbox(), EventSourced()),
    does="$100 withdrawn",
    done="withdrawn",
    next="the same account's next withdrawal",
    refused="When the payment fails",
    apart="money nowhere, or on the account and paid as well",
    between="bank, provider and broker",
)
