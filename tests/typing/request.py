"""How requests read to a type checker: the answer has the type that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import assert_type

import finality

SOON = timedelta(seconds=2)


@dataclass(frozen=True)
class GetQuote:
    customer: str


@dataclass(frozen=True)
class Quote:
    price: int


async def ask(node: finality.AsyncNode) -> None:
    assert_type(await node.request("quotes", GetQuote("ada"), answer=Quote, within=SOON), Quote)
    assert_type(await node.answer("quote-7", Quote), Quote)
    await node.request("quotes", GetQuote("ada"), answer=Quote("3"), within=SOON)  # type: ignore[arg-type]  # a class is wanted
    async with node.transaction() as tx:
        await tx.request("quotes", GetQuote("ada"), id="quote-7", within=SOON)
        await tx.request("quotes", GetQuote("ada"), within=SOON)  # type: ignore[call-arg]  # nobody could ask for the answer


def ask_plainly(node: finality.Node) -> None:
    assert_type(node.request("quotes", GetQuote("ada"), answer=Quote, within=SOON), Quote)
    assert_type(node.answer("quote-7", Quote), Quote)
    with node.transaction() as tx:
        tx.request("quotes", GetQuote("ada"), id="quote-7", within=SOON)
