"""Personal data: it shows nothing by accident, and keeps what it cannot open."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from finality.adapters.msgspec.codec import JsonCodec
from finality.adapters.msgspec.seal import KEY_BYTES, SecretKey
from finality.core.errors import DefinitionError, Erased
from finality.core.personal import Personal
from finality.ports.codec import DecodeError
from finality.testing import given
from tests.core.people import Customer, Joined, Moved

ADA = Personal("Ada", of="c7")


class Keys:
    """A key table, and a codec that uses it."""

    def __init__(self) -> None:
        self.codec = JsonCodec((SecretKey("k", bytes(KEY_BYTES)),))
        self.kept: dict[str, bytes | None] = {}

    def _keep(self, of: str, key: bytes) -> None:
        self.kept.setdefault(of, key)

    def pack(self, value: Any) -> bytes:
        with self.codec.subjects(lambda of: self.kept, self._keep):
            return self.codec.pack(value)

    def unpack(self, data: bytes, type_: Any = Joined) -> Any:
        with self.codec.subjects(lambda of: self.kept):
            return self.codec.decode(data, type_)


def test_it_is_shown_by_nothing_but_reveal() -> None:
    assert ADA.reveal() == ADA.reveal_or("?") == "Ada"
    assert "Ada" not in f"{ADA} {ADA!r} {Joined(ADA)}"
    assert copy.deepcopy(ADA) is copy.copy(ADA) is ADA
    assert len({ADA, Personal("Ada", of="c7"), Personal("Ada", of="c8")}) == 2
    with pytest.raises(AttributeError):
        ADA.of = "c8"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(ADA)
    with pytest.raises(ValueError, match="of somebody"):
        Personal("Ada", of="")


def test_it_is_sealed_with_a_key_of_its_subject_and_opened_again() -> None:
    keys = Keys()
    data = keys.pack(Joined(ADA))

    assert b"Ada" not in data
    assert keys.codec.subjects_in([data]) == {"c7"}
    assert keys.unpack(data) == Joined(ADA)
    moved = Moved(Personal({"city": "Paris"}, of="c8"))
    assert keys.unpack(keys.pack(moved), Moved) == moved
    assert keys.kept.keys() == {"c7", "c8"}


def test_without_its_key_it_is_erased_and_kept_as_it_was() -> None:
    keys = Keys()
    data = keys.pack(Joined(ADA))
    keys.kept["c7"] = None
    erased = keys.unpack(data)

    assert repr(erased.name) == "Personal(erased)"
    assert erased.name.reveal_or("?") == "?"
    assert keys.pack(erased) == data
    with pytest.raises(Erased, match="the person was forgotten"):
        erased.name.reveal()
    with pytest.raises(Erased, match="nothing is kept any more"):
        keys.pack(Joined(ADA))


def test_where_no_keys_are_it_stays_sealed_and_cannot_be_sealed() -> None:
    keys = Keys()
    data = keys.pack(Joined(ADA))
    there = keys.codec.decode(data, Joined)

    assert (repr(there.name), there.name.is_erased) == ("Personal(sealed)", False)
    assert keys.codec.pack(there) == data
    assert repr(Keys().unpack(data).name) == "Personal(sealed)", "another home knows nothing of the person"
    with keys.codec.subjects(lambda of: keys.kept):
        assert keys.codec.reopened(there.name) == keys.codec.reopened(ADA) == ADA
    with pytest.raises(DefinitionError, match="their key is in the home store"):
        keys.codec.pack(Joined(ADA))


def test_an_envelope_that_was_changed_or_is_anothers_does_not_open() -> None:
    keys = Keys()
    data = keys.pack(Joined(ADA))
    keys.pack(Joined(Personal("Bob", of="c8")))

    for changed in (data.replace(b'"c7"', b'"c8"'), data.replace(b'":"', b'":"AAAA', 1), b'{"name":"Ada"}'):
        with pytest.raises(DecodeError):
            keys.unpack(changed)


def test_fixtures_take_it() -> None:
    given(Customer, Joined(ADA)).when(lambda customer: Moved(Personal({}, of="c7"))).then(
        Moved(Personal({}, of="c7"))
    )
    assert given(Customer, Joined(ADA)).aggregate == Customer(ADA)
