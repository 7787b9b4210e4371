"""The codec: values as JSON text and events as rows, by msgspec.

What msgspec knows it does itself: dataclasses, attrs, Structs, collections, dates, decimals,
UUIDs, enums, bytes. Pydantic models and secrets are ours. Encoding an event is the hottest path
of a node, so an event's name is one look into a dict and its encoder is shared.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import sys
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from finality.adapters.checks import too_large
from finality.adapters.msgspec.personal import (
    Keep,
    Read,
    opened_personal,
    sealed_personal,
    subjects,
    subjects_in,
)
from finality.adapters.msgspec.seal import SecretKey, seal, unseal
from finality.core.breaker import BreakerEvent
from finality.core.choreography import ChoreographyEvent
from finality.core.envelope import JSON_TYPE
from finality.core.ids import Json
from finality.core.inbox import InboxEvent
from finality.core.outbox import OutboxEvent
from finality.core.personal import Personal
from finality.core.projection import ProjectionEvent
from finality.core.request import RequestEvent
from finality.core.saga.events import SagaEvent
from finality.core.secret import Secret
from finality.core.two_phase import DurableEvent, HomeNamed
from finality.ports.codec import DecodeError
from finality.ports.journal import EVENT_BYTES_MAX

EVENTS = {
    "breaker": typing.get_args(BreakerEvent),
    "choreography": typing.get_args(ChoreographyEvent),
    "inbox": typing.get_args(InboxEvent),
    "outbox": typing.get_args(OutboxEvent),
    "projection": typing.get_args(ProjectionEvent),
    "request": typing.get_args(RequestEvent),
    "saga": typing.get_args(SagaEvent),
    "two_phase": (*typing.get_args(DurableEvent), HomeNamed),
}
"""Our own, by what stands before their names in the journal."""

# What to_builtins need not turn into text just to look for floats.
PLAIN = (bytes, bytearray, datetime.datetime, datetime.date, datetime.time, datetime.timedelta, UUID, Decimal)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# In these a float may be: what is annotated as one, and what is not annotated.
OPEN_TYPES = (msgspec.inspect.FloatType, msgspec.inspect.AnyType, msgspec.inspect.CustomType)


class JsonCodec:
    """Encodes with msgspec; seals secrets with the first of its keys and opens with all.

    Safe to share between threads.
    """

    def __init__(self, secret_keys: Sequence[SecretKey] = ()) -> None:
        self._keys = tuple(secret_keys)
        self._encode = msgspec.json.Encoder(enc_hook=self._represent).encode
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
        self._with_floats: dict[type, bool] = {}
        self._names: dict[type, str] = {}
        self._events: dict[str, msgspec.json.Decoder[Any]] = {}
        for prefix, events in EVENTS.items():
            for event in events:
                self.register(event, f"{prefix}.{event.__name__}")

    def register(self, cls: type, name: str) -> None:
        """Give events of *cls* their *name* in the journal, for ever."""
        taken = self._events.get(name)
        assert taken is None or taken.type is cls, f"event name {name} stands for {taken.type} already"
        self._names[cls] = name
        self._events[name] = self._decoder(cls)

    def encode(self, value: Any) -> Json:
        """Return *value* as JSON text."""
        try:
            text = self._encode(value).decode()
            # To look for a word in bytes takes ten times as long as in a text.
            if "null" in text and value is not None and self._may_hold_floats(type(value)):
                self._check_finite(value)
            return Json(text)
        except (UnicodeEncodeError, OverflowError, RecursionError) as error:
            # The error's own text may quote the value, so only its reason is told.
            raise TypeError(
                f"a value of type {type(value).__name__} cannot be written as JSON: {_reason(error)}"
            ) from None

    def decode(self, text: Json | bytes, type_: Any) -> Any:
        """Return the value of *type_* that *text* stands for."""
        try:
            decoder = self._decoders.get(type_)
        except TypeError:
            decoder = None  # A type that cannot be hashed, as a Literal of a list, has its decoder made anew.
        try:
            return (decoder or self._decoder(type_)).decode(text)
        except UNREADABLE as error:
            raise DecodeError(f"not a {_name(type_)}: {error}") from error

    def decoder(self, type_: Any) -> Callable[[bytes], Any]:
        """Return what reads values of *type_*."""
        decode = (self._decoders.get(type_) or self._decoder(type_)).decode

        def read(data: bytes) -> Any:
            try:
                return decode(data)
            except UNREADABLE as error:
                raise DecodeError(f"not a {_name(type_)}: {error}") from error

        return read

    def pack(self, value: Any, content_type: str = JSON_TYPE) -> bytes:
        """Return *value* as the data of an event that is published."""
        if content_type == JSON_TYPE or _format_of(content_type) == "json":
            return self.encode(value).encode()
        return msgspec.msgpack.encode(value, enc_hook=self._represent)

    def unpack(self, data: bytes, content_type: str, type_: Any) -> Any:
        """Return the value of *type_* that the data of an event stands for."""
        if _format_of(content_type) == "json":
            return self.decode(data, type_)
        try:
            return msgspec.msgpack.decode(data, type=type_, dec_hook=self._restore)
        except UNREADABLE as error:
            raise DecodeError(f"not a {_name(type_)}: {error}") from error

    @property
    def event_types(self) -> Collection[str]:
        """Return the type names of the events that it knows, which are our own."""
        return self._events.keys()

    def encode_events(self, events: Iterable[Any]) -> list[tuple[str, bytes]]:
        """Return each event's type name and its data."""
        names, encode = self._names, self._encode
        rows = []
        for event in events:
            name, data = names[type(event)], encode(event)
            if len(data) > EVENT_BYTES_MAX:
                raise too_large(name, len(data))
            rows.append((name, data))
        return rows

    def decode_event(self, type_name: str, data: bytes) -> Any:
        """Return the event."""
        decoder = self._events.get(type_name)
        if decoder is None:
            raise DecodeError(
                f"event type {type_name!r} is unknown here: it was written by another version, or its class "
                "is not registered"
            )
        try:
            return decoder.decode(data)
        except UNREADABLE as error:
            raise DecodeError(f"not a {type_name}: {error}") from error

    def subjects(self, read: Read, keep: Keep | None = None) -> AbstractContextManager[None]:
        """Have personal data sealed and opened with the keys that *read* finds and *keep* makes."""
        return subjects(self._keys, read, keep)

    def reopened(self, value: Personal[Any]) -> Personal[Any]:
        """Return *value*, opened if it was read where its key was not at hand and is now."""
        if value.envelope is None:
            return value
        return opened_personal(value.envelope, value.type, lambda data: self._opened(data, value.type))

    def subjects_in(self, data: Iterable[bytes]) -> set[str]:
        """Return whose personal data is in *data*."""
        return subjects_in(data)

    def check(self, type_: Any) -> None:
        """See that values of *type_* can be read back.

        Raises:
            TypeError: They cannot; the message says why.
        """
        try:
            self._decoder(type_)
            found = msgspec.inspect.type_info(type_)
        except NameError as error:
            raise TypeError(
                f"{_name(type_)} has a field whose type cannot be resolved, {error}: define both in a module"
            ) from error
        types = _types_in(found, set())
        for custom in [part.cls for part in types if isinstance(part, msgspec.inspect.CustomType)]:
            if typing.get_origin(custom) in (Secret, Personal):
                self.check(typing.get_args(custom)[0])
            elif custom not in (Secret, Personal) and not is_pydantic(custom):
                raise TypeError(
                    f"nothing says how to read a {_name(custom)} from JSON: use a dataclass, an attrs or "
                    "pydantic class, a Struct, or a type of the standard library"
                )

    def _may_hold_floats(self, cls: type) -> bool:
        known = self._with_floats.get(cls)
        if known is None:
            known = self._with_floats[cls] = _may_hold_floats(cls)
        return known

    def _check_finite(self, value: Any) -> None:
        # What JSON cannot say of a number msgspec writes as null, which would read as None.
        plain = msgspec.to_builtins(value, builtin_types=PLAIN, enc_hook=self._represent, str_keys=True)
        if not all(map(math.isfinite, _floats(plain))):
            raise TypeError(
                f"a value of type {_name(type(value))} cannot be written as JSON: it holds a float that is "
                "infinite or not a number; use a Decimal, or None"
            )

    def _decoder(self, type_: Any) -> msgspec.json.Decoder[Any]:
        decoder = msgspec.json.Decoder(type_, dec_hook=self._restore)
        with contextlib.suppress(TypeError):  # It cannot be hashed, see decode.
            self._decoders[type_] = decoder
        return decoder

    def _represent(self, value: Any) -> Any:
        """Return what stands for a *value* that msgspec does not know."""
        if isinstance(value, Secret):
            return seal(self._encode(value.reveal()), self._keys)
        if isinstance(value, Personal):
            return sealed_personal(value, self._encode)
        if is_pydantic(type(value)):
            return _dumped(value)
        match value:  # A subclass is written as what it extends.
            case str():
                return str.__str__(value)
            case int():
                return int(value)
            case float():
                return float(value)
            case bytes():
                return bytes(value)
        raise TypeError(
            f"a value of type {_name(type(value))} cannot be written as JSON: use a dataclass, an attrs or "
            "pydantic class, a Struct, or a type of the standard library"
        )

    def _restore(self, type_: Any, value: Any) -> Any:
        """Return the value of a *type_* that msgspec does not know."""
        if type_ is Secret or typing.get_origin(type_) is Secret:
            inner = typing.get_args(type_)[0] if typing.get_args(type_) else Any
            return Secret(self._opened(unseal(value, self._keys), inner))
        if type_ is Personal or typing.get_origin(type_) is Personal:
            inner = typing.get_args(type_)[0] if typing.get_args(type_) else Any
            return opened_personal(value, inner, lambda data: self._opened(data, inner))
        if is_pydantic(type_):
            return type_.model_validate_json(self._encode(value), by_alias=False, by_name=True)
        return value

    def _opened(self, data: bytes, type_: Any) -> Any:
        try:
            return self.decode(Json(data.decode()), type_)
        except DecodeError:
            # The error's own text may quote what it found, and that is a secret.
            raise ValueError("what is sealed here is of another type") from None


