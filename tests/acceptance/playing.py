"""Plays a page of the documentation from top to bottom, as its reader would.

A page is played in a fresh directory. Its `python` blocks share one namespace, which is a real
module, so that a dataclass finds its types.
A python block whose first line is a comment with a file's name is also written to that file, and
can be imported by the blocks that follow. Its `console` blocks share one shell.

| language          | what becomes of the block                                                    |
| ----------------- | ---------------------------------------------------------------------------- |
| `python`          | run; what it prints is the `text` block right behind it, if there is one     |
| `console`, `bash` | each `$ ` line is run, `> ` lines continue it; what follows is its output    |
| `json`            | must be JSON, or a JSON object a line, unless something is left out by `...` |
| `text`, `sql`, …  | shown only                                                                   |
| `{directive}`     | Sphinx's own; `make docs` builds it                                          |
| anything else     | a mistake of the page                                                        |

Output is compared loosely, since ids and times differ: `...` (or `…`) stands for anything, and what
``ALIKE`` lists for its like. What commands say is full of rates and sizes, so there a number stands for
any other; what the page's own Python prints has the numbers of the page. A command ends with status 0,
unless it says otherwise in a comment: `$ false  # status 1`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tests.acceptance.pages import ROOT, Block, Page

SHOWN_ONLY = frozenset({"text", "sql", "toml", "ini", "csv", "yaml", "diff"})
COMMAND_SECONDS_MAX = 90.0
OF_A_NODE = re.compile(r"finality (node|.+\.db)")  # Its threads; those of a pool end by themselves.
STATUS = re.compile(r"#\s*(?:exit )?status (\d+)\b")

ALIKE = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}"), "ID"),
    (re.compile(r"\b[\w.]+-\d+-[0-9a-f]{6}\b"), "NODE"),
    (re.compile(r"\b(version|under|under version) [0-9a-f]{8}\b"), r"\1 VERSION"),
    (re.compile(r"\bjust now\b|\b\d+ (second|minute)s? ago\b"), "0 seconds ago"),
    (re.compile(r"\s+"), " "),
)
"""What differs from run to run, and what stands for it when outputs are compared."""

NUMBER = re.compile(r"\d[\d,]*(\.\d+)?")

ELSEWHERE = {
    "make test": "it is what runs these pages",
    "pip install": "these pages are run by an environment that has Finality already",
    "python3 -m venv": "these pages are run by an environment that has Finality already",
    ". .venv/bin/activate": "these pages are run by an environment that has Finality already",
    "git clone": "these pages are in a clone already",
    "cd finality": "these pages are in a clone already",
}
"""Commands that a page shows and that are not run here, each with its reason."""


class WrongPage(AssertionError):
    """The page says what is not so."""


class Shell:
    """One bash for all the commands of a page."""

    def __init__(self, directory: Path) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("FINALITY_", "PYTEST"))
        }
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
            "COLUMNS": "160",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            "PS1": "",
        }
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=directory, env=environment, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._count = 0

    def run(self, command: str) -> tuple[str, int]:
        """Run a command; return what it wrote, to either stream, and its status."""
        assert self._process.stdin is not None, "the shell has an input"
        self._count += 1
        mark = f"--- end of command {self._count}, status "
        # What a command starts in the background must not read the commands that follow.
        script = f"{{ {command}\n}} </dev/null\nprintf '%s%d ---\\n' '{mark}' $?\n"
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()
        return self._until(command, re.compile(re.escape(mark) + r"(\d+) ---\n"))

    def _until(self, command: str, mark: re.Pattern[str]) -> tuple[str, int]:
        assert self._process.stdout is not None, "the shell has an output"
        give_up = time.monotonic() + COMMAND_SECONDS_MAX
        heard = b""
        while True:
            ended = mark.search(heard.decode("utf-8", "replace"))
            if ended:
                return heard.decode("utf-8", "replace")[: ended.start()], int(ended[1])
            ready, _, _ = select.select([self._process.stdout], [], [], max(give_up - time.monotonic(), 0))
            more = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not more:
                why = "has ended the shell" if ready else f"takes more than {COMMAND_SECONDS_MAX:.0f} seconds"
                raise WrongPage(f"`{command}` {why}; so far:\n{heard.decode('utf-8', 'replace')}")
            heard += more

    def close(self) -> None:
        """End the shell and whatever still runs in it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None, "the shell has an input and an output"
            stream.close()


