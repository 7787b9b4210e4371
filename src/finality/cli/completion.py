"""`finality completion`: the script that lets a shell complete our commands and options."""

from __future__ import annotations

import os
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    split_arg_string,
)

from finality.cli import output

BREAKS = frozenset(":=")  # Where bash ends a word, beside blanks.

PLACES = {
    "bash": "~/.local/share/bash-completion/completions/finality",
    "zsh": "a folder of $fpath, as _finality",
    "fish": "~/.config/fish/completions/finality.fish",
}


@click.command(
    epilog="""\b
Put what it prints where the shell looks:
  bash  finality completion bash > ~/.local/share/bash-completion/completions/finality
  zsh   finality completion zsh > "${fpath[1]}/_finality"
  fish  finality completion fish > ~/.config/fish/completions/finality.fish
"""
)
@click.argument("shell", type=click.Choice(list(PLACES)))
def completion(shell: str) -> None:
    """Print the completion script for SHELL, and say where to put it."""
    from click.shell_completion import get_completion_class

    from finality.cli.command_line import COMPLETE_VARIABLE, PROGRAM, command_line

    kind = get_completion_class(shell)
    assert kind is not None, f"click completes {shell}"
    script = kind(command_line, {}, PROGRAM, COMPLETE_VARIABLE)
    output.say((script.source_template % script.source_vars()).strip())
    output.note(f"put this into {PLACES[shell]}, then open a new shell")


class _WithOption(ShellComplete):
    """Completes ``--store=sqlite:///shop.db`` as the one word that it is."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        """Return the candidates for the word in hand, with the option that they are the value of."""
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if equals and option.startswith("-"):
            for each in found:
                each.value = f"{option}={each.value}"
        return found


class Bash(_WithOption, BashComplete):
    """Completes for bash, to which ``shop.py:Order`` and ``--at=bank=sqlite:///bank.db`` are many words."""

    _settled = ""  # Of the word in hand, what bash takes for words of their own.

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one in hand, and that one, each in one piece."""
        count = int(os.environ["COMP_CWORD"]) + 1
        pieces = split_arg_string(os.environ["COMP_WORDS"])[:count]
        words: list[str] = []
        before = ""
        for piece in pieces:
            if words and (_is_break(piece) or _is_break(before)):
                words[-1] += piece
            else:
                words.append(piece)
            before = piece
        if len(pieces) < count:
            return words[1:], ""  # Nothing of the next word is there.
        self._settled = words[-1] if _is_break(before) else words[-1].removesuffix(before)
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a candidate without what bash has settled."""
        return f"{item.type},{str(item.value).removeprefix(self._settled)}"


class Zsh(_WithOption, ZshComplete):
    """Completes for zsh."""


class Fish(_WithOption, FishComplete):
    """Completes for fish."""


def _is_break(piece: str) -> bool:
    return bool(piece) and BREAKS.issuperset(piece)