def _format_of(content_type: str) -> str:
    """Return what *content_type* is written in: json, or msgpack.

    Raises:
        DecodeError: It is neither.
    """
    name = content_type.partition(";")[0].strip().lower()
    for written in ("json", "msgpack"):
        if name in (f"application/{written}", f"application/x-{written}") or name.endswith(f"+{written}"):
            return written
    raise DecodeError(f"its content type is {content_type!r}, and only JSON and msgpack are understood")


def _floats(plain: Any) -> Iterator[float]:
    if isinstance(plain, float):
        yield plain
    elif isinstance(plain, dict | list | tuple | set | frozenset):
        for part in plain.values() if isinstance(plain, dict) else plain:
            yield from _floats(part)


def is_pydantic(type_: Any) -> bool:
    """Say whether it is a pydantic model."""
    # No value can be a pydantic model unless somebody imported pydantic.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(type_, type) and issubclass(type_, pydantic.BaseModel)


def _dumped(model: Any) -> Any:
    _refuse_masked(model)
    return model.model_dump(mode="json", round_trip=True, by_alias=False)


def _refuse_masked(value: Any) -> None:
    """Refuse what pydantic would dump as asterisks: it could never be read back."""
    if hasattr(value, "get_secret_value"):
        raise TypeError(
            f"pydantic writes a {type(value).__name__} as asterisks, which cannot be read back: "
            "use finality.Secret, in a dataclass"
        )
    if is_pydantic(type(value)):
        parts: Any = vars(value).values()
    elif isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    else:
        return
    for part in parts:
        _refuse_masked(part)