class Play:
    """A page in the course of being played."""

    def __init__(self, page: Page, directory: Path) -> None:
        self.page = page
        self.directory = directory
        self.module = ModuleType("page_" + re.sub(r"\W", "_", page.name))
        self.module.__file__ = str(page.path)
        self.shell: Shell | None = None

    def run(self) -> None:
        """Play every block.

        Raises:
            WrongPage: A block does not do what the page says.
        """
        before = set(threading.enumerate())
        with self._placed():
            printed = ""
            for block in self.page.blocks:
                where = f"{self.page.name}:{block.line}"
                if printed and block.language == "text":
                    check_output(where, block.text, printed, is_exact=True)
                printed = ""
                match block.language:
                    case "python":
                        printed = self._python(block, where)
                    case "console" | "bash" | "shell" | "sh":
                        self._console(block, where)
                    case "json":
                        check_json(where, block.text)
                    case language if language in SHOWN_ONLY or language.startswith("{"):
                        pass
                    case language:
                        raise WrongPage(f"{where}: nobody knows what a block of {language!r} is")
        left = sorted(each.name for each in set(threading.enumerate()) - before)
        if any(map(OF_A_NODE.fullmatch, left)):
            raise WrongPage(f"{self.page.name} leaves a node open: {left}")

    @contextlib.contextmanager
    def _placed(self) -> Iterator[None]:
        before, modules = Path.cwd(), set(sys.modules)
        os.chdir(self.directory)
        sys.path.insert(0, str(self.directory))
        sys.modules[self.module.__name__] = self.module
        try:
            yield
        finally:
            os.chdir(before)
            sys.path.remove(str(self.directory))
            for name in {self.module.__name__, *(Path(str(b.file)).stem for b in self.page.blocks)} - modules:
                sys.modules.pop(name, None)
            if self.shell is not None:
                self.shell.close()

    def _python(self, block: Block, where: str) -> str:
        """Run a block, at its place in the page so that a traceback names it; return what it prints."""
        if block.file is not None:
            (self.directory / block.file).write_text(block.text + "\n", "utf-8")
        printed = io.StringIO()
        try:
            code = compile("\n" * (block.line - 1) + block.text, str(self.page.path), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, vars(self.module))
        except Exception as error:
            raise WrongPage(f"{where}: {type(error).__name__}: {error}") from error
        return printed.getvalue()

    def _console(self, block: Block, where: str) -> None:
        commands = list(commands_of(block))
        if not commands:
            raise WrongPage(f"{where}: a block of {block.language} has no line that begins with '$ '")
        for command, output in commands:
            if any(re.search(rf"(^|[ ;&]){re.escape(known)}\b", command) for known in ELSEWHERE):
                continue
            self.shell = self.shell or Shell(self.directory)
            said, status = self.shell.run(self._placed_command(command))
            expected = STATUS.search(command)
            if status != int(expected[1] if expected else 0):
                raise WrongPage(f"{where}: `{command}` ended with status {status}:\n{said}")
            if output.strip():
                check_output(f"{where}: `{command}`", output, said)

    def _placed_command(self, command: str) -> str:
        """Return the command as it is run here: make and the examples belong to the repository."""
        command = re.sub(r"^make ", f"make -s -C {ROOT} ", command)
        return re.sub(r"(^|\s)(examples/\w+\.py)", rf"\1{ROOT}/\2", command)


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a block with the output that the page shows."""
    command: list[str] = []
    output: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield "\n".join(command), "\n".join(output)
            command, output = [line[2:]], []
        elif command and not output and line.startswith("> "):
            command.append(line[2:])
        elif command:
            output.append(line)
    if command:
        yield "\n".join(command), "\n".join(output)


def check_json(where: str, text: str) -> None:
    """See that *text* is JSON, or JSON by lines; unless it leaves something out.

    Raises:
        WrongPage: It is not.
    """
    if "..." in text or "…" in text:
        return
    try:
        json.loads(text)
    except ValueError:
        try:
            for line in text.splitlines():
                json.loads(line)
        except ValueError as error:
            raise WrongPage(f"{where}: it is no JSON: {error}") from error


def check_output(where: str, shown: str, said: str, *, is_exact: bool = False) -> None:
    """See that *said* is what the page has *shown*, loosely; its numbers too, if it *is_exact*.

    Raises:
        WrongPage: It is not.
    """
    if not is_like(shown, said, is_exact=is_exact):
        raise WrongPage(f"{where}: the page shows\n{shown}\n\nand this came:\n{said}")


def is_like(shown: str, said: str, *, is_exact: bool = False) -> bool:
    """Say whether *said* is what was *shown*, but for blanks, what `...` stands for, and numbers."""
    parts = [re.escape(_plain(part, is_exact)) for part in re.split(r"\.\.\.|…", shown)]
    return re.fullmatch(r"\s*.*?\s*".join(parts), _plain(said, is_exact), re.DOTALL) is not None


def _plain(text: str, is_exact: bool) -> str:
    for pattern, instead in ALIKE:
        text = pattern.sub(instead, text)
    return (text if is_exact else NUMBER.sub("0", text)).strip()
