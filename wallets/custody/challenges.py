"""Asking a customer to sign that a wallet is theirs: one message for one customer, device and address.

The message is written here and must come back as it is, signed, within five minutes, from the device that
asked; it counts once. It names the customer and the device among its resources, so a signature that was given
for one account proves nothing for another, whoever carries it there.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from sqlalchemy import bindparam, delete, select, update

from gateway.kernel.clock import rfc3339
from gateway.kernel.errors import InvalidError, UnavailableError, VitrineError
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.custody.linking import LinkedWallet, Proof, WalletKind, link_wallet, require_room
from wallets.custody.siwe import OtherVersionError, SignInMessage, parse_message, time_ms
from wallets.custody.tables import custody_account, wallet_challenge

VALID_MS = 5 * 60_000
MOST_OPEN = 10
"""Messages a customer may have asked for within their validity, answered or not."""
MOST_TRIES = 3
"""Signatures that may be tried for one message: each may cost a call to the chain."""
SKEW_MS = 30_000
"""How far ahead of us the clock of another node may be that wrote the message."""

STATEMENT = "Link this wallet to my account. This moves nothing and buys nothing."
_PATH = "/:@!$&'()*+,;=%"
_USUAL_PORTS = {"http": 80, "https": 443}
_NONCE_LETTERS = string.ascii_letters + string.digits
_NONCE_LENGTH = 24  # 142 random bits

_INSERT = insert_into(wallet_challenge)
_BY_NONCE = Statement(select(wallet_challenge).where(wallet_challenge.c.nonce == bindparam("nonce")))
_OPEN = Statement(
    select(wallet_challenge.c.expires_at_ms)
    .where(
        wallet_challenge.c.customer_id == bindparam("customer_id"),
        wallet_challenge.c.expires_at_ms > bindparam("now_ms"),
    )
    .order_by(wallet_challenge.c.expires_at_ms)
    .limit(MOST_OPEN)
)
_FORGET = Statement(
    delete(wallet_challenge).where(
        wallet_challenge.c.customer_id == bindparam("customer_id"),
        wallet_challenge.c.expires_at_ms <= bindparam("now_ms"),
    )
)
_TRY = Statement(
    update(wallet_challenge)
    .where(
        wallet_challenge.c.nonce == bindparam("its_nonce"),
        wallet_challenge.c.used_at_ms.is_(None),
        wallet_challenge.c.tries < MOST_TRIES,
    )
    .values(tries=wallet_challenge.c.tries + 1)
)
_USE = Statement(
    update(wallet_challenge)
    .where(wallet_challenge.c.nonce == bindparam("its_nonce"), wallet_challenge.c.used_at_ms.is_(None))
    .values(used_at_ms=bindparam("now_ms"))
)
_CUSTODIAL = Statement(
    select(custody_account.c.customer_id).where(custody_account.c.address == bindparam("address"))
)


class Prover(Protocol):
    """Knows addresses and signatures: `wallets.custody.proving`, which needs the chain's libraries."""

    def is_well_written(self, address: str) -> bool:
        """Whether it is an address with its checksum (EIP-55)."""
        ...

    def checksummed(self, address: str) -> str | None:
        """The address with its checksum. Letters of one case alone carry none; a wrong one gives None."""
        ...

    async def prove(self, address: str, text: str, signature: str) -> WalletKind:
        """Return how the address signed. Raises InvalidError ``wallet.link_signature``, UnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class LinkRules:
    """What every message of this installation says, and which addresses are nobody's to link."""

    domain: str
    """See `site_of`, as for the URI."""
    uri: str
    chain_id: int
    reserved: frozenset[str]
    """Our own: contract, treasury, keys that mint; and the zero address."""
    prover: Prover


