"""From plain data, as a file or a request holds it, to the dataclass that a saga is.

``JsonCodec`` reads what the journal holds, where secrets are sealed and everything fits. This
reads what the outside says, where a secret comes as it is and much does not fit.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import msgspec

from finality.core.secret import Secret
from finality.patterns.saga import Saga, definition_of

PLACE = re.compile(r" - at `\$(?P<place>[^`]*)`$")
CELL_CHARACTERS_MAX = 40  # Of a cell that an error quotes.


class BadInput(ValueError):
    """The data is not what the saga takes; the message says which part, and why."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a saga: *is_text* if any text fits, *is_optional* if None does, *is_shown* if no secret."""

    name: str
    is_required: bool
    is_text: bool
    is_optional: bool
    is_shown: bool


class Inputs:
    """Reads the inputs of one kind of saga.

    Args:
        extra: Names that the data may have although the saga has no such field.

    Raises:
        DefinitionError: *cls* is no saga, or its declaration cannot keep its promise.
    """

    def __init__(self, cls: type[Saga], *, extra: Collection[str] = ()) -> None:
        definition = definition_of(cls)
        self.kind = definition.kind
        self._type = definition.type
        self._extra = frozenset(extra)
        self.fields = {field.name: field for field in _fields(self._type)}
        self._decode = msgspec.json.Decoder(self._type, dec_hook=_plain_secret).decode
        self._decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    def check_names(self, names: Collection[str]) -> None:
        """See that *names* are fields, and that none that is required is missing.

        Raises:
            BadInput: They are not, or one is.
        """
        for name in names:
            if name not in self.fields and name not in self._extra:
                close = get_close_matches(name, self.fields, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {self._listed()}"
                raise BadInput(f"{self.kind} has no field {name!r}; {hint}")
        for field in self.fields.values():
            if field.is_required and field.name not in names:
                raise BadInput(f"{field.name!r} is missing, which {self.kind} needs")

    def of_json(self, line: bytes) -> tuple[Saga, Mapping[str, Any]]:
        """Return the saga that a JSON object stands for, and its parts undecoded.

        Raises:
            BadInput: It is no JSON object, or does not fit.
        """
        try:
            parts = self._decode_parts(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(_reason(error, "no JSON object")) from None
        self.check_names(parts.keys())
        try:
            return self._decode(line), parts
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(_reason(error)) from None

    def of_texts(self, texts: Mapping[str, str]) -> Saga:
        """Return the saga that the cells of a table's row stand for.

        An empty cell is the field's default if it has one, else None or the empty text if
        that fits. A cell that begins with ``[`` or ``{`` may be JSON.

        Raises:
            BadInput: They do not fit.
        """
        values: dict[str, Any] = {}
        for name, text in texts.items():
            field = self.fields.get(name)
            if field is None:
                continue
            if text == "" and not field.is_required:
                continue
            values[name] = None if text == "" and field.is_optional else _cell(text, field)
        try:
            saga: Saga = msgspec.convert(values, self._type, strict=False, dec_hook=_lax_secret)
        except (msgspec.ValidationError, RecursionError) as error:
            raise BadInput(f"{_reason(error)}{self._cell_of(error, texts)}") from None
        return saga

    def _cell_of(self, error: Exception, texts: Mapping[str, str]) -> str:
        place = PLACE.search(str(error))
        field = self.fields.get(place["place"].lstrip(".")) if place is not None else None
        if field is None or not field.is_shown:
            return ""
        return f" {texts.get(field.name, '')[:CELL_CHARACTERS_MAX]!r}"

    def _listed(self) -> str:
        return ", ".join(self.fields) or "no fields"


def _fields(type_: Any) -> list[Field]:
    found = msgspec.inspect.type_info(type_)
    assert isinstance(found, msgspec.inspect.DataclassType), f"{type_} is {found}"
    fields = []
    for field in found.fields:
        options = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        is_text = any(
            isinstance(option, msgspec.inspect.StrType | msgspec.inspect.AnyType) for option in options
        )
        is_optional = any(isinstance(option, msgspec.inspect.NoneType) for option in options)
        is_shown = not any(isinstance(option, msgspec.inspect.CustomType) for option in options)
        fields.append(Field(field.encode_name, field.required, is_text, is_optional, is_shown))
    return fields


def _cell(text: str, field: Field) -> Any:
    if field.is_text or not text.startswith(("[", "{")):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _plain_secret(type_: Any, value: Any) -> Any:
    return _restored(type_, value, strict=True)


def _lax_secret(type_: Any, value: Any) -> Any:
    return _restored(type_, value, strict=False)


def _restored(type_: Any, value: Any, *, strict: bool) -> Any:
    """Return the value of a *type_* that msgspec does not know."""
    if type_ is Secret or typing.get_origin(type_) is Secret:
        inner = typing.get_args(type_)[0] if typing.get_args(type_) else Any
        try:
            return Secret(msgspec.convert(value, inner, strict=strict, dec_hook=_plain_secret))
        except msgspec.ValidationError:
            # The error's own text may quote the value, and that is a secret.
            raise ValueError("the secret is of another type") from None
    if hasattr(type_, "model_validate"):
        return type_.model_validate(value)
    return value


def _reason(error: Exception, prefix: str = "") -> str:
    """Return why data did not fit, with the place in front: ``amount: expected int, got str``."""
    text = " ".join(str(error).split())
    place = PLACE.search(text)
    if place is not None:
        text = text[: place.start()]
    text = text.replace("`", "")
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    where = place["place"].lstrip(".") if place is not None else ""
    return ": ".join(part for part in (prefix, where, text) if part)
