"""The lines of a file as sagas, read one at a time: a file may be larger than the memory.

The id of a line's saga is what makes a second run go on instead of beginning again:

```
    --id-field order_id   the field's value              42
    otherwise             saga, file name, line number   BookTrip:trips.jsonl:17
```
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from finality.node.inputs import Inputs
    from finality.patterns.saga import Saga

LINE_BYTES_MAX = 1 << 20  # What an event holds; a longer line could not be kept.
ID_CHARACTERS_MAX = 200
IDS_COMPARED_MAX = 200_000  # About 25 MB; further repetitions are found by the store, when it is their turn.
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is the input of a saga. *number* is its first line in the file, from 1."""

    number: int
    id: str
    saga: Saga


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not, and why."""

    number: int
    because: str


class Lines:
    """The lines of one file. It can be gone through several times."""

    def __init__(self, path: Path, inputs: Inputs, id_field: str | None) -> None:
        self.path = path
        self.name = path.name
        self._inputs = inputs
        self._id_field = id_field
        self._is_table = _kind_of(path) == "csv"

    def __iter__(self) -> Iterator[Line | BadLine]:
        seen: dict[int, int] = {}
        with self.path.open("rb") as file:
            for line in self._of_table(file) if self._is_table else self._of_objects(file):
                yield line if isinstance(line, BadLine) else _unless_repeated(line, seen)

    def first(self, count: int) -> Iterator[Line | BadLine]:
        """Return the first *count* lines: what is appended meanwhile is for the next run."""
        return islice(self, count)

    # ── Two formats ─────────────────────────────────────────────────────────────────────────

    def _of_objects(self, file: Any) -> Iterator[Line | BadLine]:
        from finality.node.inputs import BadInput

        for number, raw in _raw_lines(file):
            if isinstance(raw, BadLine):
                yield raw
            elif raw.strip():
                try:
                    raw.decode("utf-8")  # The decoder of JSON tells the place within one text, not the line.
                    saga, parts = self._inputs.of_json(raw)
                    yield Line(number, self._id(number, parts), saga)
                except (UnicodeDecodeError, BadInput) as error:
                    yield BadLine(number, _because(error))

    def _of_table(self, file: Any) -> Iterator[Line | BadLine]:
        from finality.node.inputs import BadInput

        texts = _Texts(file)
        rows = csv.reader(texts, strict=True)
        header = self._header(rows)
        if header is None:
            return
        while True:
            number = rows.line_num + 1
            try:
                row = next(rows)
                if row:
                    saga, parts = self._of_row(header, row)
                    yield Line(number, self._id(number, parts), saga)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError, BadInput) as error:
                yield BadLine(number, _because(error))

    def _header(self, rows: Any) -> list[str] | None:
        from finality.node.inputs import BadInput

        try:
            header = next(rows, None)
            if header is None:
                return None
            names = [name.strip() for name in header]
            if len(set(names)) < len(names):
                raise BadInput("a column appears twice")
            self._inputs.check_names(names)
            if self._id_field is not None and self._id_field not in names:
                raise BadInput(f"there is no column {self._id_field!r}, which --id-field names")
        except (csv.Error, UnicodeDecodeError, BadInput) as error:
            raise click.ClickException(
                f"{self.path}, line 1, which names the columns: {_because(error)}; nothing was started"
            ) from None
        return names

    def _of_row(self, header: list[str], row: list[str]) -> tuple[Saga, Mapping[str, Any]]:
        from finality.node.inputs import BadInput

        if len(row) != len(header):
            raise BadInput(f"it has {len(row)} cells and there are {len(header)} columns")
        cells = dict(zip(header, row, strict=True))
        return self._inputs.of_texts(cells), cells

    # ── Ids ─────────────────────────────────────────────────────────────────────────────────

    def _id(self, number: int, parts: Mapping[str, Any]) -> str:
        from finality.node.inputs import BadInput

        if self._id_field is None:
            return f"{self._inputs.kind}:{self.name}:{number}"
        raw = parts.get(self._id_field)
        if raw is None:
            raise BadInput(f"{self._id_field!r} is missing, which --id-field names")
        value = raw if isinstance(raw, str) else json.loads(bytes(raw))
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise BadInput(f"{self._id_field!r} is no id: give a text or a whole number")
        id = str(value)
        if len(id) > ID_CHARACTERS_MAX or not id.isprintable():
            raise BadInput(
                f"{self._id_field!r} is no id: give up to {ID_CHARACTERS_MAX} printable characters"
            )
        return id


class _Texts:
    """The lines of a table as text. One that is no text ends up as an error of its own row."""

    def __init__(self, file: Any) -> None:
        self._lines = _raw_lines(file)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        _, raw = next(self._lines)
        if isinstance(raw, BadLine):
            raise csv.Error(raw.because)
        return raw.decode("utf-8")


def _raw_lines(file: Any) -> Iterator[tuple[int, bytes | BadLine]]:
    number = 0
    while raw := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if number == 1:
            raw = raw.removeprefix(BYTE_ORDER_MARK)
        if len(raw) <= LINE_BYTES_MAX:
            yield number, raw
            continue
        while raw and not raw.endswith(b"\n"):
            raw = file.readline(LINE_BYTES_MAX)
        yield number, BadLine(number, f"it is longer than {LINE_BYTES_MAX:,} bytes")


def _unless_repeated(line: Line, seen: dict[int, int]) -> Line | BadLine:
    """Return the line, unless its id stands on one of the first so many lines before it."""
    key = hash(line.id)
    before = seen.get(key)
    if before is not None:
        return BadLine(line.number, f"its id {line.id!r} stands on line {before} already")
    if len(seen) < IDS_COMPARED_MAX:
        seen[key] = line.number
    return line


def _because(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8: byte {error.start + 1} is 0x{error.object[error.start]:02x}"
    return str(error)


def _kind_of(path: Path) -> str:
    if path.is_dir():
        raise click.ClickException(
            f"{path} is a folder: name a file of JSON lines (.jsonl) or a table (.csv)"
        )
    if not path.exists():
        raise click.ClickException(f"there is no file {path}: check the path")
    if not path.is_file():
        raise click.ClickException(f"{path} is no file that can be read twice: write it to a file first")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise click.ClickException(
            f"{path} is neither JSON lines nor a table: name it .jsonl, with one object a line, or .csv"
        )
    return kind
