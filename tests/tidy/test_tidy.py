"""The source is tidy, and every rule that says so is shown to catch what it is for."""

from __future__ import annotations

import pytest

from tests.tidy import rules
from tests.tidy.rules import RULES, Rule, Source

SRC = "src/finality/core/planted.py"
TEST = "tests/core/test_planted.py"


def name(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_the_source_is_tidy(rule: Rule) -> None:
    findings = [finding for source in rules.sources(*RULES[rule]) for finding in rule(source)]

    assert findings == [], "\n" + "\n".join(findings)


def long_function(lines: int, *, docstring: int = 0) -> str:
    text = '    """' + "x\n" * docstring + '"""\n' if docstring else ""
    return "async def f():\n" + text + "    x = 1\n" * (lines - 1)


HOME = "/" + "home/ann/finality"  # In two parts, or this very line would be caught.

# How often which rule must object, to a file of what path and with what in it.
# fmt: off
PLANTED: list[tuple[int, Rule, str, str]] = [
    (1, rules.a_module_says_what_it_is,    SRC,  "x = 1\n"),
    (1, rules.a_module_says_what_it_is,    SRC,  ""),
    (0, rules.a_module_says_what_it_is,    SRC,  '"""A noun."""\n'),

    (1, rules.a_function_fits_a_screen,    SRC,  long_function(61)),
    (0, rules.a_function_fits_a_screen,    SRC,  long_function(60)),
    (0, rules.a_function_fits_a_screen,    SRC,  long_function(60, docstring=50)),
    (1, rules.a_function_fits_a_screen,    SRC,  long_function(61, docstring=50)),
    (1, rules.a_function_fits_a_screen,    SRC,  "class C:\n  def f(self):\n" + "    x = 1\n" * 60),

    (1, rules.a_module_holds_one_noun,     SRC,  "x = 1\n" * 401),
    (0, rules.a_module_holds_one_noun,     SRC,  "x = 1\n" * 400),

    (1, rules.a_test_does_not_sleep,       TEST, "import time\ntime.sleep(1)\n"),
    (1, rules.a_test_does_not_sleep,       TEST, "from time import monotonic, sleep\n"),
    (1, rules.a_test_does_not_sleep,       TEST, "from time import sleep as rest\n"),
    (1, rules.a_test_does_not_sleep,       TEST, "nap = time.sleep\n"),
    (0, rules.a_test_does_not_sleep,       TEST, "await clock.sleep(1)\n"),

    (1, rules.an_ignored_type_says_why,    SRC,  "x = f()  # type: ignore\n"),
    (1, rules.an_ignored_type_says_why,    SRC,  "x = f()  # type: ignore[arg-type]\n"),
    (1, rules.an_ignored_type_says_why,    SRC,  "x = f()  # type: ignore  # the stub is wrong\n"),
    (1, rules.an_ignored_type_says_why,    SRC,  "x = f()  # type: ignore[arg-type]  # noqa: E501\n"),
    (0, rules.an_ignored_type_says_why,    SRC,  "x = f()  # type: ignore[arg-type]  # the stub is wrong\n"),
    (0, rules.an_ignored_type_says_why,    SRC,  "x = '# type: ignore'\n"),

    (1, rules.a_test_asserts,              TEST, "def test_a():\n    run()\n"),
    (1, rules.a_test_asserts,              TEST, "class TestA:\n    async def test_a(self):\n        pass\n"),
    (1, rules.a_test_asserts,              TEST, "def test_a():\n    assert True\n"),
    (1, rules.a_test_asserts,              TEST, "def test_a():\n    x = (y := 'assert')\n"),
    (0, rules.a_test_asserts,              TEST, "def helper():\n    run()\n"),
    (0, rules.a_test_asserts,              TEST, "def test_a():\n    assert run() == 1\n"),
    (0, rules.a_test_asserts,              TEST, "def test_a():\n    with pytest.raises(E):\n        f()\n"),
    (0, rules.a_test_asserts,              TEST, "def test_a():\n    check_total(run())\n"),
    (0, rules.a_test_asserts,              TEST, "def test_a():\n    if bad: raise AssertionError(bad)\n"),

    (1, rules.a_todo_names_its_issue,      SRC,  "# TODO: later\n"),
    (1, rules.a_todo_names_its_issue,      SRC,  "x = 1  # TODO(ann) later\n"),
    (1, rules.a_todo_names_its_issue,      SRC,  "# FIXME(#12): wrong\n"),
    (1, rules.a_todo_names_its_issue,      SRC,  "# TODO(#12): later. TODO again\n"),
    (0, rules.a_todo_names_its_issue,      SRC,  "# TODO(#12): later\n"),

    (1, rules.nobodys_machine_is_named,    SRC,  f"x = '{HOME}'\n"),
    (1, rules.nobodys_machine_is_named,    SRC,  f"# see {HOME}\n"),
    (1, rules.nobodys_machine_is_named,    SRC,  "# C:" + r"\Users\ann"),
    (0, rules.nobodys_machine_is_named,    SRC,  "x = '/shops/home/1', './home/ann', 'sqlite:///a'\n"),

    (1, rules.names_are_the_glossarys,     SRC,  "class LeaseManager: pass\n"),
    (1, rules.names_are_the_glossarys,     SRC,  "def start_workers(): pass\n"),
    (1, rules.names_are_the_glossarys,     SRC,  "def f(on_event_handler): pass\n"),
    (1, rules.names_are_the_glossarys,     SRC,  "self.leader = 1\n"),
    (1, rules.names_are_the_glossarys,     SRC,  "from a import b as worker\n"),
    (2, rules.names_are_the_glossarys,     SRC,  "is_rolled_back = 1\nrollback: int = 2\n"),
    (1, rules.names_are_the_glossarys,     "src/finality/core/manager.py", ""),
    (0, rules.names_are_the_glossarys,     "src/finality/adapters/a/b.py", "def rollback(): pass\n"),
    (1, rules.names_are_the_glossarys,     "src/finality/adapters/a/b.py", "def handler(): pass\n"),
    (0, rules.names_are_the_glossarys,     SRC,  "from contextlib import asynccontextmanager\n"),
    (0, rules.names_are_the_glossarys,     SRC,  "loop.set_exception_handler(f)\nx = 'ROLLBACK'\n"),

    (1, rules.core_and_ports_need_nothing, SRC,  "import msgspec\n"),
    (1, rules.core_and_ports_need_nothing, SRC,  "def f():\n    from rich.table import Table\n"),
    (0, rules.core_and_ports_need_nothing, SRC,  "import enum\nfrom finality.core import ids\n"),
    (1, rules.core_and_ports_need_nothing, "src/finality/ports/a.py", "import attrs\n"),
    (0, rules.core_and_ports_need_nothing, "src/finality/adapters/a/b.py", "import apsw\n"),
]
# fmt: on


@pytest.mark.parametrize("objections, rule, path, snippet", PLANTED, ids=range(len(PLANTED)))
def test_a_planted_mistake_is_caught(objections: int, rule: Rule, path: str, snippet: str) -> None:
    findings = rule(Source.of(path, snippet))

    assert len(findings) == objections, f"{name(rule)} on {snippet!r}: {findings}"


def test_every_rule_has_a_planted_mistake_and_a_good_example() -> None:
    caught = {rule for objections, rule, _, _ in PLANTED if objections}
    passed = {rule for objections, rule, _, _ in PLANTED if not objections}

    assert caught == passed == set(RULES)


def test_a_file_that_is_listed_may_sleep_until_it_no_longer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rules.SLEEPERS, TEST, "it waits for another process")

    assert rules.a_test_does_not_sleep(Source.of(TEST, "time.sleep(1)\n")) == []
    assert len(rules.a_test_does_not_sleep(Source.of(TEST, "x = 1\n"))) == 1


def test_whoever_may_sleep_exists_and_says_why() -> None:
    for path, reason in rules.SLEEPERS.items():
        assert (rules.ROOT / path).is_file(), f"{path} is listed in SLEEPERS and does not exist"
        assert len(reason) > 10, f"{path} gives no reason to sleep"
