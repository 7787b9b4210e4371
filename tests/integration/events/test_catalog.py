"""What a program does with events, told to the schema registry and to AsyncAPI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

import finality
from finality.core.compatibility import Compatibility
from finality.core.errors import DefinitionError
from finality.node.asyncapi import asyncapi_of
from finality.node.catalog import Use, catalog_of, events_of
from finality.node.schema_registry import SchemaRegistry, State, schemas_of_events


@dataclass(frozen=True)
class Placed:
    order: str


@dataclass(frozen=True)
class Cancelled:
    order: str


@dataclass(frozen=True)
class Expired:
    order: str


@dataclass(frozen=True)
class Reserved:
    order: str
    shelf: int | None = None


def shop(**more: Any) -> ModuleType:
    """Return a program that publishes orders, reacts to them and answers."""

    @finality.react("orders", by="stock", publish="shelves")
    def reserve(tx: finality.SyncTx, placed: Placed) -> Reserved | None:
        """Take it from the shelf.

        If there is one.
        """
        return Reserved(placed.order)

    @finality.react("shelves", by="mail")
    def tell(tx: finality.SyncTx, reserved: Reserved) -> None: ...

    module = ModuleType("shop")
    vars(module).update(PUBLISHES={"orders": Placed | Cancelled}, reserve=reserve, again=reserve, tell=tell)
    vars(module).update(more)
    return module


def test_a_catalog_holds_what_a_program_does_with_events() -> None:
    answer = Use("stock.reserve", "shelves", True, {"Reserved": Reserved}, "Take it from the shelf.")

    assert catalog_of([shop()]) == [
        Use("shop", "orders", True, {"Placed": Placed, "Cancelled": Cancelled}),
        Use("stock.reserve", "orders", False, {"Placed": Placed}, "Take it from the shelf.", answer),
        answer,
        Use("mail.tell", "shelves", False, {"Reserved": Reserved}),
    ]


def test_a_choreography_brings_its_reactions_and_its_deadline() -> None:
    @finality.react("orders", by="stock")
    def reserve(tx: finality.SyncTx, placed: Placed) -> Reserved: ...  # type: ignore[empty-body]  # never called

    @finality.react("orders", by="stock", unless=reserve)
    def give_up(tx: finality.SyncTx, late: Expired) -> Cancelled: ...  # type: ignore[empty-body]  # the same

    def expired(placed: Placed) -> Expired: ...  # type: ignore[empty-body]  # the same

    booking = finality.Choreography(
        "booking", reactions=[reserve, give_up], begins=Placed, completes=Reserved, fails=[Cancelled],
        deadline=timedelta(hours=1), expires=expired,
    )  # fmt: skip
    module = ModuleType("tour")
    vars(module).update(booking=booking)

    uses = catalog_of([module])

    assert uses[0] == Use(
        "booking", "orders", True, {"Expired": Expired}, "Published when the deadline of a run has passed."
    )
    assert [use.by for use in uses[1:]] == ["stock.reserve"] * 2 + ["stock.give_up"] * 2


@pytest.mark.parametrize(
    "module, said",
    [
        (ModuleType("empty"), "empty has no event"),
        (shop(PUBLISHES={"a b": Placed}), "is no name for a topic"),
        (shop(PUBLISHES={"orders": "Placed"}), "is no class"),
        (
            shop(REQUESTS={"orders": {Placed: "Reserved"}}),
            "REQUESTS of shop names 'Reserved', which is no class",
        ),
        (shop(PUBLISHES={"orders": type("Placed", (), {"__annotations__": {}})}), "two events called Placed"),
    ],
)
def test_a_catalog_that_makes_no_sense_is_refused(module: ModuleType, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        catalog_of([module])


def test_the_registry_keeps_what_was_agreed_on(tmp_path: Path) -> None:
    registry = SchemaRegistry(tmp_path / "schemas")
    schemas = schemas_of_events(events_of(catalog_of([shop()])))
    found = registry.comparisons(schemas, Compatibility.FULL)
    assert {each.state for each in found} == {State.NEW}
    registry.write(found)
    assert {each.state for each in registry.comparisons(schemas, Compatibility.FULL)} == {State.SAME}
    assert registry.path("orders", "Placed").read_text("utf-8").endswith("}\n")

    placed = type("Placed", (), {"__annotations__": {"order": str, "price": int}})
    changed = schemas_of_events({("orders", "Placed"): dataclass(placed)})
    gone, other, reserved = registry.comparisons(changed, Compatibility.FULL)
    assert (gone.event, gone.state) == ("Cancelled", State.GONE)
    assert (reserved.event, reserved.state) == ("Reserved", State.GONE)
    assert other.clashes == (
        "this version cannot read older events: 'price' is required and may be missing; give it a default",
    )
    assert registry.comparisons(changed, Compatibility.FORWARD)[1].clashes == ()

    registry.path("orders", "Placed").write_text("[]")
    with pytest.raises(DefinitionError, match="holds no JSON Schema"):
        registry.kept()
    registry.path("orders", "Placed").write_text("{")
    with pytest.raises(DefinitionError, match="cannot be read"):
        registry.kept()


def test_an_event_that_nobody_could_read_is_named() -> None:
    class Strange:
        def __init__(self, other: int) -> None: ...

    with pytest.raises(DefinitionError, match="event Strange of topic 'orders' has no schema"):
        schemas_of_events({("orders", "Strange"): Strange})


def test_the_document_of_asyncapi_says_the_same() -> None:
    document = asyncapi_of(catalog_of([shop()]), title="shop", version="1.2.3")

    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "shop", "version": "1.2.3"}
    assert {name: list(channel["messages"]) for name, channel in document["channels"].items()} == {
        "orders": ["Cancelled", "Placed"], "shelves": ["Reserved"],
        "finality.replies": ["shelves.Reserved", "finality.refused"],
    }  # fmt: skip
    assert document["operations"]["stock.reserve.orders.receive"]["reply"] == {
        "address": {
            "location": "$message.header#/replyto",
            "description": "If it is a request; otherwise what is answered goes to shelves.",
        },
        "channel": {"$ref": "#/channels/finality.replies"},
        "messages": replies("shelves.Reserved", "finality.refused"),
    }
    assert [(name, each["action"]) for name, each in document["operations"].items()] == [
        ("shop.orders.send", "send"),
        ("stock.reserve.orders.receive", "receive"),
        ("stock.reserve.shelves.send", "send"),
        ("mail.tell.shelves.receive", "receive"),
    ]
    assert document["components"]["schemas"]["Reserved"]["required"] == ["order"]
    assert channels_read(document) == {"orders", "shelves", "finality.replies"}


def replies(*names: str) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/finality.replies/messages/{name}"} for name in names]


def channels_read(document: Any) -> set[str]:
    """Return the channels that a reader of AsyncAPI which is not ours finds."""
    assert dangling(document, document) == []
    return set(ApplicationSchema.model_validate(json.loads(json.dumps(document))).channels)


def test_the_document_says_what_is_asked_and_which_answers_are_awaited() -> None:
    """The answers of one question are events of the program, too; those of the other are only awaited."""
    asks = {"orders": {Placed: Reserved}, "shelves": {Cancelled: Reserved | Expired}}
    uses = catalog_of([shop(REQUESTS=asks)])
    document = asyncapi_of(uses, title="shop", version="1.2.3")
    operations = document["operations"]

    answers = document["channels"]["finality.replies"]["messages"]
    assert operations["shop.orders.Placed.send"]["reply"]["messages"] == replies(
        "orders.Reserved", "finality.refused"
    )
    assert operations["shop.shelves.Cancelled.send"]["reply"] == {
        "address": {
            "location": "$message.header#/replyto",
            "description": "The topic of this program's home on which it awaits answers.",
        },
        "channel": {"$ref": "#/channels/finality.replies"},
        "messages": replies("shelves.Reserved", "shelves.Expired", "finality.refused"),
    }
    assert answers["shelves.Reserved"] == {"$ref": "#/channels/shelves/messages/Reserved"}
    assert answers["shelves.Expired"]["payload"] == {"$ref": "#/components/schemas/Expired"}
    assert ("shelves", "Expired") in events_of(uses), "its schema is kept like any other"
    assert "Expired" not in document["channels"]["shelves"]["messages"]
    assert channels_read(document) == {"orders", "shelves", "finality.replies"}


def test_topics_of_what_has_failed_are_channels_whose_events_are_of_another_topic() -> None:
    @finality.react("parcels", by="post", retry_topic="parcels.retry", dead_letters="dead")
    def send(tx: finality.SyncTx, placed: Placed) -> Reserved:
        """Takes it along."""
        return Reserved(placed.order)

    uses = catalog_of([shop(send=send)])
    document = asyncapi_of(uses, title="shop", version="1.2.3")
    channels, operations = document["channels"], document["operations"]
    retry = channels["parcels.retry"]["messages"]["parcels.Placed"]

    assert retry["name"] == "Placed"
    assert retry["traits"] == [{"$ref": "#/components/messageTraits/retry"}]
    assert "retryattempt" in document["components"]["messageTraits"]["retry"]["headers"]["required"]
    assert list(channels["dead"]["messages"]) == ["parcels.Placed"]
    mine = [name for name in operations if name.startswith("post.send")]
    assert mine == [
        f"post.send.{rest}"
        for rest in (
            "parcels.receive", "parcels.send", "parcels.retry.send", "parcels.retry.receive", "dead.send"
        )
    ]  # fmt: skip
    assert "reply" not in operations["post.send.parcels.retry.send"]
    assert operations["post.send.parcels.retry.receive"]["reply"]["messages"] == replies(
        "parcels.Reserved", "finality.refused"
    )
    assert {topic for topic, _ in events_of(uses)} == {"orders", "shelves", "parcels"}
    assert channels_read(document) == {*channels}


def dangling(part: Any, document: Any) -> list[str]:
    """Return the references within *part* that lead nowhere."""
    if isinstance(part, list):
        return [each for item in part for each in dangling(item, document)]
    if not isinstance(part, dict):
        return []
    missing = [each for value in part.values() for each in dangling(value, document)]
    if isinstance(part.get("$ref"), str):
        found = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            missing.append(part["$ref"])
    return missing
