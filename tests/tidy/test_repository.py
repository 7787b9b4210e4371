"""The repository keeps what it promises outside Python: its lock, its Makefile, its list of changes."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterable

import pytest

from tests.tidy.rules import ROOT, somebodys_directories

TARGETS = ("bench", "check", "clean", "demo", "docs", "fix", "help", "lock", "test")
FRAGMENT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.(added|changed|fixed|removed)\.md")

# Text that a reader of the project meets, beside the Python files, which have their own rules.
TEXTS = (
    "*.md",
    "*.toml",
    "Makefile",
    ".ci/*",
    "changes/*.md",
    "docs/**/*.md",
    "docs/*.py",
    "examples/**/*",
    "bench/**/*",
)


def mistakes_in_lock(text: str, needed: Iterable[str]) -> list[str]:
    """What is wrong with a lock: an address, a package without its version or hash, one that is missing."""
    entries = re.split(
        r"^(?=[A-Za-z0-9])", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE
    )
    names = {re.split(r"[=\[ ;@]", entry, maxsplit=1)[0] for entry in entries if entry.strip()}
    return [
        *("an address" for _ in re.finditer("://|--(extra-)?index-url|--find-links", text)),
        *(
            f"no version or no hash: {entry[:60]!r}"
            for entry in entries
            if entry.strip() and not _is_pinned(entry)
        ),
        *(f"not in the lock: {name}" for name in sorted({*map(_normal, needed)} - names)),
    ]


def _is_pinned(entry: str) -> bool:
    return re.match(r"[\w.-]+==\S+( ;.*)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+$", entry) is not None


def _normal(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[ ;]", requirement, maxsplit=1)[0]).lower()


def targets_missing(makefile: str) -> list[str]:
    return [
        target
        for target in TARGETS
        if not (
            re.search(rf"^{target}:", makefile, re.MULTILINE)
            and re.search(rf"^\.PHONY:.*\b{target}\b", makefile, re.MULTILINE)
        )
    ]


def is_change_well_named(name: str) -> bool:
    return name == "README.md" or FRAGMENT.fullmatch(name) is not None


def public_names(text: str) -> list[str]:
    """What ``__all__`` lists in a module's *text*; nothing if it lists nothing."""
    for node in ast.parse(text).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return list(ast.literal_eval(value))
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                return list(ast.literal_eval(value))
    return []


def in_order(names: list[str]) -> list[str]:
    """*names* as ``ruff check --fix`` sorts ``__all__``: constants, then classes, then functions."""
    return sorted(
        set(names),
        key=lambda name: (not (name.isupper() and len(name) > 1), not name[0].isupper(), _natural(name)),
    )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def test_the_lock_pins_and_hashes_everything_and_holds_no_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    needed = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(requirement for extra in extras for requirement in extra),
        *project["dependency-groups"]["dev"],
    ]

    assert mistakes_in_lock((ROOT / "requirements.lock").read_text("utf-8"), needed) == []


PINNED = (
    "click==8.5.1 \\\n    --hash=sha256:"
    + "a" * 64
    + " \\\n    --hash=sha256:"
    + "b" * 64
    + "\n    # via finality\n"
)


@pytest.mark.parametrize(
    "lock, mistake",
    [
        ("--index-url https://example.org/simple\n" + PINNED, "an address"),
        ("thing @ git+https://example.org/thing\n" + PINNED, "an address"),
        ("thing==1.0\n" + PINNED, "no version or no hash: 'thing==1.0"),
        (
            "thing>=1.0 \\\n    --hash=sha256:" + "a" * 64 + "\n" + PINNED,
            "no version or no hash: 'thing>=1.0",
        ),
        (PINNED.replace("click", "clack"), "not in the lock: click"),
    ],
)
def test_a_mistake_planted_in_the_lock_is_caught(lock: str, mistake: str) -> None:
    assert any(found.startswith(mistake) for found in mistakes_in_lock(lock, ["click>=8"]))
    assert mistakes_in_lock(PINNED, ["Click[x]>=8"]) == []


def test_the_makefile_has_its_targets() -> None:
    assert targets_missing((ROOT / "Makefile").read_text("utf-8")) == []


def test_a_missing_target_is_caught() -> None:
    makefile = "".join(f".PHONY: {target}\n{target}:\n\ttrue\n" for target in TARGETS)

    assert targets_missing(makefile) == []
    assert targets_missing(makefile.replace("\ndemo:", "\ndemonstration:")) == ["demo"]
    assert targets_missing(makefile.replace(".PHONY: test\n", "")) == ["test"]


def test_every_change_is_well_named_and_says_something() -> None:
    files = sorted(file for file in (ROOT / "changes").iterdir() if not file.name.startswith("."))

    assert [file.name for file in files if not is_change_well_named(file.name)] == []
    assert [file.name for file in files if not file.read_text("utf-8").strip()] == []


@pytest.mark.parametrize(
    "name",
    ["12.add.md", "12.added.txt", "Saga.added.md", "two words.fixed.md", "12.fixed.md.orig", "readme.md"],
)
def test_a_badly_named_change_is_caught(name: str) -> None:
    assert not is_change_well_named(name)
    assert is_change_well_named("saga-retry.fixed.md")


def test_every_decision_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs/internals/decisions").glob("[0-9]*.md"))
    heads = [page.read_text("utf-8").split(":", 1)[0] for page in pages]

    assert heads == [f"# {number:04}" for number in range(1, len(pages) + 1)]
    assert [f"# {page.name[:4]}" for page in pages] == heads


def test_the_public_names_are_sorted_and_exist() -> None:
    front_door = ROOT / "src" / "finality" / "__init__.py"
    names = public_names(front_door.read_text("utf-8")) if front_door.exists() else []

    assert names == in_order(names)
    finality = importlib.import_module("finality") if names else None
    assert [name for name in names if not hasattr(finality, name)] == []


def test_public_names_out_of_order_are_caught() -> None:
    assert public_names("__all__ = ['b', 'a']") == ["b", "a"]
    assert public_names("__all__: list[str] = ['b']") == ["b"]
    assert in_order(["open", "Saga", "COMMIT", "Conflict", "Saga"]) == ["COMMIT", "Conflict", "Saga", "open"]


def test_no_document_names_somebodys_machine() -> None:
    texts = sorted(
        {file for pattern in TEXTS for file in ROOT.glob(pattern) if file.is_file() and file.suffix != ".pyc"}
    )
    findings = [
        finding
        for file in texts
        for finding in somebodys_directories(
            file.relative_to(ROOT).as_posix(), file.read_text("utf-8", "replace")
        )
    ]

    assert findings == []
    assert len(somebodys_directories("planted.md", "see /" + "home/ann/notes.md")) == 1
