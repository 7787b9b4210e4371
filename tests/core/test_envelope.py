"""Envelopes: what we write is CloudEvents 1.0 by the word of its SDK, and comes back as it was."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from finality.adapters.foreign import read_envelope
from finality.core.envelope import (
    JSON_TYPE,
    RESERVED,
    BadEnvelope,
    Envelope,
    attributes_of,
    envelope_of,
    read_time,
    written_time,
)
from finality.core.placement import partition_of

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
MOMENTS = st.integers(0, 4_000_000_000_000_000).map(lambda microseconds: microseconds / 1_000_000)
NAMES = st.from_regex("[a-z0-9]{1,20}", fullmatch=True).filter(lambda name: name not in RESERVED)
ENVELOPES = st.builds(
    Envelope,
    id=TEXT,
    source=TEXT,
    type=TEXT,
    topic=st.just("orders"),
    data=st.binary(max_size=20),
    key=TEXT | st.just(""),
    time=MOMENTS,
    content_type=TEXT,
    traceparent=TEXT | st.none(),
    correlation_id=TEXT | st.none(),
    causation_id=TEXT | st.none(),
    extensions=st.dictionaries(NAMES, TEXT, max_size=2),
)
PLACED = Envelope(
    "e-1", "sqlite:///shop.db", "OrderPlaced", "orders", b'{"order":"o-1"}', key="o-1", time=1.5
)


@given(ENVELOPES)
def test_an_envelope_comes_back_as_it_was(envelope: Envelope) -> None:
    assert envelope_of(attributes_of(envelope), envelope.data, topic="orders") == envelope


@given(ENVELOPES)
def test_the_sdk_accepts_what_we_write(envelope: Envelope) -> None:
    """It checks names, required attributes and kinds; a time it wants as a time, with a zone."""
    attributes: dict[str, Any] = attributes_of(envelope)
    moment = datetime.fromisoformat(attributes["time"])
    theirs = CloudEvent({**attributes, "time": moment}, envelope.data)

    assert theirs.get_id() == envelope.id
    assert theirs.get_time() == moment
    assert moment.timestamp() == pytest.approx(envelope.time, abs=1e-6)


def test_the_sdk_reads_our_headers_in_kafka_and_we_read_its() -> None:
    """Binary mode: each attribute is a header with a prefix, and the data stays what it is."""
    headers = {
        "content-type" if name == "datacontenttype" else f"ce_{name}": value.encode()
        for name, value in attributes_of(PLACED).items()
    }
    theirs = from_binary(KafkaMessage(headers, b"o-1", PLACED.data), JSONFormat(), CloudEvent)
    back = to_binary(theirs, JSONFormat())
    attributes = {
        name.removeprefix("ce_").replace("content-type", "datacontenttype"): value.decode()
        for name, value in back.headers.items()
    }

    assert theirs.get_type() == "OrderPlaced"
    assert theirs.get_data() == {"order": "o-1"}
    assert envelope_of({**attributes, "partitionkey": "o-1"}, PLACED.data, topic="orders") == PLACED


DATA = st.sampled_from(
    [
        ({"order": "ключ"}, JSON_TYPE, '{"order":"ключ"}'.encode()),
        ("a,b", "text/csv", b"a,b"),
        ("a", "application/shop+json; charset=utf-8", b'"a"'),
        (b"\x00\xff", "application/octet-stream", b"\x00\xff"),
        ([1.5, None], None, b"[1.5,null]"),
        (None, JSON_TYPE, b""),
    ]
)


@given(ENVELOPES, DATA)
def test_what_the_sdk_writes_in_the_structured_mode_is_read_as_what_it_writes_in_the_binary_mode(
    envelope: Envelope, data: tuple[Any, str | None, bytes]
) -> None:
    said, content_type, expected = data
    moment = datetime.fromisoformat(written_time(1.5))
    attributes = {**attributes_of(envelope), "time": moment, "datacontenttype": content_type}
    written = {name: value for name, value in attributes.items() if value is not None}
    theirs = to_structured(CloudEvent(written, said), JSONFormat())
    found = read_envelope(
        {"datacontenttype": theirs.headers["content-type"].decode()},
        theirs.value, topic="orders", position="0/7", broker="kafka://host",
    )  # fmt: skip

    assert found == envelope._replace(data=expected, time=1.5, content_type=content_type or JSON_TYPE)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b'"specversion"', b'{"specversion": "1.0"}', b'{"specversion": "1.0", "data_base64": "~"}'],
)
def test_what_is_no_event_in_the_structured_mode_is_one_of_a_stranger(text: bytes) -> None:
    found = read_envelope({}, text, topic="orders", position="0/7", broker="kafka://host")

    assert (found.id, found.source, found.data) == ("orders/0/7", "kafka://host", text)


@pytest.mark.parametrize("missing", ["id", "source", "specversion", "type"])
def test_what_cloudevents_requires_must_be_there(missing: str) -> None:
    attributes = attributes_of(PLACED)
    del attributes[missing]

    with pytest.raises(BadEnvelope, match=f"it has no {missing}"):
        envelope_of(attributes, b"", topic="orders")


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30T00:00:00Z", "2026-02-03T00:00:00"])
def test_a_time_that_is_none_is_said(text: str) -> None:
    with pytest.raises(BadEnvelope, match="its time is"):
        read_time(text)


def test_another_version_of_cloudevents_is_not_understood() -> None:
    with pytest.raises(BadEnvelope, match="of CloudEvents 2"):
        envelope_of({**attributes_of(PLACED), "specversion": "2"}, b"", topic="orders")


def test_attributes_of_others_are_kept() -> None:
    envelope = PLACED._replace(extensions={"tenant": "acme"})

    assert attributes_of(envelope)["tenant"] == "acme"


def test_a_time_is_written_in_utc() -> None:
    assert written_time(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"


def test_a_key_is_placed_the_same_for_ever() -> None:
    """Whoever wrote an event and whoever reads it, years apart, must agree."""
    assert [partition_of(key, 8) for key in ("", "o-1", "o-2", "ключ")] == [0, 2, 0, 2]


@given(TEXT, st.integers(1, 64))
def test_a_partition_is_one_that_there_is(key: str, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
