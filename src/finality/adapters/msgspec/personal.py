"""How personal data is kept: AES-256-GCM under the subject's own key, which is kept sealed in the home store.

```
    node's secret key ──seals──▶ subject's key ──seals──▶ {"$personal": base64(…), "of": "c7"}
```

Whoever forgets the subject deletes the key in the middle.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec

from finality.adapters.msgspec.seal import KEY_BYTES, SecretKey, opened, seal, sealed, unseal
from finality.core.errors import DefinitionError, Erased
from finality.core.personal import Personal

PERSONAL, OF = "$personal", "of"
MARK = b'"$personal"'
ASSOCIATED = b"finality.personal.v1:"

Read = Callable[[Collection[str]], Mapping[str, bytes | None]]
Keep = Callable[[str, bytes], None]


class Ring:
    """The keys of subjects, as far as one transaction or one read needs them.

    Attributes:
        keep: Keeps a new subject's key; None where nothing is written.
    """

    def __init__(self, secret_keys: Sequence[SecretKey], read: Read, keep: Keep | None) -> None:
        self._secret_keys = secret_keys
        self._read = read
        self._keep = keep
        self._known: dict[str, SecretKey | None] = {}
        self._forgotten: set[str] = set()

    def find(self, subject: str) -> SecretKey | None:
        """Return a subject's key; None once it was deleted, or if it was never here."""
        if subject not in self._known:
            found = self._read([subject])
            kept = found.get(subject)
            self._known[subject] = None if kept is None else self._open(kept)
            if kept is None and subject in found:
                self._forgotten.add(subject)
        return self._known[subject]

    def is_forgotten(self, subject: str) -> bool:
        """Say whether a subject's key was deleted."""
        return self.find(subject) is None and subject in self._forgotten

    def make(self, subject: str) -> SecretKey:
        """Return a subject's key, a new one if there is none.

        Raises:
            Erased: It was deleted.
            DefinitionError: Nothing is written here.
        """
        key = self.find(subject)
        if key is None and self._keep is not None and subject not in self._forgotten:
            new = json.dumps(seal(os.urandom(KEY_BYTES), self._secret_keys)).encode()
            self._keep(subject, new)
            del self._known[subject]
            key = self.find(subject)  # Somebody else's, if they were first.
        if key is None:
            raise Erased(
                f"personal data of {subject} cannot be kept: the person was forgotten; under the same name "
                "nothing is kept any more"
            )
        return key

    def _open(self, kept: bytes) -> SecretKey:
        return SecretKey("", unseal(json.loads(kept), self._secret_keys))


RING: ContextVar[Ring | None] = ContextVar("finality personal", default=None)


@contextmanager
def subjects(secret_keys: Sequence[SecretKey], read: Read, keep: Keep | None) -> Iterator[None]:
    """Have personal data sealed and opened with the keys that *read* finds and *keep* makes."""
    token = RING.set(Ring(secret_keys, read, keep))
    try:
        yield
    finally:
        RING.reset(token)


def sealed_personal(value: Personal[Any], encode: Callable[[Any], bytes]) -> dict[str, str]:
    """Return what stands for *value* where it is kept.

    Raises:
        DefinitionError: There is no key table here.
        Erased: The person was forgotten.
    """
    if value.envelope is not None:
        return value.envelope
    ring = RING.get()
    if ring is None:
        raise DefinitionError(
            f"personal data of {value.of} cannot be kept here: their key is in the home store; keep it in "
            "events of an aggregate, or publish it in a transaction there"
        )
    data = sealed(encode(value.reveal()), ring.make(value.of), _associated(value.of))
    return {PERSONAL: base64.b64encode(data).decode(), OF: value.of}


def opened_personal(envelope: object, type_: Any, decode: Callable[[bytes], Any]) -> Personal[Any]:
    """Return the personal data that *envelope* holds, opened if its key is at hand.

    Raises:
        ValueError: It is no envelope, or was changed.
    """
    match envelope:
        case {"$personal": str(text), "of": str(of)}:
            found = {PERSONAL: text, OF: of}
        case _:
            raise ValueError("expected sealed personal data")
    ring = RING.get()
    key = None if ring is None else ring.find(of)
    if key is None:
        return Personal.sealed(found, of, type_, is_erased=ring is not None and ring.is_forgotten(of))
    try:
        data = opened(base64.b64decode(text, validate=True), key, _associated(of))
    except binascii.Error:
        data = None
    if data is None:
        raise ValueError(f"the personal data of {of} does not open with their key: it was changed")
    return Personal(decode(data), of=of)


def _associated(subject: str) -> bytes:
    return ASSOCIATED + subject.encode()


def subjects_in(texts: Iterable[bytes]) -> set[str]:
    """Return whose personal data is in JSON texts."""
    return {subject for text in texts if MARK in text for subject in _subjects(msgspec.json.decode(text))}


def _subjects(plain: Any) -> Iterator[str]:
    if isinstance(plain, dict):
        if PERSONAL in plain and isinstance(plain.get(OF), str):
            yield plain[OF]
        for part in plain.values():
            yield from _subjects(part)
    elif isinstance(plain, list):
        for part in plain:
            yield from _subjects(part)
