"""The documentation does what it says: every code block runs, every link leads somewhere.

We play pages ourselves (see ``playing``) rather than with sybil, because a page is one story: what
its Python declares, its shell commands run, kill and run again, in one directory. Nothing is left
out in silence: a block in a language that nobody knows is a mistake, and the few commands that only
a reader can run are listed with their reasons in ``playing.ELSEWHERE``.
"""

from __future__ import annotations

import inspect
import os
import re
import select
from importlib import import_module
from pathlib import Path

import pytest

import finality
from finality.testing.plugin import skip_without_mariadb, skip_without_rabbitmq
from tests.acceptance.pages import ROOT, Page, read_page
from tests.acceptance.playing import ELSEWHERE, Play, Shell, WrongPage, commands_of, is_like

PAGE_SECONDS_MAX = 300  # The front page runs the demo for 20 seconds and waits for a lease of 10.
PLAYED = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [*sorted(ROOT.glob("*.md")), ROOT / "changes" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.timeout(PAGE_SECONDS_MAX)
@pytest.mark.parametrize("path", PLAYED, ids=_name)
def test_every_block_of_a_page_does_what_the_page_says(path: Path, tmp_path: Path) -> None:
    page = read_page(path)
    if "testing.mariadb" in path.read_text("utf-8"):
        skip_without_mariadb()
    if "with finality.testing.rabbitmq" in path.read_text("utf-8"):
        skip_without_rabbitmq()

    Play(page, tmp_path).run()

    assert all(block.language for block in page.blocks), f"{page.name} has a block without a language"


@pytest.mark.parametrize("path", LINKED, ids=_name)
def test_every_link_within_the_documentation_leads_somewhere(path: Path) -> None:
    assert broken_links(read_page(path)) == []


def broken_links(page: Page) -> list[str]:
    """Return the links of *page* whose file or heading is not there."""
    broken = []
    for line, target in page.links:
        if re.match(r"[a-z]+:", target):
            continue  # Another site's; the tests reach no network.
        file, _, anchor = target.partition("#")
        path = (page.path.parent / file).resolve() if file else page.path
        is_there = path.exists() and not (
            anchor and path.suffix == ".md" and anchor not in read_page(path).anchors
        )
        if not is_there:
            broken.append(f"{page.name}:{line} {target}")
    return broken


def test_every_public_name_has_its_line_in_the_reference() -> None:
    text = (ROOT / "docs/reference/api.md").read_text("utf-8")
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)

    assert sorted(named) == sorted(finality.__all__)


def test_every_setting_of_a_node_is_in_the_reference() -> None:
    text = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    settings = {
        *inspect.signature(finality.open).parameters,
        *inspect.signature(finality.open_async).parameters,
    }

    assert sorted(name for name in settings if f"| `{name}` |" not in text) == []


def test_the_limits_of_the_documentation_are_those_of_the_code() -> None:
    text = (ROOT / "docs/concepts/limits.md").read_text("utf-8")
    listed = re.findall(r"^\| `([A-Z_]+)` \| ([\d,.]+) .*\| `([\w.]+)` \|", text, re.MULTILINE)
    found = {name: getattr(import_module(f"finality.{module}"), name) for name, _, module in listed}

    assert listed
    assert found == {name: float(value.replace(",", "")) for name, value, _ in listed}


def test_every_variable_that_is_read_is_in_the_reference() -> None:
    text = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    code = "\n".join(file.read_text("utf-8") for file in (ROOT / "src").rglob("*.py"))
    variables = set(re.findall(r'"(FINALITY_[A-Z_]+)"', code))

    assert variables
    assert sorted(variable for variable in variables if f"`{variable}`" not in text) == []


# ── The player is software: each kind of mistake is planted and must be caught ─────────────


def _played(text: str, directory: Path) -> None:
    page = directory / "page.md"
    page.write_text(text, "utf-8")
    Play(read_page(page), directory).run()


@pytest.mark.slow
def test_a_page_is_one_story(tmp_path: Path) -> None:
    """One namespace, one directory, one shell; what is a file can be imported."""
    _played(
        "```python\n# told.py\nprice = 7\n```\n"
        "```python\nimport told\n\nprint('it is', price, told.price)\n```\n```text\nit is 7 7\n```\n"
        "```console\n$ grep -c price told.py\n1\n$ PRICE=12\n```\n"
        "```console\n$ echo $PRICE; false  # status 1\n12\n```\n"
        "```console\n$ for each in a \\\n>   b; do echo $each; done\na\nb\n```\n",
        tmp_path,
    )

    assert "price = 7" in (tmp_path / "told.py").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "text, said",
    [
        ("```python\nraise ValueError('why')\n```", "ValueError: why"),
        ("```python\nprint('yes')\n```\n```text\nno\n```", "the page shows"),
        ("```python\nprint('1 row')\n```\n```text\n2 row\n```", "the page shows"),
        ("```python\nawait node.run()\n```", "SyntaxError: 'await' outside function"),
        ("```console\n$ echo yes\nno\n```", "the page shows"),
        ("```console\n$ false\n```", "ended with status 1"),
        ("```console\n$ true  # status 1\n```", "ended with status 0"),
        ("```console\n$ exit\n```", "has ended the shell"),
        ("```console\nno prompt\n```", "no line that begins"),
        ("```json\n{'a': 1}\n```", "it is no JSON"),
        ("```pyhton\n1\n```", "nobody knows what a block of 'pyhton' is"),
        ("```\n1\n```", "nobody knows what a block of '' is"),
    ],
)  # fmt: skip
def test_a_wrong_page_is_found_out(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(WrongPage, match=re.escape(said)):
        _played(text, tmp_path)


@pytest.mark.slow
def test_a_node_that_is_left_open_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nimport finality\nnode = finality.open('sqlite:///a.db')\n```\n", "utf-8")
    play = Play(read_page(page), tmp_path)
    with pytest.raises(WrongPage, match=re.escape("leaves a node open: ['finality a.db', 'finality node']")):
        play.run()
    vars(play.module)["node"].close()


def test_a_fence_that_is_never_closed_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="never closed"):
        _played("```python\n1\n", tmp_path)


def test_a_link_to_nowhere_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title, with `code`\n[a](page.md) [b](#a-title-with-code) [c](https://example.org)\n"
        "[d](gone.md) [e](#gone) `[f](code.md)`\n",
        "utf-8",
    )

    assert broken_links(read_page(page)) == ["page.md:3 gone.md", "page.md:3 #gone"]


def test_output_is_compared_loosely_but_compared() -> None:
    assert is_like("3 done in 0.1 s", "12 done   in 7.25 s\n")
    assert is_like("first\n...\nlast", "first\nlast")
    assert is_like("first\n...\nlast", "first\na\nb\nlast")
    assert not is_like("first\n...\nlast", "first\na\nlast b")
    assert not is_like("3 done", "3 undone")
    assert not is_like("3 done", "4 done", is_exact=True)


def test_what_is_run_elsewhere_is_still_shown_somewhere() -> None:
    """An entry of the list that no page needs any more goes."""
    commands = [
        command
        for path in PLAYED
        for block in read_page(path).blocks
        if block.language in ("console", "bash", "shell", "sh")
        for command, _ in commands_of(block)
    ]

    assert [known for known in ELSEWHERE if not any(known in command for command in commands)] == []


@pytest.mark.slow
def test_a_command_in_the_background_outlives_no_page(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    said, _ = shell.run("sleep 600 & echo $!")
    process = os.pidfd_open(int(said))
    shell.close()
    has_ended, _, _ = select.select([process], [], [], 10)
    os.close(process)

    assert has_ended
