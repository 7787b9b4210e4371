"""One trace goes from a request through saga, outbox, broker and reaction, whoever runs them, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import finality
from finality.adapters.opentelemetry.tracing import OpenTelemetry
from tests.integration.events.kit import own_broker, stored
from tests.integration.kit import eventually, url_of, within

PAYOUTS, PAID = "payouts", "paid"
SECRET_KEY = finality.new_secret_key()


@dataclass(frozen=True)
class PayoutAsked:
    amount: int


@dataclass(frozen=True)
class PaidOut:
    amount: int


@dataclass(frozen=True)
class WithdrawMoney(finality.Saga):
    """Deducts, asks the provider for the payout, and closes; a step in each way that steps are called."""

    amount: int
    token: finality.Secret[str]

    @finality.step
    def deducted(self, tx: finality.SyncTx) -> int:
        return self.amount

    @deducted.compensate
    async def returned(self, tx: finality.Tx, deducted: int) -> None:
        pass

    @finality.step
    async def checked(self, deducted: int) -> bool:
        if self.amount > 500:
            raise finality.Refused(f"too much for {self.token.reveal()}")
        return True

    @finality.step
    async def asked(self, tx: finality.Tx, checked: bool) -> None:
        await tx.publish(PAYOUTS, PayoutAsked(self.amount))

    @finality.step(at="ledger")
    def booked(self, tx: finality.SyncTx, asked: None) -> None:
        tx.publish("booked", PayoutAsked(self.amount))


class Spans:
    """What an OpenTelemetry SDK of the user's was told."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = OpenTelemetry(provider)
        self.tracer = provider.get_tracer("test")

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def one(self, name: str) -> ReadableSpan:
        [span] = [span for span in self.ended if span.name == name]
        return span

    def tree(self, root: str) -> list[str]:
        """Return the spans of *root*'s trace, each under its parent, siblings by name."""
        trace = self.one(root).context.trace_id
        told = sorted((span for span in self.ended if span.context.trace_id == trace), key=lambda s: s.name)

        def below(parent: int | None, depth: int) -> list[str]:
            lines = []
            for span in told:
                if (span.parent.span_id if span.parent else None) == parent:
                    mark = " !" if span.status.status_code is StatusCode.ERROR else ""
                    lines.append("  " * depth + span.name + mark)
                    lines += below(span.context.span_id, depth + 1)
            return lines

        return below(None, 0)


@pytest.fixture
def spans() -> Spans:
    return Spans()


def bank(tmp_path: Path, **settings: Any) -> finality.AsyncNode:
    return finality.open_async(
        url_of(tmp_path, "bank"),
        stores={"ledger": url_of(tmp_path, "ledger")},
        sagas=[WithdrawMoney],
        secret_key=SECRET_KEY,
        **settings,
    )


def withdraw(amount: int) -> WithdrawMoney:
    return WithdrawMoney(amount, finality.Secret("s3cret"))


@pytest.mark.slow
@pytest.mark.parametrize("is_async", [False, True])
def test_one_trace_goes_from_the_request_to_the_providers_answer(
    tmp_path: Path, spans: Spans, is_async: bool
) -> None:
    broker = own_broker()

    def pay_now(tx: finality.SyncTx, asked: PayoutAsked) -> PaidOut:
        return PaidOut(asked.amount)

    async def pay_later(tx: finality.Tx, asked: PayoutAsked) -> PaidOut:
        return PaidOut(asked.amount)

    pay: Callable[..., Any] = pay_later if is_async else pay_now

    async def story() -> None:
        provider_url = url_of(tmp_path, "provider")
        async with (
            bank(tmp_path, broker=broker, tracing=spans.tracing) as node,
            finality.open_async(provider_url, broker=broker, tracing=spans.tracing) as provider,
        ):
            provider.react(PAYOUTS, by="provider", publish=PAID)(pay)
            await provider.opened()
            with spans.tracer.start_as_current_span("POST /withdrawals"):
                handle = await node.start(withdraw(100), id="w-1")
            assert await within(handle.outcome()) == finality.COMPLETED
            await eventually(lambda: len([s for s in spans.ended if s.name.startswith("send")]) == 3)

    asyncio.run(story())

    assert spans.tree("POST /withdrawals") == [
        "POST /withdrawals",
        "  start WithdrawMoney",
        "    step WithdrawMoney.asked",
        "      process payouts",
        "        send paid",
        "      send payouts",
        "    step WithdrawMoney.booked",
        "      send booked",
        "    step WithdrawMoney.checked",
        "    step WithdrawMoney.deducted",
    ]
    process = spans.one("process payouts")
    assert process.kind is SpanKind.CONSUMER
    assert dict(process.attributes or {}) | {"messaging.message.id": "an id"} == {
        "messaging.system": "memory",
        "messaging.destination.name": PAYOUTS,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": "an id",
        "messaging.message.conversation_id": "w-1",
        "messaging.consumer.group.name": "provider",
        "finality.event.type": "PayoutAsked",
    }
    assert dict(spans.one("step WithdrawMoney.deducted").attributes or {}) == {
        "finality.saga": "WithdrawMoney",
        "finality.transaction.id": "w-1",
        "finality.branch": "deducted",
        "finality.attempt": 1,
    }


