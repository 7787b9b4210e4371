"""The AsyncAPI 3.0 document of a program: its topics, events and reactions, for people and for tools.

Source: AsyncAPI Specification 3.0.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from finality.adapters.msgspec.schema import schemas_of
from finality.core.envelope import JSON_TYPE, OPTIONAL, SPECVERSION
from finality.core.errors import DefinitionError
from finality.core.request import REPLY_BY, REPLY_TO
from finality.node.catalog import Use, events_of

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
REPLIES = "finality.replies"  # The channel of answers: it has no address, whoever asks says where.
TRAIT = "event"


def asyncapi_of(uses: Iterable[Use], *, title: str, version: str) -> dict[str, Any]:
    """Return the document, as JSON would have it.

    Raises:
        DefinitionError: Nothing says how an event is written.
    """
    uses = list(uses)
    events = events_of(uses)
    try:
        payloads, definitions = schemas_of(list(events.values()), "#/components/schemas/{name}")
    except TypeError as error:
        raise DefinitionError(f"an event has no schema: {error}") from error
    channels: dict[str, Any] = {}
    for (topic, name), payload in zip(events, payloads, strict=True):
        channel = channels.setdefault(topic, {"address": topic, "messages": {}})
        channel["messages"][name] = {
            "name": name,
            "contentType": JSON_TYPE,
            "traits": [{"$ref": f"#/components/messageTraits/{TRAIT}"}],
            "payload": payload,
        }
    answers = [use.answer for use in uses if use.answer is not None]
    if answers:
        channels[REPLIES] = {"address": None, "messages": dict(map(_answer, _named(answers)))}
    return {
        "asyncapi": VERSION,
        "info": {"title": title, "version": version},
        "defaultContentType": JSON_TYPE,
        "channels": channels,
        "operations": dict(map(_operation, uses)),
        "components": {"schemas": definitions, "messageTraits": {TRAIT: _trait()}},
    }


def _operation(use: Use) -> tuple[str, dict[str, Any]]:
    action = "send" if use.is_published else "receive"
    channel = f"#/channels/{use.topic}"
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in use.events],
    }
    if use.about:
        operation["summary"] = use.about
    if use.answer is not None:
        operation["reply"] = {
            "address": {
                "location": f"$message.header#/{REPLY_TO}",
                "description": f"If it is a request; otherwise what is answered goes to {use.answer.topic}.",
            },
            "channel": {"$ref": f"#/channels/{REPLIES}"},
            "messages": [
                {"$ref": f"#/channels/{REPLIES}/messages/{_answer(each)[0]}"} for each in _named([use.answer])
            ],
        }
    return f"{use.by}.{use.topic}.{action}", operation


def _named(answers: Iterable[Use]) -> list[tuple[str, str]]:
    """Return the topic and type name of each event that is an answer."""
    return [(use.topic, name) for use in answers for name in use.events]


def _answer(event: tuple[str, str]) -> tuple[str, dict[str, str]]:
    """Return an answer as the channel of answers has it: two topics may have events of one name."""
    topic, name = event
    return f"{topic}.{name}", {"$ref": f"#/channels/{topic}/messages/{name}"}


def _trait() -> dict[str, Any]:
    return {
        "summary": "CloudEvents 1.0, in binary mode: its attributes travel beside the data.",
        "headers": {
            "type": "object",
            "properties": ATTRIBUTES,
            "required": ["specversion", "id", "source", "type"],
        },
        "correlationId": {"location": "$message.header#/correlationid"},
    }