def site_of(public_url: str) -> tuple[str, str]:
    """Return (domain, URI) of a public address in the words of browsers, with which wallets compare them.

    So the host is lower case and ASCII, and the scheme's own port is left out. Raises ValueError.
    """
    try:
        parts = urlsplit(public_url)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        raise ValueError(f"the public address is none: {public_url!r}") from error
    if not parts.scheme or not host:
        raise ValueError(f"the public address has no scheme or no host: {public_url!r}")
    domain = f"[{host}]" if ":" in host else host
    if port is not None and port != _USUAL_PORTS.get(parts.scheme):
        domain += f":{port}"
    return domain, f"{parts.scheme}://{domain}{quote(parts.path, safe=_PATH)}"


@dataclass(frozen=True, slots=True)
class LinkChallenge:
    """What the wallet has to sign."""

    message: str
    nonce: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked, and who alone may answer."""

    customer_id: str
    device_id: str

    @property
    def resources(self) -> tuple[str, str]:
        """What the message says of them."""
        return f"urn:vitrine:customer:{self.customer_id}", f"urn:vitrine:device:{self.device_id}"


def begin_link(
    uow: UnitOfWork, rules: LinkRules, asker: Asker, address: str, chain_id: int | None
) -> LinkChallenge:
    """Write a message for this customer to sign with this address, in any case that EIP-55 lets pass.

    Raises VitrineError ``wallet.link_chain``, ``wallet.link_address``, ``wallet.link_reserved``,
    ``wallet.link_too_many``, ``wallet.too_many``. Whether somebody else has linked the address is told to
    whoever has proved to control it, not here.
    """
    if chain_id is not None and chain_id != rules.chain_id:
        raise _other_chain(rules, "$.body.chain_id")
    address = checked_address(rules, address)
    if address in rules.reserved or uow.row(_CUSTODIAL, {"address": address}) is not None:
        raise reserved_address("$.body.address")
    require_room(uow, asker.customer_id, rules.chain_id, address)
    _require_turn(uow, asker.customer_id)
    nonce = "".join(secrets.choice(_NONCE_LETTERS) for _ in range(_NONCE_LENGTH))
    expires_at_ms = uow.now_ms + VALID_MS
    message = SignInMessage(
        domain=rules.domain,
        address=address,
        statement=STATEMENT,
        uri=rules.uri,
        chain_id=rules.chain_id,
        nonce=nonce,
        issued_at=rfc3339(uow.now_ms),
        expiration_time=rfc3339(expires_at_ms),
        resources=asker.resources,
    )
    uow.run(_FORGET, {"customer_id": asker.customer_id, "now_ms": uow.now_ms})
    uow.run(
        _INSERT,
        {
            "nonce": nonce,
            "customer_id": asker.customer_id,
            "device_id": asker.device_id,
            "chain_id": rules.chain_id,
            "address": address,
            "message": message.text,
            "tries": 0,
            "created_at_ms": uow.now_ms,
            "expires_at_ms": expires_at_ms,
            "used_at_ms": None,
        },
    )
    return LinkChallenge(message.text, nonce, expires_at_ms)


def checked_address(rules: LinkRules, address: str) -> str:
    """Return an address with its checksum. Raises InvalidError ``wallet.link_address`` for a wrong one."""
    checksummed = rules.prover.checksummed(address)
    if checksummed is None:
        raise _other_address("The checksum of the address (EIP-55) is wrong.", "$.body.address")
    return checksummed


def check_message(rules: LinkRules, text: str, now_ms: int) -> SignInMessage:
    """Read a message that came back and check everything it says by itself; each check has its own code.

    Raises InvalidError ``wallet.link_message`` (not of EIP-4361), ``_version``, ``_domain``, ``_uri``,
    ``_chain``, ``_address``, ``_expired`` and ``_not_yet``.
    """
    try:
        message = parse_message(text)
    except OtherVersionError as error:
        raise _wrong("version", "The message must be of version 1.") from error
    except ValueError as error:
        raise _wrong("message", f"This is no message of EIP-4361 ({error}).") from error
    if message.domain != rules.domain or message.scheme is not None:
        raise _wrong("domain", f"The message must be for {rules.domain}.")
    if message.uri != rules.uri:
        raise _wrong("uri", f"The message must be for {rules.uri}.")
    if message.chain_id != rules.chain_id:
        raise _other_chain(rules, "$.body.message")
    if not rules.prover.is_well_written(message.address):
        raise _other_address("The address must have the checksum of EIP-55.")
    if message.expiration_time is not None and time_ms(message.expiration_time) <= now_ms:
        raise _expired()
    not_before = [time_ms(message.issued_at)]
    if message.not_before is not None:
        not_before.append(time_ms(message.not_before))
    if max(not_before) > now_ms + SKEW_MS:
        raise _wrong("not_yet", "The message is of a time to come.")
    return message


def take_try(uow: UnitOfWork, asker: Asker, message: SignInMessage) -> None:
    """Check a message against what was asked, and count that a signature over it is tried.

    Raises InvalidError ``wallet.link_nonce`` (unknown, somebody else's, of another device, used, or tried too
    often), ``wallet.link_expired``, ``wallet.link_address``, ``wallet.link_message`` (not the text that was
    given to sign).
    """
    row = _open_row(uow, asker, message)
    if row.address != message.address:
        raise _other_address("The message was given to another address to sign.")
    if row.message != message.text:
        raise _wrong("message", "This is not the message that was given to sign.")
    if not uow.run(_TRY, {"its_nonce": message.nonce}):
        raise _wrong("nonce", "The message was used, or tried too often; ask for another one.")


def finish_link(uow: UnitOfWork, asker: Asker, message: SignInMessage, proof: Proof) -> LinkedWallet:
    """Use the message up and link the wallet. Raises as `link_wallet` does, or ``wallet.link_nonce``.

    The caller holds the lock of the address.
    """
    row = uow.row(_BY_NONCE, {"nonce": message.nonce})
    if row is None or row.used_at_ms is not None or row.message != proof.message:
        raise _wrong("nonce", "The message was used; ask for another one.")
    wallet = link_wallet(uow, asker.customer_id, message.chain_id, message.address, proof)
    uow.run(_USE, {"its_nonce": message.nonce, "now_ms": uow.now_ms})
    return wallet


def reserved_address(param: str) -> VitrineError:
    """Return the error of an address that is nobody's wallet, ``wallet.link_reserved``."""
    return InvalidError("wallet.link_reserved", "This address is not a wallet of yours to link.", param=param)


