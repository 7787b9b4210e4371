"""Compatibility: whether one version of a program understands the events of another, by their JSON Schemas.

| | who reads | whose events | so deploy first |
| --- | --- | --- | --- |
| backward | the new version | of the old one | whoever reacts |
| forward | the old version | of the new one | whoever publishes |
| full | each | of the other | whoever you like |

A schema is read as our codec reads: a field that nobody knows is left out, unless the type forbids it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

Schema = Mapping[str, Any]

AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
EXACTLY = ("format", "contentEncoding", "pattern", "multipleOf", "uniqueItems")
KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class Compatibility(Enum):
    """What two versions of an event's schema have to promise each other."""

    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"
    NONE = "none"


def clashes(old: Schema, new: Schema, compatibility: Compatibility) -> list[str]:
    """Return why *new* may not follow *old*, in sentences; nothing if it may."""
    found: list[str] = []
    if compatibility in (Compatibility.BACKWARD, Compatibility.FULL):
        found += [f"this version cannot read older events: {why}" for why in unreadable(new, old)]
    if compatibility in (Compatibility.FORWARD, Compatibility.FULL):
        found += [f"older versions cannot read its events: {why}" for why in unreadable(old, new)]
    return found


def unreadable(reader: Schema, writer: Schema) -> list[str]:
    """Return why who knows *reader* cannot read all that *writer* allows; nothing if it can."""
    return list(dict.fromkeys(Reading(reader, writer).clashes(reader, writer, "")))


class Reading:
    """Two schemas side by side, each with definitions of its own."""

    def __init__(self, reader: Schema, writer: Schema) -> None:
        self._reader = reader
        self._writer = writer
        self._open: set[tuple[str, str]] = set()  # Types that hold themselves are compared once.

    def clashes(self, reader: Schema, writer: Schema, place: str) -> Iterator[str]:
        """Yield what may come at *place* and is not understood there."""
        pair = (reader.get("$ref", ""), writer.get("$ref", ""))
        if all(pair):
            if pair in self._open:
                return
            self._open.add(pair)
        yield from self._resolved(_resolve(reader, self._reader), _resolve(writer, self._writer), place)
        self._open.discard(pair)

    def _resolved(self, reader: Schema, writer: Schema, place: str) -> Iterator[str]:
        if "anyOf" in writer:
            for option in writer["anyOf"]:
                yield from self.clashes(reader, option, place)
        elif "anyOf" in reader:
            if all([*self.clashes(option, writer, place)] for option in reader["anyOf"]):
                yield f"{_at(place)} may be {self._told(writer)}, which is none of what it knows there"
        elif "enum" in reader:
            yield from _choices(reader["enum"], writer, place)
        else:
            yield from self._kinds(reader, writer, place)

    def _kinds(self, reader: Schema, writer: Schema, place: str) -> Iterator[str]:
        known, sent = _kinds(reader), _kinds(writer)
        if known is None:
            return  # It takes anything.
        if sent is None or not all(
            kind in known or (kind == "integer" and "number" in known) for kind in sent
        ):
            yield f"{_at(place)} may be {self._told(writer)} and it expects {_listed(sorted(known))}"
            return
        if "enum" not in writer:
            yield from _narrower(reader, writer, place)
        if "object" in sent:
            yield from self._fields(reader, writer, place)
        if "array" in sent:
            yield from self._items(reader, writer, place)

    def _fields(self, reader: Schema, writer: Schema, place: str) -> Iterator[str]:
        known, sent = reader.get("properties", {}), writer.get("properties", {})
        always = writer.get("required", ())
        for name in reader.get("required", ()):
            if name not in always:
                yield f"{_at(_field(place, name))} is required and may be missing; give it a default"
        more = reader.get("additionalProperties", True)
        for name, schema in sent.items():
            if name in known:
                yield from self.clashes(known[name], schema, _field(place, name))
            elif more is False:
                yield f"{_at(_field(place, name))} may be there, and it forbids fields that it does not know"
            elif isinstance(more, Mapping):
                yield from self.clashes(more, schema, _field(place, name))
        others = writer.get("additionalProperties")
        if isinstance(others, Mapping) and isinstance(more, Mapping):
            yield from self.clashes(more, others, f"{place}[…]")

    def _items(self, reader: Schema, writer: Schema, place: str) -> Iterator[str]:
        known, sent = reader.get("prefixItems", []), writer.get("prefixItems", [])
        for number, schema in enumerate(sent):
            expected = known[number] if number < len(known) else reader.get("items", True)
            if isinstance(expected, Mapping):
                yield from self.clashes(expected, schema, f"{place}[{number}]")
        expected, others = reader.get("items", True), writer.get("items", True)
        if isinstance(expected, Mapping) and isinstance(others, Mapping):
            yield from self.clashes(expected, others, f"{place}[]")

    def _told(self, writer: Schema) -> str:
        if "enum" in writer:
            return _listed([repr(value) for value in writer["enum"]])
        title = writer.get("title")
        return str(title) if title else _listed(sorted(_kinds(writer) or ["anything"]))


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def _kinds(schema: Schema) -> set[str] | None:
    """Return the JSON types that the schema allows; None: any."""
    if "enum" in schema:
        return {KINDS[type(value)] for value in schema["enum"]}
    kinds = schema.get("type")
    if kinds is None:
        return None
    return {kinds} if isinstance(kinds, str) else set(kinds)


def _choices(known: list[Any], writer: Schema, place: str) -> Iterator[str]:
    if "enum" not in writer:
        yield f"{_at(place)} may be anything and it knows {_listed([repr(value) for value in known])}"
        return
    for value in writer["enum"]:
        if value not in known:
            yield f"{_at(place)} may be {value!r}, which it does not know"


def _narrower(reader: Schema, writer: Schema, place: str) -> Iterator[str]:
    for bound in AT_LEAST:
        if bound in reader and reader[bound] > writer.get(bound, float("-inf")):
            yield f"{_at(place)} may be below its {bound} of {reader[bound]}"
    for bound in AT_MOST:
        if bound in reader and reader[bound] < writer.get(bound, float("inf")):
            yield f"{_at(place)} may be above its {bound} of {reader[bound]}"
    for trait in EXACTLY:
        if trait in reader and reader[trait] != writer.get(trait):
            yield f"{_at(place)} may be of another {trait} than {reader[trait]!r}"


def _field(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _at(place: str) -> str:
    return repr(place) if place else "the event"


def _listed(names: list[str]) -> str:
    return " or ".join(names)