@pytest.mark.slow
def test_a_request_and_its_answer_are_one_trace(tmp_path: Path, spans: Spans) -> None:
    broker = own_broker()

    async def pay(tx: finality.Tx, asked: PayoutAsked) -> PaidOut:
        return PaidOut(asked.amount)

    async def story() -> None:
        shop = finality.open_async(url_of(tmp_path, "shop"), broker=broker, tracing=spans.tracing)
        provider = finality.open_async(url_of(tmp_path, "provider"), broker=broker, tracing=spans.tracing)
        async with shop, provider:
            provider.react(PAYOUTS, by="provider")(pay)
            await provider.opened()
            asked = shop.request(PAYOUTS, PayoutAsked(3), answer=PaidOut, within=timedelta(minutes=1))
            assert await within(asked) == PaidOut(3)
            await eventually(lambda: len([s for s in spans.ended if s.name.startswith("send")]) == 2)

    asyncio.run(story())

    tree = spans.tree("request payouts")
    assert [line.partition(" replies.")[0] for line in tree] == [
        "request payouts",
        "  process payouts",
        "    send",
        "  send payouts",
    ]
    assert spans.one("request payouts").kind is SpanKind.CLIENT


def test_a_refusal_is_told_without_its_secrets(tmp_path: Path, spans: Spans) -> None:
    async def story() -> None:
        async with bank(tmp_path, tracing=spans.tracing) as node:
            handle = await node.start(withdraw(900))
            assert await within(handle.outcome()) == finality.COMPENSATED

    asyncio.run(story())

    assert spans.tree("start WithdrawMoney") == [
        "start WithdrawMoney",
        "  step WithdrawMoney.checked !",
        "  step WithdrawMoney.deducted",
        "  undo WithdrawMoney.deducted",
    ]
    checked = spans.one("step WithdrawMoney.checked")
    assert (checked.attributes or {})["error.type"] == "Refused"
    assert str(checked.status.description).startswith("too much for ")
    assert "s3cret" not in checked.to_json()


@pytest.mark.slow
def test_a_saga_keeps_its_trace_until_another_node_drives_it(tmp_path: Path, spans: Spans) -> None:
    """Also when that node was opened, and looks at it, within a span of its own."""

    async def story() -> None:
        async with bank(tmp_path, tracing=spans.tracing, is_observer=True) as node:
            with spans.tracer.start_as_current_span("request"):
                await node.start(withdraw(100), id="w-1")
        with spans.tracer.start_as_current_span("deployment"):
            async with bank(tmp_path, tracing=spans.tracing) as node:
                assert await within(node.outcome("w-1")) == finality.COMPLETED

    asyncio.run(story())

    assert spans.tree("deployment") == ["deployment"]
    assert spans.tree("request")[:3] == ["request", "  start WithdrawMoney", "    step WithdrawMoney.asked"]
    assert len(spans.tree("request")) == 6


@dataclass(frozen=True)
class Opened:
    owner: str


@dataclass(frozen=True)
class Account(finality.Aggregate[Opened]):
    owner: str = ""

    def evolve(self, event: Opened) -> Account:
        return Account(event.owner)


@finality.project(into="owners", create="CREATE TABLE {owners} (name TEXT)")
def owners(tx: finality.SyncTx, opened: Opened) -> None:
    tx.execute("INSERT INTO {owners} VALUES (?)", opened.owner)


