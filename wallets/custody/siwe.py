"""Messages by which the owner of an address signs in: "Sign-In with Ethereum" (EIP-4361), written and read.

Only what the standard's grammar allows can be made or read: every field in its order, each line ended by a
single LF, nothing after the last field, ASCII throughout. A message that was read writes the same text again,
so nothing in a signed text is passed over. (The grammar also allows a chain id with leading zeros; this does
not.) Whether a message is for us, in time and truly signed is not decided here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import AddressValueError, IPv6Address

_HEADER = " wants you to sign in with your Ethereum account:"
_LABELS = ("URI: ", "Version: ", "Chain ID: ", "Nonce: ", "Issued At: ")
_MOST_CHARACTERS = 8_192

# RFC 3986, appendix A. Character by character; `fullmatch` everywhere, because "$" also matches before an LF.
_UNRESERVED = r"A-Za-z0-9\-._~"
_SUB = r"!$&'()*+,;="
_PCT = r"%[0-9A-Fa-f]{2}"
_PCHAR = rf"(?:[{_UNRESERVED}{_SUB}:@]|{_PCT})"
_AUTHORITY = (
    rf"(?:(?:[{_UNRESERVED}{_SUB}:]|{_PCT})*@)?"
    rf"(?:\[(?:(?P<six>[0-9A-Fa-f:.]+)|v[0-9A-Fa-f]+\.[{_UNRESERVED}{_SUB}:]+)\]|(?:[{_UNRESERVED}{_SUB}]|{_PCT})*)"
    r"(?::[0-9]*)?"
)
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*"
_SEGMENTS = rf"{_PCHAR}+(?:/{_PCHAR}*)*"
_IS_SCHEME = re.compile(_SCHEME)
_IS_AUTHORITY = re.compile(_AUTHORITY)
_IS_URI = re.compile(
    rf"{_SCHEME}:(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_SEGMENTS})?|{_SEGMENTS}|)"
    rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
)
_IS_ADDRESS = re.compile(r"0x[0-9A-Fa-f]{40}")
_IS_STATEMENT = re.compile(rf"[{_UNRESERVED}:/?#\[\]@{_SUB} ]+")
_IS_NUMBER = re.compile(r"0|[1-9][0-9]{0,77}")
_IS_NONCE = re.compile(r"[A-Za-z0-9]{8,}")
_IS_REQUEST_ID = re.compile(rf"{_PCHAR}*")
# RFC 3339, section 5.6.
_IS_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OtherVersionError(ValueError):
    """The message is of a version that is not known."""


@dataclass(frozen=True, slots=True)
class SignInMessage:
    """One message. What is optional and absent is None; an empty list of resources is not an absent one.

    Raises ValueError for a value that the grammar does not allow; OtherVersionError for another version.
    """

    domain: str
    """Who asks: an authority of RFC 3986, with the port where it is not the scheme's own."""
    address: str
    """40 hexadecimal digits after ``0x``; their checksum (EIP-55) is for the caller to check."""
    uri: str
    chain_id: int
    nonce: str
    issued_at: str
    """This and the other times are RFC 3339, kept as they were written."""
    scheme: str | None = None
    statement: str | None = None
    version: str = "1"
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check("scheme", self.scheme is None or _IS_SCHEME.fullmatch(self.scheme))
        _check("domain", self.domain and _is_authority(self.domain))
        _check("address", _IS_ADDRESS.fullmatch(self.address))
        _check("statement", self.statement is None or _IS_STATEMENT.fullmatch(self.statement))
        _check("uri", _is_uri(self.uri))
        if self.version != "1":
            raise OtherVersionError("version")
        _check("chain id", self.chain_id >= 0)
        _check("nonce", _IS_NONCE.fullmatch(self.nonce))
        for time in (self.issued_at, self.expiration_time, self.not_before):
            if time is not None:
                time_ms(time)
        _check("request id", self.request_id is None or _IS_REQUEST_ID.fullmatch(self.request_id))
        _check("resources", all(map(_is_uri, self.resources or ())))

    @property
    def text(self) -> str:
        """The text to sign."""
        asks = self.domain if self.scheme is None else f"{self.scheme}://{self.domain}"
        lines = [f"{asks}{_HEADER}", self.address, ""]
        if self.statement is not None:
            lines.append(self.statement)
        values = (self.uri, self.version, str(self.chain_id), self.nonce, self.issued_at)
        lines += ["", *(label + value for label, value in zip(_LABELS, values, strict=True))]
        for label, optional in (
            ("Expiration Time: ", self.expiration_time),
            ("Not Before: ", self.not_before),
            ("Request ID: ", self.request_id),
        ):
            if optional is not None:
                lines.append(label + optional)
        if self.resources is not None:
            lines += ["Resources:", *(f"- {resource}" for resource in self.resources)]
        return "\n".join(lines)


