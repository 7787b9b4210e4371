"""What changes a saga's version, and what does not: an open saga goes on under the same version."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.core.notation import defined

BODY = """
card: str
tracks: list[str]
@step
async def payment(self, tx) -> str: return "a"
@payment.compensate
async def refund(self, tx, payment: str): ...
@step(
    each="tracks", when=lambda self: True, at="bank",
    wait_for=signal("yes", within=timedelta(1), default=True),
)
async def license(self, tx, payment: str, item: str, yes: bool) -> int | None: ...
@step
async def mail(self, tx, payment: str): ...
"""
MAIL = BODY[BODY.index("@step\nasync def mail") :]
PAYMENT = "@step\nasync def payment"
# fmt: off
KEEPS = {
    "a body":                 ('return "a"', 'return "b"'),
    "a retry":                (PAYMENT, "@step(retry=Retry(attempts=9))\nasync def payment"),
    "a compensation's retry": ("@payment.compensate", "@payment.compensate(retry=Retry(attempts=9))"),
    "a timeout":              (PAYMENT, "@step(timeout=timedelta(1))\nasync def payment"),
    "a breaker":              (PAYMENT, "@step(breaker='bank')\nasync def payment"),
    "a duration":             ("within=timedelta(1)", "within=timedelta(2)"),
    "a default":              ("default=True", "default=False"),
    "how many at once":       ('each="tracks"', 'each="tracks", at_once=2'),
    "another condition":      ("lambda self: True", "lambda self: False"),
    "a compensation's name":  ("refund", "repay"),
    "from async to plain":    ("async def mail", "def mail"),
    "an attempt":             ("mail(self, tx, ", "mail(self, tx, attempt, "),
    "another spelling":       ("int | None", "__import__('typing').Optional[int]"),
    "the order of methods":   (BODY, BODY.replace(MAIL, "").replace(PAYMENT, MAIL + PAYMENT)),
}
CHANGES = {
    "a field's name":         ("card: str", "number: str"),
    "a field's type":         ("card: str", "card: int"),
    "another field":          ("card: str", "card: str\namount: int"),
    "a step's name":          ("mail", "letter"),
    "another step":           (PAYMENT, "@step\nasync def sms(self, tx): ...\n" + PAYMENT),
    "a need less":            ("mail(self, tx, payment: str)", "mail(self, tx)"),
    "a result":               ("-> str", "-> str | None"),
    "a signal's name":        ("yes", "allowed"),
    "a signal's type":        ("yes: bool", "yes: bool | str"),
    "a timer for a signal":   ('signal("yes", within=timedelta(1), default=True)', "timer(timedelta(1))"),
    "no compensation":        ("@payment.compensate\n", ""),
    "no condition":           ("when=lambda self: True, ", ""),
    "another list":           ("tracks", "songs"),
    "another store":          ('at="bank"', 'at="stock"'),
    "a pivot":                ("@step\nasync def mail", "@pivot\nasync def mail"),
    "without tx":             ("mail(self, tx, ", "mail(self, "),
}
# fmt: on


def changed(old: str, new: str) -> str:
    assert old in BODY, old
    body = BODY.replace(old, new)
    return body.replace(", yes: bool) ->", ") ->") if "timer(" in new else body


@pytest.mark.parametrize("case", KEEPS.values(), ids=KEEPS)
def test_what_an_open_saga_does_not_depend_on_keeps_the_version(case: tuple[str, str]) -> None:
    assert defined(changed(*case)).version == defined(BODY).version


@pytest.mark.parametrize("case", CHANGES.values(), ids=CHANGES)
def test_what_an_open_saga_depends_on_changes_the_version(case: tuple[str, str]) -> None:
    assert defined(changed(*case)).version != defined(BODY).version


def test_a_deadline_keeps_the_version_and_another_result_changes_it() -> None:
    assert defined(BODY, "deadline=__import__('datetime').timedelta(1)").version == defined(BODY).version
    assert defined(BODY, "returns='payment'").version != defined(BODY).version


def test_a_version_is_the_same_in_every_process_and_release() -> None:
    """The digits are pinned: if they change, every saga that is open at an upgrade is left alone."""
    assert defined(BODY).version == "d80cd25d"


@pytest.mark.slow
def test_a_version_does_not_depend_on_the_hash_seed() -> None:
    source = f"from tests.core.notation import defined\nprint(defined({BODY!r}).version)"
    versions = {
        subprocess.run(
            [sys.executable, "-c", source],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert versions == {defined(BODY).version}
