"""How a mint on a merchant's own contract is called, as the merchant describes it. No I/O, no chain library.

A description is a function's signature and one argument for each of its parameters: a placeholder for what
differs from mint to mint, or a literal. Types are those of the Contract ABI Specification, without arrays and
tuples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

Literal = str | int | bool
"""An argument as it is written: a placeholder's name, or a value."""


class Standard(StrEnum):
    """What kind of token the contract makes."""

    ERC1155 = "erc1155"
    ERC721 = "erc721"


class Placeholder(StrEnum):
    """What stands for something that differs from mint to mint."""

    TO = "to"
    """The recipient."""
    ID = "id"
    """The token's id as the merchant's product file gives it. Without it the contract chooses the id."""
    AMOUNT = "amount"
    DATA = "data"
    """The bytes named beside the call, mostly none."""
    SERIAL = "serial"
    """The number of a numbered copy, from 1."""
    PURCHASE_NUMBER = "purchase_number"
    """A number that no other mint of this installation has."""


class CallProblem(NamedTuple):
    """What is wrong with a description: which of its fields, which argument of it, and a sentence."""

    field: str
    argument: int | None
    message: str


class Parameter(NamedTuple):
    """A parameter's type, taken apart: ``uint`` and 256 for ``uint256``; 0 for types without a size."""

    name: str
    bits: int

    def __str__(self) -> str:
        size = self.bits // 8 if self.name == "bytes" else self.bits
        return f"{self.name}{size or ''}"


MOST_GAS = 2_000_000
"""No mint on a merchant's own contract may burn more than this."""
LEAST_GAS = 50_000
MOST_DATA_BYTES = 1_024
_MOST_PARAMETERS = 12
_SIGNATURE = re.compile(r"([A-Za-z_$][A-Za-z0-9_$]{0,63})\(([^()]*)\)")
_SIZED = re.compile(r"(uint|int|bytes)([1-9][0-9]{0,2})")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_HEX = re.compile(r"0x([0-9a-fA-F]{2})*")
_DECIMAL = re.compile(r"-?[0-9]{1,78}")


@dataclass(frozen=True, slots=True)
class CallDescription:
    """A described call. Make it from what `call_problems` finds nothing wrong with."""

    standard: Standard
    call: str
    arguments: tuple[Literal, ...]
    data: bytes = b""

    @property
    def names_id(self) -> bool:
        """Whether we say which token is minted; otherwise the contract does, and its event tells."""
        return self._uses(Placeholder.ID)

    @property
    def is_single(self) -> bool:
        """Whether one call mints one token, so that more of them are mints of their own."""
        return self.standard is Standard.ERC721 or not self._uses(Placeholder.AMOUNT)

    @property
    def names_serial(self) -> bool:
        return self._uses(Placeholder.SERIAL)

    def _uses(self, placeholder: Placeholder) -> bool:
        return any(
            kind is placeholder for kind, _ in _resolved(parameters(self.call), self.arguments) if kind
        )

    def values(self, given: Mapping[Placeholder, Any]) -> tuple[list[str], list[Any]]:
        """Return the types and the values of one call."""
        types = parameters(self.call)
        filled = [
            given[kind] if kind is not None else _value(parameter, written)
            for parameter, (kind, written) in zip(types, _resolved(types, self.arguments), strict=True)
        ]
        return [str(parameter) for parameter in types], filled


def describe(standard: str, call: str, arguments: Sequence[Literal], data: bytes) -> CallDescription:
    """Return a description from its parts."""
    return CallDescription(Standard(standard), call, tuple(arguments), data)


def parameters(call: str) -> list[Parameter]:
    """Return the parameters of a signature such as ``mint(address,uint256,uint256,bytes)``.

    Raises ValueError with a sentence about what is wrong.
    """
    found = _SIGNATURE.fullmatch(call)
    if found is None:
        raise ValueError(
            "is no signature such as mint(address,uint256,uint256,bytes), without spaces or names"
        )
    inside = found.group(2)
    types = [_parameter(text) for text in inside.split(",")] if inside else []
    if len(types) > _MOST_PARAMETERS:
        raise ValueError(f"has {len(types)} parameters; {_MOST_PARAMETERS} are the most")
    return types


