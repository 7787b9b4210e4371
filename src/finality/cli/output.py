"""How things look: plain text that pipes well, and colour only for a person at a terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}
OF_STATUS = {
    "completed": "green",
    "compensated": "yellow",
    "answered": "green",
    "refused": "yellow",
    "expired": "yellow",
    "stuck": "red",
    "parked": "red",
    "running": "blue",
    "compensating": "blue",
    "waiting": "blue",
    "ok": "green",
    "warning": "yellow",
    "problem": "red",
    "alive": "green",
    "dead": "yellow",
    "left": "dim",
}
COLUMNS_MIN = 20  # Of the last column, however narrow the terminal is.


def is_coloured(stream: TextIO) -> bool:
    """Say whether a person is looking who wants colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, colour: str | None, stream: TextIO | None = None) -> str:
    """Return *text* in a colour, if there is somebody to see it."""
    if colour is None or not is_coloured(stream or sys.stdout):
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def say(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def complain(told: str) -> None:
    """Print an error."""
    sys.stdout.flush()
    sys.stderr.write(f"{paint('error:', 'red', sys.stderr)} {plain(told)}\n")
    sys.stderr.flush()


def note(told: str) -> None:
    """Print what is worth knowing and is no result."""
    sys.stderr.write(f"{plain(told)}\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:
    """Print one object on one line."""
    say(json.dumps(value))


def plain(text: str) -> str:
    """Return *text* with control characters spelled out: what users wrote must not drive a terminal."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, status: int | None = None) -> None:
    """Print rows under a header, in columns two spaces apart.

    On a terminal the last column is cut to fit; in a pipe nothing is.

    Args:
        status: The column that holds a status, which is coloured.
    """
    lines = [[one_line(cell) for cell in row] for row in rows]
    if not lines:
        return
    widths = [max(len(cell) for cell in column) for column in zip(header, *lines, strict=True)]
    room = _room(widths)
    say(paint(_joined(header, widths, room, None), "dim"))
    for line in lines:
        say(_joined(line, widths, room, status))


def _room(widths: Sequence[int]) -> int | None:
    if not sys.stdout.isatty():
        return None
    before = sum(width + 2 for width in widths[:-1])
    return max(shutil.get_terminal_size().columns - before, COLUMNS_MIN)


def _joined(cells: Sequence[str], widths: Sequence[int], room: int | None, status: int | None) -> str:
    shown = []
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        is_last = place == len(widths) - 1
        text = cut(cell, room) if is_last else cell.ljust(width)
        shown.append(paint(text, OF_STATUS.get(cell)) if place == status else text)
    return "  ".join(shown).rstrip()


def cut(text: str, length: int | None) -> str:
    """Return *text*, at most *length* characters of it."""
    return text if length is None or len(text) <= length else f"{text[: length - 1]}…"


def one_line(text: str) -> str:
    """Return *text* on one line, safe to print."""
    return plain(" ".join(text.split())) if text else "-"


def moment(at: float, *, precise: bool = False) -> str:
    """Return a time as the clock on the wall shows it."""
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    return f"{text}.{int(at % 1 * 1000):03}" if precise else text


def instant(at: float | None) -> str | None:
    """Return a time for programs: ISO 8601, in UTC."""
    if at is None:
        return None
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1000):03}Z"


def rate(per_second: float) -> str:
    """Return how often something happens: ``0.2``, ``7``, ``1,200``."""
    return f"{per_second:,.0f}" if per_second >= 1 else f"{per_second:.1g}"


def span(seconds: float) -> str:
    """Return a length of time: ``0.2 s``, ``12 s``, ``3 min``, ``5 h``, ``12 days``."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
