"""The command line itself: its help, its version, its completion, and how it starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from finality import __version__
from finality.cli import command_line
from finality.cli.demo.view import PipedConsole
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


WITHOUT_ASYNCPG = """
import sys
sys.modules["asyncpg"] = None
from finality.cli.command_line import run_command_line
store, bank = "postgresql://127.0.0.1:1/shop", "bank=postgresql://127.0.0.1:1/bank"
print(
    run_command_line(["migrate", "--store", store]),
    run_command_line(["transaction", "in-doubt", "--store", store, "--participant", bank]),
)
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
    assert told == [0, 1, 2, 3, 4, 5, 129, 130, 141, 143]


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


def test_an_interrupt_that_python_wraps_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(given: list[str]) -> object:
        raise RuntimeError("error calling __set_name__") from KeyboardInterrupt()

    monkeypatch.setattr(command_line, "_run", interrupted)

    assert command_line.run_command_line(["demo"]) == 130


def test_output_that_is_closed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)

    statuses = [command_line.run_command_line(given) for given in (["--version"], ["nope"])]

    sys.stdout.close()
    sys.stderr.close()
    assert statuses == [0, 2]


def test_bytes_that_are_no_text_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    status = command_line.run_command_line(["transaction", "show", "caf\udce9"])

    assert status == 2
    assert "is no text in the encoding" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--concurrency", "--rounds", "--seconds"])
def test_a_bench_of_nothing_is_a_wrong_command_line(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = command_line.run_command_line(["bench", "saga", option, "0"])

    assert status == 2
    assert f"invalid value for '{option}'" in capsys.readouterr().err


def test_who_reads_the_demo_may_go() -> None:
    reader, writer = os.pipe()
    os.close(reader)

    with pytest.raises(BrokenPipeError), open(writer, "w") as gone:
        PipedConsole(file=gone).print("a bank")


def test_an_extra_that_is_missing_is_named_with_what_to_install() -> None:
    said = subprocess.run([python(), "-c", WITHOUT_ASYNCPG], capture_output=True, text=True, timeout=60)

    assert said.stdout == "1 1\n"
    assert said.stderr.count("asyncpg, which is not installed: pip install finality[postgres]\n") == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed_and_says_where_to_put_it(terminal: Terminal, shell: str) -> None:
    said = terminal.type("completion", shell)

    assert said.status == 0
    assert "_FINALITY_COMPLETE" in said.out
    assert said.err.startswith("put this into ")


def test_commands_are_completed(terminal: Terminal) -> None:
    said = terminal.type(_FINALITY_COMPLETE="bash_complete", COMP_WORDS="finality tra", COMP_CWORD="1")

    assert said.out.split() == ["plain,transaction"]