def call_problems(
    standard: Standard, call: str, arguments: Sequence[Any], data: str, *, address: str
) -> Iterator[CallProblem]:
    """Yield everything that is wrong with a description."""
    if _ADDRESS.fullmatch(address) is None or not int(address, 16):
        yield CallProblem("address", None, "is no address of 0x and 40 hex digits")
    elif not _checksum_holds(address):
        yield CallProblem("address", None, "does not have the checksum of EIP-55; copy it once more")
    if _HEX.fullmatch(data) is None or len(data) > 2 + 2 * MOST_DATA_BYTES:
        yield CallProblem("data", None, f"is not 0x and the hex digits of at most {MOST_DATA_BYTES} bytes")
    try:
        types = parameters(call)
    except ValueError as error:
        yield CallProblem("call", None, str(error))
        return
    if len(types) != len(arguments):
        yield CallProblem(
            "arguments", None, f"there are {len(arguments)} for the {len(types)} parameters of the call"
        )
        return
    for index, (parameter, written) in enumerate(zip(types, arguments, strict=True)):
        message = _mismatch(parameter, written)
        if message is not None:
            yield CallProblem("arguments", index, message)
    used = [kind for kind, _ in _resolved(types, arguments)]
    if used.count(Placeholder.TO) != 1:
        yield CallProblem("arguments", None, "exactly one of them is to, the recipient")
    if standard is Standard.ERC1155 and not {Placeholder.ID, Placeholder.AMOUNT} & set(used):
        yield CallProblem("arguments", None, "a mint of ERC-1155 names an id or an amount")


def _parameter(text: str) -> Parameter:
    if text in ("address", "bool", "string", "bytes"):
        return Parameter(text, 0)
    if text in ("uint", "int"):
        raise ValueError(f"write {text}256 for {text}: the selector is made of full names")
    found = _SIZED.fullmatch(text)
    if found is not None:
        name, size = found.group(1), int(found.group(2))
        if name == "bytes" and size <= 32:
            return Parameter(name, size * 8)
        if name != "bytes" and size <= 256 and size % 8 == 0:
            return Parameter(name, size)
    raise ValueError(
        f"{text[:40]!r} is no type that can be given: address, bool, string, bytes, bytes1 to bytes32, "
        "uint8 to uint256, int8 to int256"
    )


def _resolved(types: Sequence[Parameter], arguments: Sequence[Any]) -> list[tuple[Placeholder | None, Any]]:
    """Tell placeholders from literals. A string's value is always a literal: no placeholder is text."""
    return [
        (
            Placeholder(written)
            if parameter.name != "string" and isinstance(written, str) and written in set(Placeholder)
            else None,
            written,
        )
        for parameter, written in zip(types, arguments, strict=True)
    ]


def _mismatch(parameter: Parameter, written: Any) -> str | None:
    ((kind, _),) = _resolved([parameter], [written])
    if kind is None:
        try:
            _value(parameter, written)
        except ValueError as error:
            return f"{error}, and is no placeholder ({', '.join(Placeholder)})"
        return None
    match kind:
        case Placeholder.TO:
            fits = parameter.name == "address"
        case Placeholder.DATA:
            fits = str(parameter) == "bytes"
        case Placeholder.ID:
            # Ids of numbered copies use all of its bits.
            fits = str(parameter) == "uint256"
        case _:
            fits = parameter.name == "uint" and parameter.bits >= 64
    return None if fits else f"{kind} does not fit the parameter's type {parameter}"


def _value(parameter: Parameter, written: Any) -> Any:
    """Return a literal as the encoder wants it. Raises ValueError."""
    match parameter.name:
        case "address" if isinstance(written, str) and _ADDRESS.fullmatch(written):
            return written
        case "bool" if isinstance(written, bool):
            return written
        case "string" if isinstance(written, str):
            written.encode()  # half of a character cannot be sent
            return written
        case "bytes" if isinstance(written, str) and _HEX.fullmatch(written):
            value = bytes.fromhex(written[2:])
            if not parameter.bits or len(value) == parameter.bits // 8:
                return value
        case "uint" | "int" if not isinstance(written, bool):
            if isinstance(written, str) and _DECIMAL.fullmatch(written):
                written = int(written)
            signed = parameter.name == "int"
            low = -(1 << parameter.bits - 1) if signed else 0
            high = 1 << (parameter.bits - 1 if signed else parameter.bits)
            if isinstance(written, int) and low <= written < high:
                return written
    raise ValueError(f"{str(written)[:40]!r} is no value of type {parameter}")


def _checksum_holds(address: str) -> bool:
    try:
        from eth_utils.address import is_checksum_address
    except ImportError:
        # Without the chain libraries nothing is minted; the import that comes before minting checks it.
        return True
    return bool(is_checksum_address(address))
