"""Golden files: one of every event in every version, so that a change which breaks old ones is found.

```
    tests/golden/Account/Withdrawn.json      {"amount": 30}                what the journal holds, for ever
    tests/golden/Account/Withdrawn@2.json    {"amount": 30, "currency": …}
```

A file is written once, when its version is new, and committed. From then on it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finality.core.errors import Stuck
from finality.core.ids import NodeId, Position, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, aggregate_stream, split_type
from finality.patterns.aggregate import Aggregate, kind_of
from finality.runtime.sourcing.kind import EventType, Kind
from finality.runtime.sourcing.reading import KnownEvents
from finality.runtime.sourcing.writing import facts_of
from finality.testing.fixtures import CODEC, throwaway_keys


def golden(folder: str | Path, kind: type[Aggregate[Any]], *samples: Any) -> dict[str, Any]:
    """See that every event of *kind* is still written and read as it was; return what each file reads as.

    Args:
        folder: Where the files are, in one folder for each kind of aggregate.
        samples: One event of each type.

    Raises:
        AssertionError: A type has no sample; an event is written otherwise than its version was; an
            old one is not read any more; or a file was missing and has been written, to be committed.
    """
    known = kind_of(kind)
    here = Path(folder) / known.name
    lacking = sorted(each.name for each in known.types.values() if each.cls not in map(type, samples))
    if lacking:
        raise AssertionError(f"{known.name} takes {', '.join(lacking)}, and no sample of it is given")
    written = [
        path
        for sample in samples
        if (path := _compared(here, known.by_class[type(sample)], sample, known)) is not None
    ]
    read = {file.stem: _read(file, known) for file in sorted(here.glob("*.json"))}
    if written:
        names = ", ".join(path.name for path in written)
        raise AssertionError(f"{names} was missing in {here} and has been written: look at it and commit it")
    return read


def _compared(here: Path, type_: EventType, sample: Any, kind: Kind) -> Path | None:
    """Return the file of today's version if it has just been written."""
    with throwaway_keys():
        [fact] = facts_of([sample], kind.by_class, None, kind.name, CODEC)
    path, data = here / f"{fact.type}.json", _without_seal(json.loads(fact.data))
    if not path.exists():
        here.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")
        return path
    kept = json.loads(path.read_text("utf-8"))
    if kept != data:
        raise AssertionError(
            f"{fact.type} is written as {data}, and {path} says {kept}: what is in journals stays as it is; "
            f"declare @finality.event(version={type_.version + 1}) and an upcaster, or take the sample back"
        )
    return None


def _without_seal(plain: Any) -> Any:
    """Return what is written but for what personal data is sealed as: that is another text each time."""
    if isinstance(plain, dict):
        return {name: "…" if name == "$personal" else _without_seal(value) for name, value in plain.items()}
    return [_without_seal(each) for each in plain] if isinstance(plain, list) else plain


def _read(file: Path, kind: Kind) -> Any:
    fact = Fact(file.stem, file.read_bytes())
    stream = aggregate_stream(kind.name, "golden")
    recorded = Recorded(Position(1), stream, Version(1), fact, 0.0, NodeId(""))
    try:
        return KnownEvents(_all(kind.types, file), CODEC).read(recorded)
    except Stuck as error:
        raise AssertionError(f"{file} is not read any more: {error.__cause__}") from error


def _all(types: Mapping[str, EventType], file: Path) -> Mapping[str, EventType]:
    name = split_type(file.stem)[0]
    if name not in types:
        raise AssertionError(
            f"{file} holds a {name}, which nobody takes any more: journals may hold it, too; keep the name "
            f'with @finality.event(name="{name}")'
        )
    return types
