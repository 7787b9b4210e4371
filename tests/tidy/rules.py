"""What tidy means here, as functions from a source file to what is wrong with it.

Linters know Python; these know this project. Each rule is pure, so that a test can hand it a planted mistake.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

FUNCTION_LINES_MAX = 60  # One screen.
MODULE_LINES_MAX = 400

# Tests take their time from a clock of their own. A file that has to wait for the real one
# is listed here with its reason.
SLEEPERS: dict[str, str] = {
    "tests/integration/atomicity/service.py": "it waits for a port to listen",
    "tests/integration/atomicity/test_torture.py": "a process is paused for real",
}

# A test may leave the asserting to a helper whose name says that it does.
ASSERTING_CALLS = re.compile(
    r"^_?(assert|check|expect|verify|raises$|warns$|deprecated_call$|fail$|crash_everywhere|run_state_machine_as_test)"
)

# Words that we give up, as parts of the names that we choose. The glossary says what to write instead.
WORDS_GIVEN_UP = {
    "handler": "say what it does",
    "leader": "every node can coordinate: say node, coordinator or lease",
    "manager": "say what it does",
    "worker": "say node, or what it does",
}

# Names that a library has chosen, and that whoever fulfils its interface has to use.
NAMES_OF_OTHERS = {"call_exception_handler", "set_exception_handler"}

# Directories that exist on one developer's machine, or in one build system.
SOMEBODYS_DIRECTORY = re.compile(
    r"(?<![\w.$}/-])(/(home|Users|root|work|workspace|workspaces|builds)/\w|[A-Z]:\\Users\\)"
)


@dataclass(frozen=True)
class Source:
    """One Python file: *path* is relative to the repository, with forward slashes."""

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def of(cls, path: str, text: str) -> Source:
        return cls(path, text, ast.parse(text, path))

    @property
    def is_test(self) -> bool:
        return self.path.startswith("tests/") and self.path.rpartition("/")[2].startswith("test_")

    @cached_property
    def comments(self) -> list[tuple[int, str]]:
        """Its comments, each with its line."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]

    def at(self, line: int, what: str) -> str:
        return f"{self.path}:{line}: {what}"