@pytest.mark.slow
def test_a_projection_is_in_the_trace_of_what_it_shows(tmp_path: Path, spans: Spans) -> None:
    """Whichever way the event was appended; a page of several traces is linked to each."""

    async def story() -> None:
        url = url_of(tmp_path)
        async with finality.open_async(url, tracing=spans.tracing, projections=[owners]) as node:

            async def shown(count: int) -> bool:
                return len([span for span in spans.ended if span.name == "project owners"]) == count

            with spans.tracer.start_as_current_span("alone"):
                await node.decide(Account, "a-1", lambda _: Opened("Ada"))
            await eventually(lambda: shown(1))
            with spans.tracer.start_as_current_span("block"):
                async with node.transaction() as tx:
                    await tx.append(await tx.load(Account, "a-2"), Opened("Bob"))
            await eventually(lambda: shown(2))
        async with finality.open_async(url, tracing=spans.tracing) as node:
            for name in ("first", "second"):
                with spans.tracer.start_as_current_span(name):
                    await node.run(lambda tx: tx.append(tx.load(Account, "a-3"), Opened("Eve")))
        async with finality.open_async(url, tracing=spans.tracing, projections=[owners]):
            await eventually(lambda: [span for span in spans.ended if span.links])

    asyncio.run(story())

    assert spans.tree("alone") == ["alone", "  append Account", "    project owners"]
    assert spans.tree("block") == ["block", "  transaction", "    project owners"]
    [page] = [span for span in spans.ended if span.links]
    assert {link.context.trace_id for link in page.links} == {
        spans.one(name).context.trace_id for name in ("first", "second")
    }


@pytest.mark.slow
def test_transactions_and_appends_are_spans_where_they_are_asked_for(tmp_path: Path, spans: Spans) -> None:
    """At both nodes: what a block publishes is its child, and how it ended is told."""
    broker = own_broker()

    async def story() -> None:
        async with finality.open_async(url_of(tmp_path), tracing=spans.tracing) as node:
            with spans.tracer.start_as_current_span("async"):
                async with node.transaction() as tx:
                    await tx.publish(PAYOUTS, PayoutAsked(1))
                with pytest.raises(finality.Refused):
                    async with node.transaction():
                        raise finality.Refused("sold out")
                with pytest.raises(ZeroDivisionError):
                    await node.run(lambda tx: tx.publish(PAYOUTS, PayoutAsked(1 // 0)))
                await node.decide(Account, "a-1", lambda account: Opened("Ada"))
            span = spans.one("append Account")
            assert (span.attributes or {})["db.system.name"] == "sqlite"

    asyncio.run(story())
    with finality.open("memory://traced", broker=broker, tracing=spans.tracing) as node:
        with spans.tracer.start_as_current_span("sync"), node.transaction() as tx:
            tx.publish(PAYOUTS, PayoutAsked(2))
        asyncio.run(eventually(lambda: stored(broker, PAYOUTS)))

    assert spans.tree("async") == [
        "async",
        "  append Account",
        "  transaction",
        "  transaction !",
        "  transaction !",
    ]
    assert {s.status.description for s in spans.ended if not s.status.is_ok} == {"sold out", None}
    assert spans.tree("sync") == ["sync", "  transaction", "    send payouts"]


def test_a_batch_is_linked_to_the_traces_of_all_its_events(tmp_path: Path, spans: Spans) -> None:
    broker = own_broker()

    async def story() -> None:
        async with finality.open_async(url_of(tmp_path), broker=broker, tracing=spans.tracing) as node:
            for amount in range(2):
                with spans.tracer.start_as_current_span(f"request {amount}"):
                    async with node.transaction() as tx:
                        await tx.publish(PAYOUTS, PayoutAsked(amount), key="k")
            await eventually(lambda: len([s for s in spans.ended if s.name.startswith("send")]) == 2)

            @node.react(PAYOUTS, by="provider")
            def pay(tx: finality.SyncTx, asked: list[PayoutAsked]) -> None:
                pass

            await node.opened()
            await eventually(lambda: [span for span in spans.ended if span.name == "process payouts"])

    asyncio.run(story())

    process = spans.one("process payouts")
    traces = {link.context.trace_id for link in process.links}
    assert process.parent is None
    assert traces == {spans.one(f"request {number}").context.trace_id for number in range(2)}


def test_nothing_is_told_or_kept_without_tracing(tmp_path: Path, spans: Spans) -> None:
    async def story() -> list[Any]:
        async with bank(tmp_path) as node:
            with spans.tracer.start_as_current_span("request"):
                handle = await node.start(withdraw(100), id="w-1")
            assert await within(handle.outcome()) == finality.COMPLETED
            return [each.event for each in await node.history("w-1")]

    started = asyncio.run(story())[0]

    assert started.traceparent is None
    assert [span.name for span in spans.ended] == ["request"]
