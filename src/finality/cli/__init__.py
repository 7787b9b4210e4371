"""The command line: one noun, one group. It calls the node and nothing below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``finality`` with *arguments*, by default those of the process, and exit."""
    # Imported here, so that whoever imports `finality.cli` for a part of it does not wait for all.
    import sys

    from finality.cli.command_line import run_command_line
    from finality.cli.ending import ended_by_signals

    sys.exit(ended_by_signals(lambda: run_command_line(arguments)))
