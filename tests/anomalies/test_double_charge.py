"""Double charge: a repeated step.

A step charges a card. The charge is made, and the answer is lost on its way back: the connection breaks,
the node dies. Nobody can know which, so the step is asked again, and the card is charged twice.

Finality asks a service at least once; it cannot be otherwise. What it gives is a key that is the same for
every attempt, so that the service can recognise the repetition. In a store of ours the witness does that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import finality
from tests.anomalies.stage import Stage, play, sqlite_url

SOON = finality.Retry(attempts=3, first_seconds=0.001)


@dataclass
class CardService:
    """Charges a card; the answer to each first request is lost. Knows the keys that it was given."""

    charges: list[int] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)

    def charge(self, amount: int, key: str | None = None) -> int:
        if key is not None and key in self.answers:
            return self.answers[key]
        self.charges.append(amount)
        if key is not None:
            self.answers[key] = len(self.charges)
        if len(self.charges) == 1:
            raise ConnectionError("the answer was lost")
        return len(self.charges)


SERVICE = CardService()


@dataclass(frozen=True)
class PayBlindly(finality.Saga):
    """Asks again as if it had never asked."""

    @finality.step(retry=SOON)
    def charged(self) -> int:
        return SERVICE.charge(100)


@dataclass(frozen=True)
class PayByKey(finality.Saga):
    """Sends the key of the run with each attempt."""

    @finality.step(retry=SOON)
    def charged(self, attempt: finality.Attempt) -> int:
        return SERVICE.charge(100, attempt.key)


def charges(saga: finality.Saga, url: str) -> list[int]:
    SERVICE.charges.clear()
    SERVICE.answers.clear()

    async def main(stage: Stage) -> None:
        await stage.start(saga, "pay")
        assert await stage.node.outcome("pay") == finality.COMPLETED

    play(url, main)
    return SERVICE.charges


def test_a_card_is_charged_twice_when_the_answer_was_lost(url: str) -> None:
    assert charges(PayBlindly(), url) == [100, 100]


def test_a_card_is_charged_once_when_the_service_knows_the_key(url: str) -> None:
    assert charges(PayByKey(), url) == [100]


@dataclass(frozen=True)
class PayInStore(finality.Saga):
    """Charges in a database of the bank's: the witness beside the charge knows a repetition."""

    @finality.step(at="bank", retry=SOON)
    async def charged(self, tx: finality.Tx) -> int:
        await tx.execute("INSERT INTO charges VALUES (100)")
        return 100


def test_a_step_in_a_store_answers_a_repetition_from_its_witness(tmp_path: Path) -> None:
    """The saga's home loses what it had recorded since the charge, as a node that dies there does."""
    bank = sqlite_url(tmp_path, "bank")

    async def charge(stage: Stage) -> None:
        await stage.node.run(lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS charges (amount)"), at="bank")
        await stage.start(PayInStore(), "pay")

        assert (await stage.node.outcome("pay")).result == 100
        assert await stage.node.query("SELECT amount FROM charges", at="bank") == [(100,)]

    play(sqlite_url(tmp_path, "home"), charge, stores={"bank": bank})
    play(sqlite_url(tmp_path, "home as it was before"), charge, stores={"bank": bank})
