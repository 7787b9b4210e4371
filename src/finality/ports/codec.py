"""A codec turns values into JSON text and events into rows, and back again, typed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from finality.core.envelope import JSON_TYPE
from finality.core.ids import Json
from finality.core.personal import Personal


class DecodeError(ValueError):
    """The text is not what the type expects; the message says where."""


class Codec(Protocol):
    """Encodes for the journal. What it returns is safe to store: secrets are sealed in it."""

    def encode(self, value: Any) -> Json:
        """Return *value* as JSON text.

        Raises:
            TypeError: It holds something that JSON cannot carry.
        """
        ...

    def decode(self, text: Json | bytes, type_: Any) -> Any:
        """Return the value of *type_* that *text* stands for.

        Raises:
            DecodeError: It does not fit the type.
        """
        ...

    def decoder(self, type_: Any) -> Callable[[bytes], Any]:
        """Return what ``decode`` does for values of *type_*: for whoever reads many of them."""
        ...

    def pack(self, value: Any, content_type: str = JSON_TYPE) -> bytes:
        """Return *value* as the data of an event that is published.

        Raises:
            TypeError: It holds something that the content type cannot carry.
            DecodeError: The content type is not known.
        """
        ...

    def unpack(self, data: bytes, content_type: str, type_: Any) -> Any:
        """Return the value of *type_* that the data of an event stands for.

        Raises:
            DecodeError: It does not fit the type, or the content type is not known.
        """
        ...

    @property
    def event_types(self) -> Collection[str]:
        """Return the type names of the events that it knows, which are our own."""
        ...

    def encode_events(self, events: Iterable[Any]) -> list[tuple[str, bytes]]:
        """Return each event's type name and its data.

        Raises:
            LimitExceeded: One is larger than the journal takes.
        """
        ...

    def decode_event(self, type_name: str, data: bytes) -> Any:
        """Return the event.

        Raises:
            DecodeError: The type is unknown, or the data does not fit it.
        """
        ...

    def subjects(
        self,
        read: Callable[[Collection[str]], Mapping[str, bytes | None]],
        keep: Callable[[str, bytes], None] | None = None,
    ) -> AbstractContextManager[None]:
        """Have personal data sealed and opened, within the block, with the keys of a home store.

        Args:
            read: Finds the sealed keys of subjects, None of those who were forgotten.
            keep: Keeps the sealed key of a new subject; without it only what is known is sealed.
        """
        ...

    def reopened(self, value: Personal[Any]) -> Personal[Any]:
        """Return *value*, opened if it was read where its key was not at hand and is now."""
        ...

    def subjects_in(self, data: Iterable[bytes]) -> set[str]:
        """Return whose personal data is in what the codec has written."""
        ...
