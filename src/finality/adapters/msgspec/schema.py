"""The JSON Schema of what the codec writes and reads, 2020-12."""

from __future__ import annotations

import typing
from typing import Any

import msgspec

from finality.adapters.msgspec.codec import is_pydantic
from finality.core.personal import Personal
from finality.core.secret import Secret

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(type_: Any) -> dict[str, Any]:
    """Return the schema of *type_*, complete in itself.

    Raises:
        TypeError: Nothing says how a value of it is written.
    """
    schemas, definitions = schemas_of([type_], "#/$defs/{name}")
    return {"$schema": DIALECT, **schemas[0], "$defs": definitions}


def schemas_of(types: list[Any], template: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the schemas of *types*, and what they refer to by name.

    Args:
        template: How they refer, with ``{name}`` in it.
    """
    within: dict[str, Any] = {}

    def hook(custom: Any) -> dict[str, Any]:
        if (typing.get_origin(custom) or custom) in (Secret, Personal):
            return {"type": "object", "description": "Sealed: whoever has the key reads it."}
        if is_pydantic(custom):
            schema: dict[str, Any] = custom.model_json_schema(
                by_alias=False, ref_template=template.replace("{name}", "{model}"), mode="serialization"
            )
            within.update(schema.pop("$defs", {}))
            return schema
        raise NotImplementedError  # So msgspec hears that we do not know it either, and names the type.

    found, definitions = msgspec.json.schema_components(types, schema_hook=hook, ref_template=template)
    return list(found), definitions | within
