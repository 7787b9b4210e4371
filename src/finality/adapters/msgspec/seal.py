"""How a secret is kept: AES-256-GCM under a key that never enters the journal.

```
    {"$secret": base64(nonce ‖ ciphertext ‖ tag), "key": "ab12"}
```

The key's short name stands beside it, so that keys can be changed: the first key given seals,
every key given opens. Source: NIST SP 800-38D, 2007.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from finality.core.errors import DefinitionError

KEY_BYTES = 32  # AES-256.
NONCE_BYTES = 12  # What GCM is made for; random ones are safe for 2^32 secrets under one key.
ASSOCIATED = b"finality.secret.v1"

SECRET, KEY = "$secret", "key"


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key that seals secrets. *id* names it without giving it away."""

    id: str
    data: bytes = field(repr=False)

    @classmethod
    def of(cls, text: str) -> SecretKey:
        """Return the key that *text* is, 32 bytes in base64.

        Raises:
            DefinitionError: It is no such text.
        """
        try:
            data = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error:
            data = b""
        if len(data) != KEY_BYTES:
            # The text is not shown, and neither is the error: it could be a real key with a typing mistake.
            raise DefinitionError(
                f"a secret key is {KEY_BYTES} bytes in base64 and this is something else: "
                "make one with finality.new_secret_key()"
            ) from None
        return cls(hashlib.blake2b(data, person=b"finality key id").hexdigest()[:4], data)


def secret_keys_of(text: str) -> tuple[SecretKey, ...]:
    """Return the keys in *text*, separated by commas, the newest first; none for an empty text."""
    return tuple(SecretKey.of(part) for part in text.split(",") if part.strip())


def new_secret_key() -> str:
    """Return a new key as text, for ``FINALITY_SECRET_KEY``. Keep it apart from the database."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def seal(data: bytes, keys: Sequence[SecretKey]) -> dict[str, str]:
    """Return the envelope of *data* under the first of *keys*.

    Raises:
        DefinitionError: There is no key, or no cryptography.
    """
    if not keys:
        raise DefinitionError(
            "a secret would be journaled and there is no key to seal it: make one with "
            "finality.new_secret_key() and pass it as FINALITY_SECRET_KEY or finality.open(…, secret_key=…)"
        )
    return {SECRET: base64.b64encode(sealed(data, keys[0], ASSOCIATED)).decode(), KEY: keys[0].id}


def sealed(data: bytes, key: SecretKey, associated: bytes) -> bytes:
    """Return *data* sealed with *key*: nonce, ciphertext and tag.

    Raises:
        DefinitionError: There is no cryptography.
    """
    nonce = os.urandom(NONCE_BYTES)
    encrypted: bytes = _cipher(key).encrypt(nonce, data, associated)
    return nonce + encrypted


def unseal(envelope: object, keys: Sequence[SecretKey]) -> bytes:
    """Return what is in *envelope*.

    Raises:
        ValueError: It is no envelope, was changed, or is sealed with a key that is not among *keys*.
    """
    match envelope:
        case {"$secret": str(text), "key": str(id)}:
            fitting = [key for key in keys if key.id == id]
        case _:
            raise ValueError("expected a sealed secret")
    if not fitting:
        known = ", ".join(key.id for key in keys) or "none"
        raise ValueError(
            f"the secret is sealed with key {id!r} and the keys here are: {known}; "
            "pass the old key behind the new one, separated by a comma"
        )
    try:
        found = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("the sealed secret is not base64: it was changed") from None
    for key in fitting:
        data = opened(found, key, ASSOCIATED)
        if data is not None:
            return data
    raise ValueError(f"the secret does not open with key {id!r}: it was changed, or is another key's")


def opened(sealed: bytes, key: SecretKey, associated: bytes) -> bytes | None:
    """Return what is sealed with *key*; None if it is another key's, or was changed."""
    from cryptography.exceptions import InvalidTag

    cipher = _cipher(key)
    if len(sealed) < NONCE_BYTES:
        return None
    try:
        data: bytes = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        return None  # Two keys may share a short name; the caller tries the next one.
    return data


def _cipher(key: SecretKey) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise DefinitionError(
            "secrets need the library cryptography, which is not installed: pip install finality[secrets]"
        ) from error
    return AESGCM(key.data)
