"""The command line itself: its help, its version, its completion, and how it starts."""

from __future__ import annotations

import re
import subprocess

import pytest

from finality import __version__
from finality.cli import command_line
from tests.acceptance.command_line import Terminal, python

pytestmark = pytest.mark.slow

COMMANDS = (
    (),
    ("demo",),
    ("compare",),
    ("compare", "withdraw"),
    ("run",),
    ("transaction",),
    *(("transaction", verb) for verb in ("list", "show", "explain", "retry", "cancel", "signal")),
    ("outbox",),
    ("outbox", "list"),
    ("aggregate",),
    *(("aggregate", verb) for verb in ("list", "show", "history")),
    ("subject",),
    ("subject", "forget"),
    ("projection",),
    *(("projection", verb) for verb in ("list", "rebuild", "pause", "resume")),
    ("schema",),
    *(("schema", verb) for verb in ("write", "check")),
    ("asyncapi",),
    ("journal",),
    ("journal", "tail"),
    ("node",),
    ("node", "list"),
    ("doctor",),
    ("bench",),
    ("bench", "peers"),
    ("completion",),
)

IMPORTED_FOR_HELP = """
import sys
from finality.cli import main
try:
    main(["--help"])
except SystemExit:
    heavy = {"apsw", "asyncio", "msgspec", "rich", "sqlite3", "finality.node"} & set(sys.modules)
    print("imported:", *sorted(heavy))
"""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(terminal: Terminal, command: tuple[str, ...]) -> None:
    said = terminal.type(*command, "--help")

    assert said.status == 0, said.err
    assert said.out.startswith(f"Usage: {' '.join(['finality', *command])} ")
    assert said.err == ""


def test_the_help_explains_the_exit_statuses(terminal: Terminal) -> None:
    said = terminal.type("--help")

    told = [int(number) for number in re.findall(r"^ {4}(\d+) ", said.out, re.MULTILINE)]
    assert told == [0, 1, 2, 3, 4, 5, 130, 141, 143]


def test_help_waits_for_click_alone() -> None:
    said = subprocess.run([python(), "-c", IMPORTED_FOR_HELP], capture_output=True, text=True, check=True)

    assert said.stdout.splitlines()[-1] == "imported:"


def test_the_version_is_told(terminal: Terminal) -> None:
    said = terminal.type("--version")

    assert (said.status, said.out) == (0, f"finality {__version__}\n")


def test_without_a_command_the_help_is_shown(terminal: Terminal) -> None:
    said = terminal.type()

    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("Usage: finality ")


def test_an_unknown_command_is_told_with_one_that_is_like_it(terminal: Terminal) -> None:
    said = terminal.type("docter")

    assert said.status == 2
    assert said.err == "error: there is no command 'docter'; did you mean 'doctor'? see `finality --help`\n"


def test_a_command_without_a_store_says_how_to_name_one(terminal: Terminal) -> None:
    said = terminal.type("transaction", "list", FINALITY_STORE="")

    assert said.status == 2
    assert "--store" in said.err
    assert "FINALITY_STORE" in said.err


def test_a_command_that_is_not_installed_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(command_line.COMMANDS, "bench", ("finality.cli.absent.command:bench", "Measure."))

    status = command_line.run_command_line(["bench"])

    assert status == 1
    assert "`finality bench` is not part of this installation" in capsys.readouterr().err


def test_an_error_of_ours_is_told_without_its_traceback_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(command_line.COMMANDS, "bench", ("finality.cli.output:bench", "Measure."))

    status = command_line.run_command_line(["bench"])

    assert status == 1
    assert "this should not have happened: AttributeError" in capsys.readouterr().err
    with pytest.raises(AttributeError):
        command_line.run_command_line(["--debug", "bench"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed_and_says_where_to_put_it(terminal: Terminal, shell: str) -> None:
    said = terminal.type("completion", shell)

    assert said.status == 0
    assert "_FINALITY_COMPLETE" in said.out
    assert said.err.startswith("put this into ")


def test_commands_are_completed(terminal: Terminal) -> None:
    said = terminal.type(_FINALITY_COMPLETE="bash_complete", COMP_WORDS="finality tra", COMP_CWORD="1")

    assert said.out.split() == ["plain,transaction"]
