"""A value about a person: sealed under a key of that person's own, wherever it is kept.

```
    Personal("Ada", of="c7")   repr ▶ Personal(***)      journal ▶ {"$personal": …, "of": "c7"}
    the key of c7 is deleted   repr ▶ Personal(erased)   .reveal() raises Erased
```

Deleting one key erases all that was ever kept about the person, in events, snapshots, the outbox
and every copy of them, while the journal stays as it was written.

Source: Crypto-Shredding, as in NIST SP 800-88r1, section 2.5 (cryptographic erase), 2014.
"""

from __future__ import annotations

from typing import Any, Generic, NoReturn, TypeVar

from finality.core.errors import Erased
from finality.core.secret import MASK

T = TypeVar("T", covariant=True)
D = TypeVar("D")

SUBJECT_CHARACTERS_MAX = 200  # It stands beside every value of theirs.

_MISSING: Any = object()


class Personal(Generic[T]):
    """Wraps a value about a person. *of* names the person, and stands beside the value in the clear.

    Take a name that means nothing to whoever does not know it, such as a customer's number.
    """

    __slots__ = ("_sealed", "_value", "of")
    _sealed: tuple[dict[str, str], bool, Any] | None
    _value: T
    of: str

    def __init__(self, value: T, *, of: str) -> None:
        if not 0 < len(of) <= SUBJECT_CHARACTERS_MAX:
            raise ValueError(
                f"personal data is of somebody: name the person by 1 to {SUBJECT_CHARACTERS_MAX} characters"
            )
        object.__setattr__(self, "_value", value)
        object.__setattr__(self, "_sealed", None)
        object.__setattr__(self, "of", of)

    @classmethod
    def sealed(cls, envelope: dict[str, str], of: str, type_: Any, *, is_erased: bool) -> Personal[Any]:
        """Return one that cannot be opened: its key is deleted, or is not at hand here.

        Args:
            type_: Of the value in it.
        """
        made: Personal[Any] = object.__new__(cls)
        object.__setattr__(made, "_value", _MISSING)
        object.__setattr__(made, "_sealed", (envelope, is_erased, type_))
        object.__setattr__(made, "of", of)
        return made

    @property
    def envelope(self) -> dict[str, str] | None:
        """Return what it is kept as, if it cannot be opened; it is kept so again."""
        return None if self._sealed is None else self._sealed[0]

    @property
    def type(self) -> Any:
        """Return the type of the value in one that cannot be opened."""
        return None if self._sealed is None else self._sealed[2]

    @property
    def is_erased(self) -> bool:
        """Say whether the person was forgotten, so that nobody can read it any more."""
        return self._sealed is not None and self._sealed[1] is True

    def reveal(self) -> T:
        """Return the value.

        Raises:
            Erased: The person was forgotten, or the value was read where their key is not at hand.
        """
        if self._sealed is not None:
            why = (
                "the person was forgotten" if self.is_erased else "it was read where their key is not at hand"
            )
            raise Erased(
                f"personal data of {self.of} cannot be shown: {why}; ask is_erased, or use reveal_or"
            )
        return self._value

    def reveal_or(self, default: D) -> T | D:
        """Return the value, or *default* if it cannot be read."""
        return self._value if self._sealed is None else default

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("personal data does not change: make a new one")

    def __repr__(self) -> str:
        if self._sealed is None:
            return f"Personal({MASK})"
        return "Personal(erased)" if self.is_erased else "Personal(sealed)"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Personal):
            return NotImplemented
        return (self.of, self._value, self.envelope) == (other.of, other._value, other.envelope)

    def __hash__(self) -> int:
        return hash((Personal, self.of))

    def __copy__(self) -> Personal[T]:
        return self

    def __deepcopy__(self, memo: object) -> Personal[T]:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "personal data is not pickled: it would lie there in the clear; reveal it where needed"
        )
