"""A secret goes through everything a saga can do, and is then looked for in every file and text."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import finality
from tests.integration.kit import put, table, url_of, within

CANARY = "4111-canary-1111"
RESULT = "token-canary-2222"
SENT = "pin-canary-3333"
KEY = finality.new_secret_key()
ONCE = finality.Retry(attempts=1)
SEEN: list[str] = []


@dataclass(frozen=True)
class Token:
    value: finality.Secret[str]


@dataclass(frozen=True)
class Pay(finality.Saga):
    card: finality.Secret[str]
    how: str = ""
    cards: list[finality.Secret[str]] = field(default_factory=list)

    def is_wanted(self, token: Token) -> bool:
        if self.how == "condition":
            raise ValueError(f"{self.card.reveal()} and {token.value.reveal()}")
        return True

    @finality.step
    def token(self, tx: finality.SyncTx) -> Token:
        SEEN.append(self.card.reveal())
        return Token(finality.Secret(RESULT))

    @token.compensate(retry=ONCE)
    def untoken(self, tx: finality.SyncTx, token: Token) -> None:
        if self.how == "stuck":
            raise ValueError(f"{self.card.reveal()} and {token.value.reveal()}")

    @finality.step(retry=ONCE, when=is_wanted, breaker=finality.Breaker("b", failures=2))
    async def charged(self, token: Token) -> str:
        if self.how == "fails":
            raise ConnectionError(f"declined {self.card.reveal()} with {token.value.reveal()}")
        if self.how == "long":
            raise ConnectionError("x" * 1_975 + self.card.reveal())
        return "charged"

    @finality.step(retry=ONCE, at="bank")
    async def booked(self, tx: finality.Tx, charged: str | None, token: Token) -> str:
        await tx.execute("INSERT INTO effect VALUES ('booked')")
        if self.how in ("refused", "stuck"):
            raise finality.Refused(f"no {self.card.reveal()} with {token.value.reveal()}")
        return "booked"

    @finality.step(retry=ONCE, each="cards")
    def listed(self, tx: finality.SyncTx, item: finality.Secret[str], booked: str) -> finality.Secret[str]:
        put(tx, "listed")
        if self.how == "item":
            raise ValueError(f"bad {item.reveal()}")
        return item

    @finality.step(retry=ONCE, wait_for=finality.signal("pin"))
    def closed(
        self,
        tx: finality.SyncTx,
        listed: list[finality.Secret[str]],
        pin: finality.Secret[str],
        token: Token,
    ) -> str:
        if self.how == "signal":
            raise ValueError(f"wrong {pin.reveal()} for {token.value.reveal()}")
        return "closed"


HOWS = ["", "condition", "refused", "stuck", "item", "signal", "fails", "long"]  # Two open the breaker.


@pytest.mark.slow
def test_no_secret_is_anywhere_in_clear(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []

    async def main() -> None:
        stores = {"bank": url_of(tmp_path, "bank")}
        async with finality.open_async(url_of(tmp_path), stores=stores, secret_key=KEY) as node:
            await table(node)
            await table(node, "bank")
            for how in HOWS:
                saga = Pay(finality.Secret(CANARY), how, [finality.Secret(CANARY + "-item")])
                handle = await node.start(saga, id=f"p-{how}")
                await handle.signal("pin", finality.Secret(SENT))
                try:
                    texts.append(repr(await within(handle.outcome())))
                except finality.Stuck as stuck:
                    texts.extend([str(stuck), stuck.explain(), repr(stuck)])
                texts.extend([str(await handle.explain()), repr(await node.history(handle.id)), repr(saga)])
                with pytest.raises(finality.InputMismatch) as mismatch:
                    await node.start(Pay(finality.Secret("another"), how), id=f"p-{how}")
                texts.append(str(mismatch.value))
                again = await node.start(saga, id=f"p-{how}")  # Sealed anew, and yet the same input.
                assert again.id == handle.id
            health = await node.health()
            assert list(health.open_breakers) == ["b"]
            texts.append(repr(health))
            # The file is read while the write-ahead log still holds the newest pages.
            texts.extend(_files(tmp_path))

    asyncio.run(main())
    texts.extend([*_files(tmp_path), caplog.text])

    assert SEEN[0] == CANARY  # The steps themselves had it.
    assert any("***" in text for text in texts)
    for canary in ("canary", CANARY[:12], RESULT, SENT):
        assert [text[:200] for text in texts if canary in text] == []


def _files(folder: Path) -> list[str]:
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"home.db", "bank.db"}
    return [path.read_bytes().decode("latin-1") for path in files]


def test_without_a_key_a_saga_with_a_secret_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FINALITY_SECRET_KEY", raising=False)

    async def main() -> None:
        stores = {"bank": url_of(tmp_path, "bank")}
        async with finality.open_async(url_of(tmp_path), stores=stores) as node:
            with pytest.raises(finality.FinalityError, match="FINALITY_SECRET_KEY"):
                await node.start(Pay(finality.Secret(CANARY)), id="p")

    asyncio.run(main())
