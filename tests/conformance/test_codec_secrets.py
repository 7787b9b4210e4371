"""Secrets never lie in the clear: a canary goes in, and is looked for wherever something comes out."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import pickle
import sys
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finality.adapters.msgspec.codec import JsonCodec
from finality.adapters.msgspec.seal import SecretKey, new_secret_key, secret_keys_of
from finality.core.errors import DefinitionError
from finality.core.ids import Json
from finality.core.secret import Secret
from finality.ports.codec import DecodeError

CANARY = "canary-4111-1111"


@dataclass(frozen=True)
class Card:
    number: Secret[str]
    digits: Secret[int] | None = None
    holder: str = "Anne"


@dataclass(frozen=True)
class Payment:
    cards: list[Card]
    account: Secret[dict[str, Card]]


def keys(*texts: str) -> tuple[SecretKey, ...]:
    return secret_keys_of(",".join(texts))


OLD, NEW = new_secret_key(), new_secret_key()


def test_a_secret_survives_sealed() -> None:
    codec = JsonCodec(keys(NEW))
    payment = Payment([Card(Secret(CANARY), Secret(123))], Secret({"a": Card(Secret(CANARY))}))
    text = codec.encode(payment)

    assert CANARY not in text
    assert base64.b64encode(CANARY.encode()).decode().rstrip("=")[:-1] not in text
    assert codec.decode(text, Payment) == payment


def test_the_envelope_names_the_key_and_nothing_else() -> None:
    codec = JsonCodec(keys(NEW))
    envelope = json.loads(codec.encode(Secret(CANARY)))

    assert envelope.keys() == {"$secret", "key"}
    assert envelope["key"] == keys(NEW)[0].id
    assert len(envelope["key"]) == 4


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    codec = JsonCodec(keys(NEW))

    assert codec.encode(Secret(CANARY)) != codec.encode(Secret(CANARY))


@given(st.text() | st.integers() | st.binary() | st.none() | st.lists(st.text()))
def test_every_secret_survives(value: Any) -> None:
    codec = JsonCodec(keys(NEW))
    type_ = Secret[list[str]] if isinstance(value, list) else Secret[type(value)]  # type: ignore[misc]  # made at run time

    assert codec.decode(codec.encode(Secret(value)), type_) == Secret(value)


def test_the_newest_key_seals_and_every_key_opens() -> None:
    before, during, after = JsonCodec(keys(OLD)), JsonCodec(keys(NEW, OLD)), JsonCodec(keys(NEW))
    old = before.encode(Secret(CANARY))
    new = during.encode(Secret(CANARY))

    assert during.decode(old, Secret[str]).reveal() == CANARY
    assert after.decode(new, Secret[str]).reveal() == CANARY
    with pytest.raises(DecodeError, match="pass the old key behind the new one"):
        after.decode(old, Secret[str])


def test_a_wrong_key_is_named_and_the_place_told() -> None:
    text = JsonCodec(keys(OLD)).encode(Card(Secret(CANARY)))
    with pytest.raises(DecodeError) as caught:
        JsonCodec(keys(NEW)).decode(text, Card)

    assert str(caught.value) == (
        f"not a Card: the secret is sealed with key {keys(OLD)[0].id!r} and the keys here are: "
        f"{keys(NEW)[0].id}; pass the old key behind the new one, separated by a comma - at `$.number`"
    )


def test_two_keys_of_one_short_name_are_both_tried() -> None:
    first, second = keys(OLD)[0], dataclasses.replace(keys(NEW)[0], id=keys(OLD)[0].id)
    text = JsonCodec([second]).encode(Secret(CANARY))

    assert JsonCodec([first, second]).decode(text, Secret[str]).reveal() == CANARY
    with pytest.raises(DecodeError, match="it was changed, or is another key's"):
        JsonCodec([first]).decode(text, Secret[str])


def changed(sealed: str) -> str:
    data = bytearray(base64.b64decode(sealed))
    data[-1] ^= 1
    return base64.b64encode(data).decode()


def test_a_sealed_secret_that_was_changed_does_not_open() -> None:
    codec = JsonCodec(keys(NEW))
    envelope = json.loads(codec.encode(Secret(CANARY)))
    for sealed in (changed(envelope["$secret"]), "", "AAAA", "no base64!"):
        with pytest.raises(DecodeError, match="was changed"):
            codec.decode(Json(json.dumps(envelope | {"$secret": sealed})), Secret[str])


def test_a_secret_in_the_clear_is_not_read() -> None:
    with pytest.raises(DecodeError, match="expected a sealed secret"):
        JsonCodec(keys(NEW)).decode(Json('"visa"'), Secret[str])


def test_a_secret_of_another_type_is_not_quoted() -> None:
    codec = JsonCodec(keys(NEW))
    text = codec.encode(Secret(CANARY))
    with pytest.raises(DecodeError) as caught:
        codec.decode(text, Secret[int])

    assert "what is sealed here is of another type" in str(caught.value)
    assert CANARY not in f"{caught.getrepr()}"


def test_without_a_key_nothing_is_written() -> None:
    with pytest.raises(DefinitionError) as caught:
        JsonCodec().encode(Card(Secret(CANARY)))

    assert str(caught.value) == (
        "a secret would be journaled and there is no key to seal it: make one with finality.new_secret_key() "
        "and pass it as FINALITY_SECRET_KEY or finality.open(…, secret_key=…)"
    )


def test_without_cryptography_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(DefinitionError, match=r"pip install finality\[secrets\]"):
        JsonCodec(keys(NEW)).encode(Secret(CANARY))


@pytest.mark.parametrize("text", ["x", "AAAA", base64.b64encode(b"short").decode(), NEW[:-2]], ids=range(4))
def test_a_text_that_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        SecretKey.of(text)

    assert str(caught.value) == (
        "a secret key is 32 bytes in base64 and this is something else: "
        "make one with finality.new_secret_key()"
    )


def test_a_key_is_read_in_both_alphabets_and_never_shown() -> None:
    data = bytes(range(224, 256))
    usual, of_addresses = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()

    assert usual != of_addresses
    assert SecretKey.of(usual) == SecretKey.of(f" {of_addresses}\n")
    assert usual not in repr(SecretKey.of(usual))
    assert repr(data) not in repr(SecretKey.of(usual))
    assert secret_keys_of("") == ()


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(CANARY)
    card = Card(secret)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!s:>20}",
        f"{secret:>20}",
        f"{secret}",
        repr(card),
    ]

    assert not [text for text in shown if CANARY in text]
    assert repr(secret) == "Secret(***)"
    assert secret.reveal() == CANARY


def test_a_secret_leaves_by_no_side_door() -> None:
    secret = Secret(CANARY)
    for leave in (json.dumps, msgspec.json.encode, pickle.dumps):
        with pytest.raises(TypeError) as caught:
            leave(secret)

        assert CANARY not in str(caught.value)


def test_a_secret_is_a_value() -> None:
    secret = Secret(CANARY)

    assert secret == Secret(CANARY)
    assert secret != Secret("another")
    assert secret != CANARY
    assert hash(secret) == hash(Secret(CANARY))
    assert copy.copy(secret) is secret
    assert dataclasses.asdict(Card(secret))["number"] is secret
    with pytest.raises(AttributeError):
        secret._value = "another"
