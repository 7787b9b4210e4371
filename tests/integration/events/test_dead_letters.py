"""What keeps failing leaves its key by a retry topic, and ends on a topic of dead letters, once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.core.envelope import Envelope
from finality.node.asyncapi import MOVED
from finality.node.catalog import Station
from tests.integration.events.kit import TOPIC, Placed, arrived, own_broker, place, stored
from tests.integration.events.test_reactions import Shipped, has_noted, reacting
from tests.integration.kit import effects, eventually, url_of

RETRY, DEAD = "orders.retry", "orders.dead"
SOON = finality.Retry(attempts=2, first_seconds=0.01)
AGAIN = finality.Retry(attempts=None, first_seconds=0.01, cap_seconds=0.02)
IN_A_WEEK = finality.Retry(attempts=9, first_seconds=604_800.0, cap_seconds=604_800.0)


class Shelf:
    """A reaction that fails for some orders, so often."""

    def __init__(self, at: str | None, failures: dict[str, int], **options: Any) -> None:
        self.failures = failures

        @finality.react(TOPIC, by="stock", at=at, publish="shipped", **options)
        async def ship(tx: finality.Tx, placed: Placed) -> Shipped:
            name = f"{placed.order}{placed.number}"
            await tx.execute("INSERT INTO effect VALUES (?)", name)
            if self.failures.get(name, 0):
                self.failures[name] -= 1
                raise OSError("no scale")
            return Shipped(name)

        self.reaction = ship


async def _dead(node: finality.AsyncNode) -> bool:
    return [each.status for each in await node.inbox.parked()] == ["person"]


@pytest.mark.parametrize("at", [None, "bank"])
def test_what_fails_leaves_its_key_and_runs_from_the_retry_topic(tmp_path: Path, at: str | None) -> None:
    shelf = Shelf(at, {"a0": 1_000}, later=AGAIN, retry_topic=RETRY)

    async def scenario() -> None:
        async with reacting(tmp_path, shelf.reaction) as (node, broker):
            await place(node, "a", "a", "a")
            assert await has_noted(node, 2, at) == ["a1", "a2"]
            [first, *_] = await stored(broker)
            one, two = (await arrived(broker, 2, RETRY))[:2]
            assert _told(one, "retryid", "retryattempt") == (first.id, "1")
            assert _told(two, "retryid", "retryattempt", "retrybecause") == (
                first.id,
                "2",
                "OSError('no scale')",
            )
            assert MOVED[Station.RETRY].keys() == {
                name for name in one.extensions if name.startswith("retry")
            }
            shelf.failures["a0"] = 0
            assert await has_noted(node, 3, at) == ["a1", "a2", "a0"]
            answers = await arrived(broker, 3, "shipped")
            assert {each.causation_id for each in answers} == {each.id for each in await stored(broker)}
            assert await node.inbox.parked() == []

    asyncio.run(scenario())


def _told(envelope: Envelope, *names: str) -> tuple[str, ...]:
    return tuple(envelope.extensions[name] for name in names)


def test_what_nobody_but_a_person_can_help_is_a_dead_letter_once(tmp_path: Path) -> None:
    """Its key is held by nobody; a person has it tried twice, and it takes effect once."""
    once = finality.Retry(attempts=1, first_seconds=0.01)
    shelf = Shelf(None, {"a0": 3}, later=once, retry_topic=RETRY, dead_letters=DEAD)

    async def scenario() -> None:
        async with reacting(tmp_path, shelf.reaction) as (node, broker):
            await place(node, "a")
            [letter] = await arrived(broker, 1, DEAD)
            await eventually(lambda: _dead(node))
            [event] = await stored(broker)
            assert (letter.type, letter.data, letter.key) == ("Placed", event.data, "a")
            assert (letter.causation_id, letter.correlation_id) == (event.id, event.id)
            told = _told(letter, "deadsource", "deadtopic", "deadconsumer", "deadattempts", "deadbecause")
            assert told == (event.source, TOPIC, "stock", "2", "OSError('no scale')")
            assert MOVED[Station.DEAD].keys() == {
                name for name in letter.extensions if name.startswith("dead")
            }

            await place(node, "b", "a", key="a")
            assert await has_noted(node, 2) == ["b0", "a1"]
            await node.inbox.retry(event.id, because="the scale is back")
            await eventually(lambda: not shelf.failures["a0"])
            await eventually(lambda: _dead(node))
            await node.inbox.retry(event.id, because="now it is")
            assert await has_noted(node, 3) == ["b0", "a1", "a0"]
            assert len(await stored(broker, DEAD)) == 1

    asyncio.run(scenario())


def test_what_a_person_gives_up_is_a_dead_letter(tmp_path: Path) -> None:
    """Also if the node that does it knows no reaction."""
    in_line = finality.Retry(attempts=1)
    shelf = Shelf(None, {"a0": 1}, retry=in_line, later=IN_A_WEEK, dead_letters=DEAD)

    async def scenario() -> None:
        broker = own_broker()
        async with reacting(tmp_path, shelf.reaction, broker=broker) as (node, _):
            await place(node, "a")
            [event] = await eventually(node.inbox.parked)
            assert event.status == "retry"
            async with finality.open_async(url_of(tmp_path)) as other:
                await other.inbox.discard(event.envelope.id, because="it was a test", by="ann")
            [letter] = await arrived(broker, 1, DEAD)
            assert _told(letter, "deadbecause", "deadattempts") == ("discarded by ann: it was a test", "1")
            assert await effects(node) == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "options, says",
    [
        ({"dead_letters": TOPIC}, "puts what has failed on topic 'orders', where others expect"),
        ({"retry_topic": "x", "dead_letters": "x"}, "puts what has failed on topic 'x'"),
        ({"retry_topic": "x", "retry": SOON}, "has retry= and retry_topic="),
    ],
)
def test_a_declaration_that_mixes_topics_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(finality.DefinitionError, match=says):
        Shelf(None, {}, **options)