def _open_row(reader: Reader, asker: Asker, message: SignInMessage) -> Any:
    row = reader.row(_BY_NONCE, {"nonce": message.nonce})
    if row is None or (row.customer_id, row.device_id) != (asker.customer_id, asker.device_id):
        raise _wrong("nonce", "The nonce was not given to this device.")
    if row.used_at_ms is not None:
        raise _wrong("nonce", "The message was used; ask for another one.")
    if row.expires_at_ms <= reader.now_ms:
        raise _expired()
    return row


def _require_turn(reader: Reader, customer_id: str) -> None:
    rows = reader.rows(_OPEN, {"customer_id": customer_id, "now_ms": reader.now_ms})
    if len(rows) >= MOST_OPEN:
        raise UnavailableError(
            "wallet.link_too_many",
            "Too many messages were asked for; try again later.",
            retry_after_ms=rows[0].expires_at_ms - reader.now_ms,
        )


def _wrong(what: str, message: str) -> VitrineError:
    return InvalidError(f"wallet.link_{what}", message, param="$.body.message")


def _other_chain(rules: LinkRules, param: str) -> VitrineError:
    return InvalidError(
        "wallet.link_chain",
        f"Wallets are linked on chain {rules.chain_id}.",
        param=param,
        data={"chain_id": rules.chain_id},
    )


def _other_address(message: str, param: str = "$.body.message") -> VitrineError:
    return InvalidError("wallet.link_address", message, param=param)


def _expired() -> VitrineError:
    return _wrong("expired", "The message has expired; ask for another one.")