def _types_in(found: Any, seen: set[int]) -> Iterator[msgspec.inspect.Type]:
    """Return *found* and every type within it, each once."""
    if id(found) in seen:
        return
    seen.add(id(found))
    if isinstance(found, tuple | list):
        for part in found:
            yield from _types_in(part, seen)
    elif isinstance(found, msgspec.inspect.Type | msgspec.inspect.Field):
        if isinstance(found, msgspec.inspect.Type):
            yield found
        for name in found.__struct_fields__:
            if name not in ("default", "cls"):
                yield from _types_in(getattr(found, name), seen)


def _may_hold_floats(cls: type) -> bool:
    """Say whether a value of *cls* may hold a float, as far as annotations tell."""
    try:
        types = list(_types_in(msgspec.inspect.type_info(cls), set()))
    except (TypeError, NameError):
        return True  # It says nothing about itself, so its values have to be looked at.
    return any(isinstance(type_, OPEN_TYPES) for type_ in types)


def _name(type_: Any) -> str:
    return type_.__name__ if isinstance(type_, type) and not typing.get_args(type_) else str(type_)


def _reason(error: Exception) -> str:
    match error:
        case UnicodeEncodeError():
            return "it holds half of a surrogate pair"
        case OverflowError():
            return "it holds a number that is too large"
        case _:
            return "it is nested too deeply, or holds itself"
