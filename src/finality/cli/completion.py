"""`finality completion`: the script that lets a shell complete our commands and options."""

from __future__ import annotations

import click

from finality.cli import output

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
