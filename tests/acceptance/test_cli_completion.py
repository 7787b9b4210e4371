"""What a shell completes of a command line, and how the words come that it takes apart."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from finality.cli.command_line import COMPLETE_VARIABLE, PROGRAM, command_line
from finality.cli.completion import Bash, Fish, Zsh
from tests.acceptance.command_line import Terminal, executable

SOURCES = {
    "trips.py": """
import finality
raise SystemExit("a shell that completes runs nothing")
class BookTrip(finality.Saga): ...
class BookTour(BookTrip): ...
class Account(finality.Aggregate[int]): ...
class Plain: ...
""",
    "broken.py": "class (:",
    "events/orders.py": "",
    "notes.txt": "",
}

# fmt: off
CASES: tuple[tuple[str, list[str]], ...] = (
    # typed, and what bash is told: it replaces only what stands behind the last = or :
    ("run tr",                                     ["trips.py:BookTrip", "trips.py:BookTour"]),
    ("run trips.py : Book",                        ["BookTrip", "BookTour"]),
    ("run trips.py :",                             ["BookTrip", "BookTour"]),
    ("run br",                                     ["broken.py"]),
    ("run nope.py : X",                            []),
    ("run no",                                     []),
    ("aggregate list tr",                          ["trips.py:Account"]),
    ("schema write schemas ev",                    ["events/orders.py"]),
    ("node list --store sq",                       ["sqlite:///data/", "sqlite:///events/", "sqlite:///shop.db"]),
    ("node list --store postgresql",               []),
    ("node list --store sqlite : ///da",           ["///data/old.db"]),
    ("node list --store = sqlite : ///sh",         ["///shop.db"]),
    ("projection list --at reports = sqlite : ///sh", ["///shop.db"]),
    ("projection list --at reports",               []),
    ("node list --store sqlite : ///shop.db --js", ["--json"]),
)
# fmt: on


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with sources and databases, where one types."""
    monkeypatch.chdir(tmp_path)
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "data").mkdir()
    for name in ("shop.db", "data/old.db"):
        connection = sqlite3.connect(tmp_path / name)
        connection.execute("CREATE TABLE mine (x)")
        connection.close()
    return tmp_path


def completed(shell: type[ShellComplete]) -> str:
    return shell(command_line, {}, PROGRAM, COMPLETE_VARIABLE).complete()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("typed, expected", CASES)
def test_what_a_parameter_names_is_completed(
    monkeypatch: pytest.MonkeyPatch, typed: str, expected: list[str]
) -> None:
    monkeypatch.setenv("COMP_WORDS", "\n".join(["finality", *typed.split()]))
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))

    assert completed(Bash).splitlines() == [f"plain,{each}" for each in expected]


@pytest.mark.usefixtures("folder")
def test_shells_that_keep_words_whole_get_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = "--store=sqlite:///sh"
    monkeypatch.setenv("COMP_WORDS", f"finality node list {typed}")
    monkeypatch.setenv("COMP_CWORD", "3")
    zsh = completed(Zsh)
    monkeypatch.setenv("COMP_CWORD", typed)
    fish = completed(Fish)

    assert zsh.splitlines() == ["plain", "--store=sqlite:///shop.db", "_"]
    assert "--store=sqlite:///shop.db" in fish


@pytest.mark.slow
def test_bash_completes_a_saga_in_a_file(folder: Path, terminal: Terminal) -> None:
    """The script is run as bash does it, with a word that bash has taken apart."""
    script = terminal.type("completion", "bash").out
    bash = f"""{script}
        COMP_WORDS=(finality run trips.py : BookTr); COMP_CWORD=4
        _finality_completion {executable()}; printf '%s;' "${{COMPREPLY[@]}}"
    """
    terminal.write("trips.py", SOURCES["trips.py"])
    said = subprocess.run(["bash", "-c", bash], cwd=folder, capture_output=True, text=True, timeout=60)

    assert (said.stdout, said.stderr) == ("BookTrip;", "")