def parse_message(text: str) -> SignInMessage:
    """Read a message. Raises ValueError for anything that the grammar does not allow, OtherVersionError."""
    if len(text) > _MOST_CHARACTERS:
        raise ValueError("length")
    lines = _Lines(text.split("\n"))
    asks = lines.take()
    _check("first line", asks.endswith(_HEADER))
    scheme, separator, domain = asks.removesuffix(_HEADER).rpartition("://")
    address = lines.take()
    _check("line after the address", lines.take() == "")
    statement = lines.take() or None
    if statement is not None:
        _check("line after the statement", lines.take() == "")
    uri, version, chain_id, nonce, issued_at = map(lines.labelled, _LABELS)
    _check("chain id", _IS_NUMBER.fullmatch(chain_id))
    message = SignInMessage(
        scheme=scheme if separator else None,
        domain=domain,
        address=address,
        statement=statement,
        uri=uri,
        version=version,
        chain_id=int(chain_id),
        nonce=nonce,
        issued_at=issued_at,
        expiration_time=lines.optional("Expiration Time: "),
        not_before=lines.optional("Not Before: "),
        request_id=lines.optional("Request ID: "),
        resources=lines.resources(),
    )
    # The grammar read whole lines; this holds also for what no rule above has thought of.
    _check("something else", message.text == text)
    return message


def time_ms(text: str) -> int:
    """Return the milliseconds since the epoch of a time of RFC 3339. Raises ValueError."""
    found = _IS_TIME.fullmatch(text)
    if found is None:
        raise ValueError("time")
    day, minute, second, fraction, sign, hours, minutes = found.groups()
    offset = timedelta(0) if sign is None else timedelta(hours=int(hours), minutes=int(minutes))
    if int(second) > 60 or offset >= timedelta(days=1) or int(minutes or 0) > 59:
        raise ValueError("time")
    # A leap second is the first of the next minute to us.
    whole = datetime.fromisoformat(f"{day}T{minute}:00").replace(
        tzinfo=timezone(-offset if sign == "-" else offset)
    )
    since_ms = (whole - _EPOCH) // timedelta(milliseconds=1) + int(second) * 1_000
    return since_ms + int(((fraction or "") + "000")[:3])


class _Lines:
    """The lines of a message, taken one after another. Raises ValueError when one is missing."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._next = 0

    def take(self) -> str:
        if self._next == len(self._lines):
            raise ValueError("end")
        self._next += 1
        return self._lines[self._next - 1]

    def labelled(self, label: str) -> str:
        found = self.optional(label)
        if found is None:
            raise ValueError(label.rstrip(": "))
        return found

    def optional(self, label: str) -> str | None:
        if self._next == len(self._lines) or not self._lines[self._next].startswith(label):
            return None
        return self.take().removeprefix(label)

    def resources(self) -> tuple[str, ...] | None:
        """Take what is left: the list of resources, or nothing at all."""
        if self._next == len(self._lines):
            return None
        _check("what follows", self.take() == "Resources:")
        rest = self._lines[self._next :]
        _check("resources", all(line.startswith("- ") for line in rest))
        return tuple(line.removeprefix("- ") for line in rest)


def _check(what: str, holds: object) -> None:
    if not holds:
        raise ValueError(what)


def _is_authority(text: str) -> bool:
    return _six_is_valid(_IS_AUTHORITY.fullmatch(text))


def _is_uri(text: str) -> bool:
    return _six_is_valid(_IS_URI.fullmatch(text))


def _six_is_valid(found: re.Match[str] | None) -> bool:
    """Whether there was a match, and an address of IP version 6 in it, if any, is one."""
    if found is None:
        return False
    six = found.group("six")
    if six is None:
        return True
    try:
        IPv6Address(six)
    except AddressValueError:
        return False
    return True
