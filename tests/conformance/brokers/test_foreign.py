"""Events of others, who know nothing of CloudEvents, are events all the same."""

from __future__ import annotations

from cloudevents.core.bindings.kafka import to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from finality.runtime.envelopes import events_in
from tests.conformance.brokers.kinds import only
from tests.conformance.brokers.worlds import ALL, GROUP, World, event, publish, run, take, topic_on


@only("has_foreigners")
def test_an_event_without_attributes_is_given_those_that_it_needs(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            await world.publish_foreign(topic, b'{"n": 1}')
            await world.publish_foreign(topic, b"\xff not even text")
            ours = event(topic, "k")
            await publish(broker, ours)
            subscription = await broker.subscribe(topic, GROUP, ALL)
            taken = await take(subscription, 3)
            foreign = [each.envelope for each in taken if each.envelope.id != ours.id]

            assert sorted(each.data for each in foreign) == [b'{"n": 1}', b"\xff not even text"]
            assert all(each.id and each.source and each.topic == topic for each in foreign)
            assert len({(each.source, each.id) for each in foreign}) == 2
            await subscription.park(taken[0], "nobody knows what it means")
            await subscription.ack(taken[1:])
            assert await broker.lag(topic, GROUP) == 0

    run(story())


@only("has_foreigners")
def test_an_event_in_the_structured_mode_is_read_with_its_attributes(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            known = {"id": "e-7", "source": "/shop", "type": "Placed", "specversion": "1.0", "tenant": "acme"}
            theirs = to_structured(CloudEvent(known, {"n": 1}), JSONFormat())
            await world.publish_foreign(topic, theirs.value)
            subscription = await broker.subscribe(topic, GROUP, ALL)
            (taken,) = await take(subscription, 1)
            envelope = taken.envelope

            assert (envelope.id, envelope.source, envelope.type) == ("e-7", "/shop", "Placed")
            assert envelope.data == b'{"n":1}'
            assert envelope.extensions == {"tenant": "acme"}

            await world.publish_foreign(topic, b"[%b, %b]" % (theirs.value, b'{"n": 2}'))
            (batch,) = await take(subscription, 1)
            (same, stranger) = events_in(batch.envelope)
            assert same == envelope
            assert (stranger.type, stranger.data) == ("", b'{"n":2}')
            assert stranger.id == f"{batch.envelope.id}/1"

    run(story())


@only("has_foreigners")
def test_it_has_the_same_id_when_it_comes_again(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            await world.publish_foreign(topic, b"once")
            subscription = await broker.subscribe(topic, GROUP, ALL)
            (first,) = await take(subscription, 1)
            await subscription.close()
            (again,) = await take(await broker.subscribe(topic, GROUP, ALL), 1)

            assert again.envelope == first.envelope

    run(story())
