"""The schema registry: a folder with the JSON Schema of each event, kept beside the code.

```
    schemas/orders/OrderPlaced.json      one file an event; its history is the repository's
```

What is there is what was agreed on. A program whose events have changed is checked against it before
it is deployed, and writes its new schemas there if they are compatible.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from finality.adapters.msgspec.schema import schema_of
from finality.core.compatibility import Compatibility, clashes
from finality.core.errors import DefinitionError
from finality.node.catalog import Key


class State(Enum):
    """How an event of the program stands to what is kept."""

    SAME = "same"
    NEW = "new"
    CHANGED = "changed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an event of the program stands to what is kept.

    Attributes:
        clashes: Why its change is not compatible.
        schema: As the program has it; None when it is gone.
    """

    topic: str
    event: str
    state: State
    clashes: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None


def schemas_of_events(events: Mapping[Key, Any]) -> dict[Key, dict[str, Any]]:
    """Return the schemas of events, by topic and type name.

    Raises:
        DefinitionError: Nothing says how one of them is written.
    """
    found = {}
    for (topic, name), cls in events.items():
        try:
            found[topic, name] = schema_of(cls)
        except TypeError as error:
            raise DefinitionError(f"event {name} of topic {topic!r} has no schema: {error}") from error
    return found


class SchemaRegistry:
    """The schemas that are kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, topic: str, event: str) -> Path:
        """Return where an event's schema is kept."""
        return self.folder / topic / f"{event}.json"

    def kept(self) -> dict[Key, Mapping[str, Any]]:
        """Return what is kept.

        Raises:
            DefinitionError: A file is no schema.
        """
        return {(path.parent.name, path.stem): _read(path) for path in sorted(self.folder.glob("*/*.json"))}

    def comparisons(
        self, schemas: Mapping[Key, Mapping[str, Any]], compatibility: Compatibility
    ) -> list[Comparison]:
        """Return how the program's events stand to what is kept, in order."""
        kept = self.kept()
        found = []
        for key in sorted({*kept, *schemas}):
            old, new = kept.get(key), schemas.get(key)
            if new is None:
                found.append(Comparison(*key, State.GONE))
            elif old is None:
                found.append(Comparison(*key, State.NEW, schema=new))
            elif old == new:
                found.append(Comparison(*key, State.SAME, schema=new))
            else:
                why = tuple(clashes(old, new, compatibility))
                found.append(Comparison(*key, State.CHANGED, why, new))
        return found

    def write(self, comparisons: Iterable[Comparison]) -> list[Path]:
        """Keep what is new or has changed; return the files that were written."""
        written = []
        for each in comparisons:
            if each.state in (State.NEW, State.CHANGED):
                path = self.path(each.topic, each.event)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(each.schema, indent=2, sort_keys=True) + "\n", "utf-8")
                written.append(path)
        return written


def _read(path: Path) -> Mapping[str, Any]:
    try:
        schema = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DefinitionError(
            f"{path} cannot be read: {error}; put it right, or take it from the repository"
        ) from error
    if not isinstance(schema, dict):
        raise DefinitionError(f"{path} holds no JSON Schema: take it from the repository, or delete it")
    return schema