type_ignore = re.compile(r"#\s*type:\s*ignore(?P<code>\[[^\]]*\])?(?P<rest>.*)")
todo = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?P<issue>\(#\d+\))?")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[Source], list[str]]


def sources(*roots: str) -> list[Source]:
    """Every Python file below *roots*, in order."""
    return [_source(file) for file in sorted(file for root in roots for file in (ROOT / root).rglob("*.py"))]


@cache
def _source(file: Path) -> Source:
    """Read and parse a file once for all rules."""
    return Source.of(file.relative_to(ROOT).as_posix(), file.read_text("utf-8"))


def a_module_says_what_it_is(source: Source) -> list[str]:
    if ast.get_docstring(source.tree):
        return []
    return [source.at(1, "this module has no docstring; open it with one sentence that says what it is")]


def a_function_fits_a_screen(source: Source) -> list[str]:
    return [
        source.at(function.lineno, f"{function.name} has {lines} lines; {FUNCTION_LINES_MAX} at most")
        for function in _functions(source.tree)
        if (lines := _lines(function)) > FUNCTION_LINES_MAX
    ]


def a_module_holds_one_noun(source: Source) -> list[str]:
    lines = len(source.text.splitlines())
    if lines <= MODULE_LINES_MAX:
        return []
    return [source.at(1, f"this module has {lines} lines; {MODULE_LINES_MAX} at most")]


def a_test_does_not_sleep(source: Source) -> list[str]:
    found = [
        source.at(line, "this test sleeps; take the time from a simulated clock, or list it in SLEEPERS")
        for line in _sleeps(source.tree)
    ]
    if source.path not in SLEEPERS:
        return found
    return (
        [] if found else [source.at(1, "this file is listed in SLEEPERS and does not sleep; remove it there")]
    )


def an_ignored_type_says_why(source: Source) -> list[str]:
    return [
        source.at(line, "write `# type: ignore[code]  # the reason`")
        for line, comment in source.comments
        if (found := type_ignore.search(comment)) and not (found["code"] and _is_reason(found["rest"]))
    ]


def a_test_asserts(source: Source) -> list[str]:
    if not source.is_test:
        return []
    return [
        source.at(function.lineno, f"{function.name} asserts nothing")
        for function in _functions(source.tree)
        if function.name.startswith("test_") and not any(_asserts(node) for node in ast.walk(function))
    ]


def a_todo_names_its_issue(source: Source) -> list[str]:
    return [
        source.at(line, f"write TODO(#123), with the issue that will remove it, not {found[0]!r}")
        for line, comment in source.comments
        for found in todo.finditer(comment)
        if not (found[1] == "TODO" and found["issue"])
    ]


def nobodys_machine_is_named(source: Source) -> list[str]:
    return somebodys_directories(source.path, source.text)


def names_are_the_glossarys(source: Source) -> list[str]:
    module = source.path.removesuffix(".py").rpartition("/")[2]
    names = [(1, module), *_bound_names(source.tree)]
    found = [
        source.at(line, f"{name!r} uses a word we gave up, {word!r}: {instead}")
        for line, name in names
        for word, instead in WORDS_GIVEN_UP.items()
        if word in _words(name) and name not in NAMES_OF_OTHERS
    ]
    # Databases call it a rollback; above the adapters it is an abort, an undo or a compensation.
    if not source.path.startswith("src/finality/adapters/"):
        found += [
            source.at(line, f"{name!r} uses a word we gave up, 'rollback': say abort, undo or compensate")
            for line, name in names
            if re.search("roll(ed|ing)?back", name.replace("_", "").lower())
        ]
    return found


def core_and_ports_need_nothing(source: Source) -> list[str]:
    if not source.path.startswith(("src/finality/core/", "src/finality/ports/")):
        return []
    return [
        source.at(line, f"core and ports use the standard library only, not {module!r}")
        for line, module in _imported(source.tree)
        if module.partition(".")[0] not in {"finality", *sys.stdlib_module_names}
    ]


# Each rule, and the directories where it holds.
RULES: dict[Rule, tuple[str, ...]] = {
    a_module_says_what_it_is: ("src",),
    a_function_fits_a_screen: ("src", "tests"),
    a_module_holds_one_noun: ("src", "tests"),
    a_test_does_not_sleep: ("tests",),
    an_ignored_type_says_why: ("src", "tests"),
    a_test_asserts: ("tests",),
    a_todo_names_its_issue: ("src", "tests"),
    nobodys_machine_is_named: ("src", "tests"),
    names_are_the_glossarys: ("src",),
    core_and_ports_need_nothing: ("src",),
}


def somebodys_directories(path: str, text: str) -> list[str]:
    """The lines of a file of any kind that name a directory of one developer's machine."""
    return [
        f"{path}:{number}: names a directory of somebody's machine: {found[0]}…"
        for number, line in enumerate(text.splitlines(), start=1)
        if (found := SOMEBODYS_DIRECTORY.search(line))
    ]


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _lines(function: Function) -> int:
    """The lines from ``def`` to the end, without the docstring's."""
    assert function.end_lineno is not None, function.name
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return lines
    docstring = function.body[0]
    assert docstring.end_lineno is not None, function.name
    return lines - (docstring.end_lineno - docstring.lineno + 1)


def _is_reason(rest: str) -> bool:
    """Whether what follows ``# type: ignore[code]`` tells a reason: a comment of its own that holds words."""
    return re.match(r"\s*#(?!\s*noqa)\W*\w[\w\W]{4,}", rest) is not None


def _sleeps(tree: ast.AST) -> Iterator[int]:
    """The lines that name ``time.sleep``."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                yield node.lineno
            case ast.ImportFrom(module="time", names=names) if any(alias.name == "sleep" for alias in names):
                yield node.lineno


def _asserts(node: ast.AST) -> bool:
    match node:
        case ast.Assert(test=ast.Constant()):
            return False  # `assert True` is an assertion in name only.
        case ast.Assert():
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return ASSERTING_CALLS.match(name) is not None
        case ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError"))):
            return True
    return False


def _bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The names that this module chose, with their lines; not those it merely uses."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case (
                ast.arg(arg=name)
                | ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(attr=name, ctx=ast.Store())
            ):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def _words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in the singular."""
    return {word.lower().removesuffix("s") for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def _imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node.lineno, module
