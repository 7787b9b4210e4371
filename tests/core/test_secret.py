"""Taking secrets out of a text: whatever an exception quotes must not reach the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finality.core.secret import Secret, secret_values, without_password
from finality.core.secret import redact as redacted


@dataclass(frozen=True, slots=True)
class Card:
    number: Secret[str]
    check: Secret[int]
    holder: str = "Anne"


class Plain:
    def __init__(self) -> None:
        self.token = Secret("token")
        self.me = self

    def __str__(self) -> str:
        return "an object that holds itself"  # Its address would be another in each test process.


# fmt: off
FOUND: list[tuple[Any, tuple[str, ...]]] = [
    ("no secret",                                     ()),
    (Secret("visa"),                                  ("visa",)),
    (Secret(""),                                      ()),
    (Secret(None),                                    ()),
    (Secret(True),                                    ()),
    (Secret(42),                                      ("42",)),
    (Secret(b"ab"),                                   ("ab",)),
    (Secret(b"\xff"),                                 ("\\\\xff", "\\xff")),
    (Secret("a'\"b\n"),                               ('a\'\\"b\\n', "a\\'\"b\\n", "a'\"b\n")),
    (Secret("ü"),                                     ("\\u00fc", "ü")),
    (Secret({"user": "me", "codes": ["1", 22]}),      ("codes", "user", "22", "me", "1")),
    (Secret(Secret("inner")),                         ("inner",)),
    (Card(Secret("visa"), Secret(123)),               ("visa", "123")),
    ([{"a": (Secret("x"), {Secret("yy")})}],          ("yy", "x")),
    (Plain(),                                         ("token",)),
]
# fmt: on


@pytest.mark.parametrize("value, expected", FOUND, ids=str)
def test_secrets_are_found_wherever_they_lie(value: Any, expected: tuple[str, ...]) -> None:
    assert secret_values(value) == expected


# fmt: off
REDACTED = [
    ("card visa-1 refused",   ["visa-1"],        "card *** refused"),
    ("cvv 123, try 1",        ["123"],           "cvv ***, try 1"),
    ("abcdef",                ["abcd", "cdef"],  "***"),
    ("aaaa",                  ["aaa"],           "***"),
    ("abab-ab",               ["ab"],            "***-***"),
    ("nothing here",          ["visa"],          "nothing here"),
    ("nothing here",          [""],              "nothing here"),
    ("a ** b",                ["*"],             "a *** b"),
    ("",                      ["visa"],          ""),
]
# fmt: on


@pytest.mark.parametrize("text, values, expected", REDACTED)
def test_each_occurrence_is_masked(text: str, values: list[str], expected: str) -> None:
    assert redacted(text, values) == expected


@given(st.text("ab '\"\n\\ü", min_size=4), st.text("xyz"), st.text("xyz"))
def test_what_an_exception_quotes_is_masked(secret: str, before: str, after: str) -> None:
    values = secret_values(Secret(secret))
    for quoted in (secret, repr(secret), str(KeyError(secret)), repr(ValueError(secret))):
        assert secret not in redacted(f"{before}{quoted}{after}", values)
        assert repr(secret)[1:-1] not in redacted(f"{before}{quoted}{after}", values)


# fmt: off
URLS = [
    ("sqlite:///shop@home.db",                      "sqlite:///shop@home.db"),
    ("postgresql://db:5432/shop?sslmode=require",   "postgresql://db:5432/shop?sslmode=require"),
    ("postgresql://shop:s3cret@db:5432/shop",       "postgresql://shop:***@db:5432/shop"),
    ("postgresql://:s3cret@db/shop",                "postgresql://:***@db/shop"),
    ("postgresql://shop:s3:c/r@et@db/shop",         "postgresql://shop:***@db/shop"),
    ("postgresql:///shop?user=a&password=s3cret&x", "postgresql:///shop?user=a&password=***&x"),
    ("mariadb://h/shop?SSL_Password=s3cret",        "mariadb://h/shop?SSL_Password=***"),
    ("https://seats.example?token=s3cret",          "https://seats.example?token=***"),
]
# fmt: on


@pytest.mark.parametrize("url, shown", URLS)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
