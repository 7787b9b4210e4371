"""What a parameter may name, so that a shell can complete it: a store's URL, a file with a class in it.

A shell puts a space behind the only candidate there is. So a folder that is the only one is opened, and
so is a Python file: its classes are found by reading it, and nothing of it runs.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

ENTRIES_MAX = 2_000  # Of a folder that are looked at: a shell waits for it.
SOURCE_BYTES_MAX = 1 << 20
SQLITE = "sqlite:///"
SQLITE_HEADER = b"SQLite format 3\0"
SPECIAL = frozenset(" \t\n\\'\"$`!&|;<>()*?[]{}#~")  # A name with these would have to be quoted.


class Url(StringParamType):
    """A URL; that of a SQLite file is completed."""

    name = "url"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the SQLite files that it may go on to."""
        return [CompletionItem(each) for each in sqlite_urls(incomplete)]


class NamedUrl(Url):
    """A name, and a URL behind it: ``bank=sqlite:///bank.db``."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the SQLite files that it may go on to, once it has a name."""
        name, equals, url = incomplete.partition("=")
        return [CompletionItem(f"{name}={each}") for each in sqlite_urls(url)] if equals else []


class Source(StringParamType):
    """A Python file, or with *base* a class in it that extends that one: ``trips.py:BookTrip``."""

    name = "file"

    def __init__(self, base: str | None = None) -> None:
        self._base = base

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the files that it may go on to, or the classes in the one that it names."""
        file, colon, _ = incomplete.rpartition(":")
        found = self._classes(file) if colon else paths(incomplete, lambda path: path.suffix == ".py")
        if len(found) == 1 and not colon:
            found = self._classes(found[0]) or found
        return [CompletionItem(each) for each in found if each.startswith(incomplete)]

    def _classes(self, file: str) -> list[str]:
        return [] if self._base is None else [f"{file}:{each}" for each in extending(self._base, file)]


def sqlite_urls(incomplete: str) -> list[str]:
    """Return the URLs of the SQLite files that begin so, and of the folders."""
    found = [f"{SQLITE}{each}" for each in paths(incomplete[len(SQLITE) :], _is_sqlite)] or [SQLITE]
    return [each for each in found if each.startswith(incomplete)]


def paths(incomplete: str, has: Callable[[Path], bool]) -> list[str]:
    """Return the files that begin so and that *has* says yes to, and the folders; the only folder opened."""
    found = sorted(_entries(incomplete, has))
    while len(found) == 1 and found[0].endswith("/"):
        inside = sorted(_entries(found[0], has))
        if not inside:
            break
        found = inside
    return found


def _entries(incomplete: str, has: Callable[[Path], bool]) -> Iterator[str]:
    folder, begun = os.path.split(incomplete)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            for entry in islice(entries, ENTRIES_MAX):
                is_hidden = entry.name.startswith((".", "__")) and not begun
                if is_hidden or not entry.name.startswith(begun) or SPECIAL & {*entry.name}:
                    continue
                text = os.path.join(folder, entry.name)
                if entry.is_dir():
                    yield f"{text}/"
                elif has(Path(entry.path)):
                    yield text
    except OSError:
        return  # There is no such folder, or it is not ours to read: then nothing goes on from there.


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER
    except OSError:
        return False


def extending(base: str, file: str) -> list[str]:
    """Return the classes of a Python file that extend *base*, or one of these; the file is only read."""
    path = Path(file).expanduser()
    try:
        if path.stat().st_size > SOURCE_BYTES_MAX:
            return []
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []  # Whoever runs it is told what is wrong with it.
    found = [base]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(_name(each) in found for each in node.bases):
            found.append(node.name)
    return found[1:]


def _name(expression: ast.expr) -> str:
    """Return the last name of what a class extends: ``Saga`` of ``finality.Saga``."""
    match expression:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _name(value)
        case _:
            return ""
