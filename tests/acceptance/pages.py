"""A page of the documentation, read as a program: its code blocks, headings and links.

Markdown of the kind that we write: fenced blocks, ATX headings, inline links. A fence that is never
closed, and a fence without a language, are mistakes of the page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>.*)$")
HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *#*$")
LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\[\]]*\])*\]\((?P<target>[^()\s]+)\)")
CODE_SPAN = re.compile(r"`[^`]*`")
LABEL = re.compile(r"^\((?P<name>[\w-]+)\)=$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        language: The first word behind the fence; empty if there is none.
        line: Of its first line of code, counted from 1.
    """

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """Return the file that the block says it is, in a comment on its first line."""
        named = re.match(r"# ([\w./-]+\.\w+)\s*$", self.text.split("\n", 1)[0])
        return named[1] if named else None


@dataclass(frozen=True, slots=True)
class Page:
    """A page, taken apart."""

    path: Path
    blocks: tuple[Block, ...]
    anchors: frozenset[str]
    links: tuple[tuple[int, str], ...]

    @property
    def name(self) -> str:
        """Return where it is, from the top of the repository."""
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else self.path.name


def read_page(path: Path) -> Page:
    """Take a page apart.

    Raises:
        ValueError: A fence is never closed.
    """
    blocks: list[Block] = []
    prose: list[tuple[int, str]] = []
    fence: re.Match[str] | None = None
    code: list[str] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        found = FENCE.match(line)
        if fence is None and found is None:
            prose.append((number, line))
        elif fence is None:
            fence, code = found, []
        elif found is not None and not found["info"].strip() and len(found["ticks"]) >= len(fence["ticks"]):
            language = fence["info"].strip().split(" ")[0]
            blocks.append(Block(language, "\n".join(code), number - len(code)))
            fence = None
        else:
            code.append(line.removeprefix(fence["indent"]))
    if fence is not None:
        raise ValueError(f"{path}: the block that begins {code[:1]} is never closed")
    return Page(path, tuple(blocks), frozenset(_anchors(prose)), tuple(_links(prose)))


def _anchors(prose: list[tuple[int, str]]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for _, line in prose:
        label = LABEL.match(line)
        if label:
            yield label["name"]
        heading = HEADING.match(line)
        if heading is None:
            continue
        slug = slug_of(heading["title"])
        yield f"{slug}-{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1


def slug_of(title: str) -> str:
    """Return the anchor of a heading, as GitHub and myst make it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


def _links(prose: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for number, line in prose:
        for link in LINK.finditer(CODE_SPAN.sub("", line)):
            yield number, link["target"]
