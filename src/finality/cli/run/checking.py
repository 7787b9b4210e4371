"""What is looked at before anything is started: a bad line changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from finality.cli import output
from finality.cli.run.lines import BadLine, Line, Lines
from finality.cli.run.tally import BAD_SHOWN_MAX

if TYPE_CHECKING:
    from finality.node import AsyncNode

YIELD_LINES = 100  # The node goes on with what an earlier run left while we read.
NOT_BEGUN, OPEN = b" ", b"o"
ENDED = {"completed": b"c", "compensated": b"u"}


class Checked:
    """What the first look found.

    Attributes:
        lines: How many lines of any kind there are.
        sagas: How many of them are the input of a saga.
        known: For each line a letter: completed, compensated, open, or not begun (a blank).
        bad: The first of those that are not, and those whose saga has begun with another input.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.sagas = 0
        self.known = bytearray()
        self.bad: list[BadLine] = []
        self.bad_count = 0

    def add_bad(self, line: BadLine) -> None:
        """Keep a bad line, if there are not too many already."""
        self.bad_count += 1
        if len(self.bad) < BAD_SHOWN_MAX:
            self.bad.append(line)


def check_lines(lines: Lines) -> Checked:
    """Read every line once and keep none."""
    checked = Checked()
    for line in lines:
        checked.lines += 1
        if isinstance(line, BadLine):
            checked.add_bad(line)
        else:
            checked.sagas += 1
    return checked


async def check_store(node: AsyncNode, lines: Lines, count: int) -> Checked:
    """Compare every line with the saga that it began in an earlier run, if it did."""
    from finality.core.errors import InputMismatch, LimitExceeded
    from finality.node import looking

    checked = Checked()
    for line in lines.first(count):
        checked.lines += 1
        if checked.lines % YIELD_LINES == 0:
            await asyncio.sleep(0)
        checked.known += NOT_BEGUN
        if isinstance(line, BadLine):
            continue
        try:
            head = await looking.begun(node, line.saga, line.id)
            if head is not None:
                checked.known[-1] = ord(ENDED.get(head.status, OPEN))
            checked.sagas += 1
        except InputMismatch:
            checked.add_bad(changed(line))
        except (LimitExceeded, TypeError, ValueError) as error:
            checked.add_bad(BadLine(line.number, str(error)))
    return checked


def changed(line: Line) -> BadLine:
    """Return what there is to say of a line whose saga has begun with another input."""
    return BadLine(line.number, f"its saga {line.id} has begun with another input")


def refuse(lines: Lines, checked: Checked, todo: str) -> click.ClickException:
    """Print the bad lines and return the error that ends the command."""
    for bad in checked.bad:
        output.note(f"{lines.path}, line {bad.number}: {bad.because}")
    if checked.bad_count > len(checked.bad):
        output.note(f"… and {checked.bad_count - len(checked.bad):,} more")
    count = f"{checked.bad_count:,} bad line{'' if checked.bad_count == 1 else 's'}"
    return click.ClickException(f"{count} of {checked.lines:,}: nothing was started; {todo}")
