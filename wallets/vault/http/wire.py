"""The values of the vault's port as JSON and back: one place for the server and for its client.

A value is written by its declared type: a dataclass as an object without the members that have their
default, an enum as its text, a tuple, list or set as an array, a `Secret` as its text (this is the one place
where a secret leaves a process, toward the other end of an authenticated connection). Reading is strict: an
unknown member, a missing one, or one of another type is refused and named, never its value. A card entry has
no form here at all: nothing in the clear goes over the wire.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic_core import from_json, to_json

from gateway.kernel.errors import InvalidError
from gateway.kernel.ids import Id
from wallets.vault.port import CardEntry
from wallets.vault.secret import Secret

T = TypeVar("T")
_MOST_ITEMS = 10_000
_LONGEST_TEXT = 64 * 1024
_LARGEST_INTEGER = 2**63 - 1

Encode = Callable[[Any], Any]
Decode = Callable[[Any, str], Any]
"""Takes the JSON value and the path to it, for the error."""


class WireError(InvalidError):
    """What arrived is not a value of the port; ``param`` says where."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__("request.invalid", message, param=param)


class Codec(NamedTuple, Generic[T]):
    """How one type is written and read."""

    encode: Callable[[T], Any]
    decode: Callable[[Any, str], T]


def dumps(document: Any) -> bytes:
    """Return JSON in UTF-8."""
    return to_json(document)


def loads(data: bytes) -> Any:
    """Return the JSON value. Raises WireError for what is none."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError:
        raise WireError("$", "Not JSON in UTF-8.") from None


_CODECS: dict[Any, Codec[Any]] = {}


def codec_of(declared: Any) -> Codec[Any]:
    """Return how values of a declared type are written and read. Raises TypeError for a type with no form."""
    found = _CODECS.get(declared)
    if found is None:
        found = _CODECS[declared] = _made(declared)
    return found


def _made(declared: Any) -> Codec[Any]:
    origin = get_origin(declared)
    if origin in (Union, UnionType):
        return _union(declared)
    if origin in (tuple, list, frozenset):
        return _array(declared, origin)
    if declared is NoneType:
        return Codec(_as_it_is, _decode_none)
    if declared is str:
        return Codec(_as_it_is, _decode_text)
    if declared is int:
        return Codec(_as_it_is, _decode_integer)
    if declared is bool:
        return Codec(_as_it_is, _decode_bool)
    if declared is Secret:
        return Codec(Secret.reveal, lambda value, path: Secret(_decode_text(value, path)))
    if isinstance(declared, type):
        if issubclass(declared, Id):
            return _id(declared)
        if issubclass(declared, Enum):
            return _enum(declared)
        if dataclasses.is_dataclass(declared) and declared is not CardEntry:
            return _dataclass(declared)
    raise TypeError(f"{declared} has no form on the wire")


def _as_it_is(value: Any) -> Any:
    return value


def _decode_none(value: Any, path: str) -> None:
    if value is not None:
        raise WireError(path, "Must be null.")


def _decode_text(value: Any, path: str) -> str:
    if type(value) is not str or len(value) > _LONGEST_TEXT:
        raise WireError(path, "Must be a text.")
    return value


def _decode_integer(value: Any, path: str) -> int:
    if type(value) is not int or abs(value) > _LARGEST_INTEGER:
        raise WireError(path, "Must be a whole number of at most 64 bits.")
    return value


def _decode_bool(value: Any, path: str) -> bool:
    if type(value) is not bool:
        raise WireError(path, "Must be true or false.")
    return value


def _id(kind: type[Id]) -> Codec[Any]:
    def decode(value: Any, path: str) -> Any:
        try:
            return kind.parse(_decode_text(value, path))
        except ValueError:
            raise WireError(path, f"Must be an id {kind.prefix}_...") from None

    return Codec(_as_it_is, decode)


def _enum(kind: type[Enum]) -> Codec[Any]:
    members = {member.value: member for member in kind}

    def decode(value: Any, path: str) -> Any:
        member = members.get(value) if type(value) is str else None
        if member is None:
            raise WireError(path, "Not one of the known values.")
        return member

    return Codec(lambda value: value.value, decode)


def _union(declared: Any) -> Codec[Any]:
    """A type or null, or a text or an array; JSON itself says which."""
    inner = [part for part in get_args(declared) if part is not NoneType]
    if len(inner) == 1:
        encode, decode = codec_of(inner[0])
        return Codec(
            lambda value: None if value is None else encode(value),
            lambda value, path: None if value is None else decode(value, path),
        )
    if len(inner) != 2 or inner[0] is not str or get_origin(inner[1]) is not frozenset:
        raise TypeError(f"{declared} has no form on the wire: JSON would not say which it is")
    many = codec_of(inner[1])

    def read(value: Any, path: str) -> Any:
        if value is None and NoneType in get_args(declared):
            return None
        return (many.decode if type(value) is list else _decode_text)(value, path)

    return Codec(lambda value: many.encode(value) if isinstance(value, frozenset) else value, read)


def _array(declared: Any, origin: type) -> Codec[Any]:
    """A set is written in order, so that equal values have equal JSON."""
    arguments = get_args(declared)
    if origin is tuple and (len(arguments) != 2 or arguments[1] is not Ellipsis):
        raise TypeError(f"{declared} has no form on the wire: only tuples of one type and any length")
    encode, decode = codec_of(arguments[0])

    def write(value: Any) -> list[Any]:
        items = [encode(item) for item in value]
        return sorted(items) if origin is frozenset else items

    def read(value: Any, path: str) -> Any:
        if type(value) is not list or len(value) > _MOST_ITEMS:
            raise WireError(path, f"Must be an array of at most {_MOST_ITEMS} items.")
        made = origin([decode(item, f"{path}[{place}]") for place, item in enumerate(value)])
        if len(made) != len(value):
            raise WireError(path, "An item is there twice.")
        return made

    return Codec(write, read)


def _dataclass(kind: type) -> Codec[Any]:
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    codecs = {field.name: codec_of(hints[field.name]) for field in fields}
    writers = [(field.name, codecs[field.name].encode, field.default) for field in fields]
    readers = {field.name: (codecs[field.name].decode, f".{field.name}") for field in fields}
    required = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]

    def encode(value: Any) -> dict[str, Any]:
        document = {}
        for name, write, default in writers:
            member = getattr(value, name)
            if member is not default and (default is dataclasses.MISSING or member != default):
                document[name] = write(member)
        return document

    def decode(document: Any, path: str) -> Any:
        if type(document) is not dict:
            raise WireError(path, "Must be an object.")
        values = {}
        for name, member in document.items():
            reader = readers.get(name)
            if reader is None:
                # The name itself may be anything, a card number too, so it is not repeated.
                raise WireError(path, "An unknown member is there.")
            values[name] = reader[0](member, path + reader[1])
        for name in required:
            if name not in values:
                raise WireError(f"{path}.{name}", "Is missing.")
        try:
            return kind(**values)
        except (ValueError, TypeError, InvalidError):
            raise WireError(path, f"Not a {kind.__name__}.") from None

    return Codec(encode, decode)
