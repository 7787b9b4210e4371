"""The AsyncAPI 3.0 document of a program: its topics, events and reactions, for people and for tools.

Source: AsyncAPI Specification 3.0.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from finality.adapters.msgspec.schema import schemas_of
from finality.core.envelope import JSON_TYPE, OPTIONAL, SPECVERSION
from finality.core.errors import DefinitionError
from finality.core.request import REFUSAL_TYPE, REPLY_BY, REPLY_TO
from finality.node.catalog import Key, Station, Use, events_of

VERSION = "3.0.0"
ATTRIBUTES = {
    "specversion": {"type": "string", "const": SPECVERSION},
    "id": {"type": "string", "description": "With source it names the event: known again by both."},
    "source": {"type": "string", "format": "uri-reference", "description": "The store it was published in."},
    "type": {"type": "string", "description": "The name of the event's class."},
    "time": {"type": "string", "format": "date-time"},
    **{name: {"type": "string"} for name in OPTIONAL},
    REPLY_TO: {"type": "string", "description": "Of a request: the topic on which its answer is awaited."},
    REPLY_BY: {"type": "string", "format": "date-time", "description": "Of a request: its deadline."},
}
MOVED = {
    Station.TOPIC: {},
    Station.RETRY: {
        "retryid": "The id that the event had on its topic.",
        "retrysource": "Its source there.",
        "retrytime": "When it was published there.",
        "retrytopic": "That topic.",
        "retryconsumer": "Whose reaction has failed: only it takes the event from here.",
        "retryattempt": "How often it was tried.",
        "retrysince": "When it was moved here.",
        "retrybecause": "Why it failed.",
    },
    Station.DEAD: {
        "deadsource": "The source of the event that failed; causationid is its id.",
        "deadtopic": "Its topic.",
        "deadconsumer": "Whose reaction has failed.",
        "deadattempts": "How often it was tried.",
        "deadbecause": "Why it failed.",
    },
}
REPLIES = "finality.replies"  # The channel of answers: it has no address, whoever asks says where.
BECAUSE = {"type": "object", "properties": {"because": {"type": "string"}}, "required": ["because"]}


def asyncapi_of(uses: Iterable[Use], *, title: str, version: str) -> dict[str, Any]:
    """Return the document, as JSON would have it.

    Raises:
        DefinitionError: Nothing says how an event is written.
    """
    uses = list(uses)
    events = events_of(uses)
    try:
        schemas, definitions = schemas_of(list(events.values()), "#/components/schemas/{name}")
    except TypeError as error:
        raise DefinitionError(f"an event has no schema: {error}") from error
    stations = {use.station for use in uses}
    return {
        "asyncapi": VERSION,
        "info": {"title": title, "version": version},
        "defaultContentType": JSON_TYPE,
        "channels": _channels(uses, dict(zip(events, schemas, strict=True))),
        "operations": dict(map(_operation, uses)),
        "components": {
            "schemas": definitions,
            "messageTraits": {each.value: _trait(each) for each in Station if each in stations},
        },
    }


def _channels(uses: Iterable[Use], payloads: Mapping[Key, Any]) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for use in uses:
        messages = found.setdefault(use.topic, {})
        for key in use.keys:
            messages[_name(use, key)] = _message(key[1], payloads[key], use.station)
    replies = {
        _reply_name(key): {"$ref": f"#/channels/{key[0]}/messages/{key[1]}"}
        if key[1] in found.get(key[0], {})
        else _message(key[1], payloads[key])
        for use in uses
        if use.answer is not None
        for key in use.answer.keys
    }
    channels: dict[str, Any] = {
        topic: {"address": topic, "messages": dict(sorted(found[topic].items()))} for topic in sorted(found)
    }
    if replies:
        replies[REFUSAL_TYPE] = _message(REFUSAL_TYPE, BECAUSE)
        channels[REPLIES] = {"address": None, "messages": replies}
    return channels


def _message(type_: str, payload: Any, station: Station = Station.TOPIC) -> dict[str, Any]:
    return {
        "name": type_,
        "contentType": JSON_TYPE,
        "traits": [{"$ref": f"#/components/messageTraits/{station.value}"}],
        "payload": payload,
    }


def _name(use: Use, key: Key) -> str:
    """Return what a message is called in its channel: events of many topics may be moved to one."""
    return key[1] if use.station is Station.TOPIC else ".".join(key)


def _reply_name(key: Key) -> str:
    """Return what an answer is called in the channel of answers: two topics may have events of one name."""
    return ".".join(key)


def _operation(use: Use) -> tuple[str, dict[str, Any]]:
    action = "send" if use.is_published else "receive"
    channel = f"#/channels/{use.topic}"
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{_name(use, key)}"} for key in use.keys],
    }
    if use.about:
        operation["summary"] = use.about
    if use.answer is None:
        return f"{use.by}.{use.topic}.{action}", operation
    answers = f"#/channels/{REPLIES}"
    names = [*map(_reply_name, use.answer.keys), REFUSAL_TYPE]
    operation["reply"] = {
        "address": _address(use, use.answer),
        "channel": {"$ref": answers},
        "messages": [{"$ref": f"{answers}/messages/{name}"} for name in names],
    }
    # What is asked has an operation for each question, since each has its own answers.
    asked = f".{'.'.join(use.events)}" if use.is_published else ""
    return f"{use.by}.{use.topic}{asked}.{action}", operation


def _address(use: Use, answer: Use) -> dict[str, str]:
    where = f"If it is a request; otherwise what is answered goes to {answer.topic}."
    if use.is_published:
        where = "The topic of this program's home on which it awaits answers."
    return {"location": f"$message.header#/{REPLY_TO}", "description": where}


def _trait(station: Station) -> dict[str, Any]:
    moved = {name: {"type": "string", "description": about} for name, about in MOVED[station].items()}
    return {
        "summary": "CloudEvents 1.0, in binary mode: its attributes travel beside the data.",
        "headers": {
            "type": "object",
            "properties": ATTRIBUTES | moved,
            "required": ["specversion", "id", "source", "type", *moved],
        },
        "correlationId": {"location": "$message.header#/correlationid"},
    }
