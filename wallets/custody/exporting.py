"""Giving a customer the private key of their custodial account: asked for, approved by a passkey, given once.

The passkey signs a challenge made of this very act: which account, for whom, and to which public key the
private one goes. The key leaves encrypted to that public key, made by the customer's client for this purpose,
so that it is in no reply, log, trace or file in the clear. What stays is the record that it was given, and
that the account is no longer ours alone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from gateway.kernel.events.model import Event
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.custody.accounts import Custody
from wallets.custody.tables import custody_account, key_export
from wallets.signer import KeyHolder

VALID_MS = 5 * 60_000
MOST_OPEN = 5
"""Exports a customer may have asked for within their validity."""

_PURPOSE = "vitrine.key-export.1"
"""Keeps these hashes apart from those that approve payments."""
_RECIPIENTS = {("EC", "P-256"): ("x", "y"), ("OKP", "X25519"): ("x",)}
_COORDINATE = 43
"""Characters of 32 bytes in base64url: a coordinate is never shorter or longer (RFC 7518, 6.2.1.2)."""

_INSERT = insert_into(key_export)
_ONE = Statement(
    select(key_export).where(
        key_export.c.export_id == bindparam("export_id"),
        key_export.c.customer_id == bindparam("customer_id"),
        key_export.c.device_id == bindparam("device_id"),
    )
)
_OPEN = Statement(
    select(key_export.c.expires_at_ms)
    .where(
        key_export.c.customer_id == bindparam("customer_id"),
        key_export.c.expires_at_ms > bindparam("now_ms"),
    )
    .order_by(key_export.c.expires_at_ms)
    .limit(MOST_OPEN)
)
_FORGET = Statement(
    delete(key_export).where(
        key_export.c.customer_id == bindparam("customer_id"),
        key_export.c.expires_at_ms <= bindparam("now_ms"),
        key_export.c.exported_at_ms.is_(None),
    )
)
_FINISH = Statement(
    update(key_export)
    .where(
        key_export.c.export_id == bindparam("its_id"),
        key_export.c.exported_at_ms.is_(None),
        key_export.c.expires_at_ms > bindparam("now_ms"),
    )
    .values(exported_at_ms=bindparam("now_ms"), passkey_id=bindparam("by"))
)
_MARK = Statement(
    update(custody_account)
    .where(custody_account.c.customer_id == bindparam("its_customer_id"))
    # The first time counts: since then there are two who hold the key.
    .values(exported_at_ms=func.coalesce(custody_account.c.exported_at_ms, bindparam("now_ms")))
)


class ExportId(Id):
    prefix = "kex"


@dataclass(frozen=True, slots=True)
class KeyExport:
    """An export that was asked for. ``challenge`` is what the passkey signs."""

    export_id: str
    customer_id: str
    device_id: str
    address: str
    recipient: str
    challenge: bytes
    expires_at_ms: int


def read_recipient(jwk: Mapping[str, Any]) -> str:
    """Return a public key as it is kept. Raises InvalidError ``wallet.export_recipient``.

    An EC key on P-256 or an OKP key on X25519 (RFC 7517, RFC 8037), without its private part.
    """
    from joserfc.errors import JoseError

    names = _RECIPIENTS.get((str(jwk.get("kty")), str(jwk.get("crv"))))
    if names is None or "d" in jwk:
        raise _bad_recipient()
    public: dict[str, Any] = {name: jwk.get(name) for name in ("kty", "crv", *names)}
    if not all(isinstance(public[name], str) and len(public[name]) == _COORDINATE for name in names):
        raise _bad_recipient()
    try:
        # Tried out now: a point that is not on its curve, or of a small order, is not found out later.
        _encrypted(public, "")
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise _bad_recipient() from error
    return encode(public)


def begin_export(
    uow: UnitOfWork, customer_id: str, device_id: str, address: str, recipient: str
) -> KeyExport:
    """Record that a device wants the key. Raises UnavailableError ``wallet.export_too_many``."""
    waiting = uow.rows(_OPEN, {"customer_id": customer_id, "now_ms": uow.now_ms})
    if len(waiting) >= MOST_OPEN:
        raise UnavailableError(
            "wallet.export_too_many",
            "Too many exports were asked for; try again later.",
            retry_after_ms=waiting[0].expires_at_ms - uow.now_ms,
        )
    uow.run(_FORGET, {"customer_id": customer_id, "now_ms": uow.now_ms})
    export_id = uow.new_id(ExportId)
    nonce = secrets.token_hex(16)
    # A JSON array, so that no two different lists of values have the same text.
    content = [_PURPOSE, export_id, customer_id, device_id, address, recipient, nonce]
    challenge = hashlib.sha256(encode(content).encode()).digest()
    expires_at_ms = uow.now_ms + VALID_MS
    uow.run(
        _INSERT,
        {
            "export_id": export_id,
            "customer_id": customer_id,
            "device_id": device_id,
            "address": address,
            "recipient": recipient,
            "challenge": challenge.hex(),
            "created_at_ms": uow.now_ms,
            "expires_at_ms": expires_at_ms,
            "passkey_id": None,
            "exported_at_ms": None,
        },
    )
    return KeyExport(export_id, customer_id, device_id, address, recipient, challenge, expires_at_ms)


def open_export(reader: Reader, customer_id: str, device_id: str, export_id: str) -> KeyExport:
    """Return an export that waits for its passkey, to the device that asked for it.

    Raises NotFoundError ``wallet.export_unknown``, ConflictError ``wallet.export_decided``.
    """
    wanted = {"export_id": export_id, "customer_id": customer_id, "device_id": device_id}
    row = reader.row(_ONE, wanted)
    if row is None:
        raise NotFoundError("wallet.export_unknown", "There is no such export.")
    if row.exported_at_ms is not None or row.expires_at_ms <= reader.now_ms:
        raise _decided()
    challenge = bytes.fromhex(row.challenge)
    return KeyExport(
        row.export_id, customer_id, device_id, row.address, row.recipient, challenge, row.expires_at_ms
    )


def finish_export(uow: UnitOfWork, export: KeyExport, passkey_id: str) -> None:
    """Record that the key is given, on the word of this passkey, and tell the customer.

    Raises ConflictError ``wallet.export_decided`` if it was given before.
    """
    if not uow.run(_FINISH, {"its_id": export.export_id, "by": passkey_id, "now_ms": uow.now_ms}):
        raise _decided()
    uow.run(_MARK, {"its_customer_id": export.customer_id, "now_ms": uow.now_ms})
    told = {"export_id": export.export_id, "address": export.address, "device_id": export.device_id}
    uow.emit(Event(export.customer_id, "wallet.key_exported", told))


class KeyExports:
    """Takes keys from who holds them and encrypts them to their owners."""

    def __init__(self, custody: Custody, holder: KeyHolder) -> None:
        self._custody = custody
        self._holder = holder

    async def address(self, customer_id: str) -> str:
        """Return the address of the customer's account, which is made if there is none."""
        return await self._custody.ensure_account(customer_id)

    async def sealed(self, export: KeyExport) -> str:
        """Return the key, encrypted to the recipient of an export: a JWE in compact form (RFC 7516).

        ECDH-ES with A256GCM. Inside is a JSON object of ``address`` and ``private_key``, 32 bytes as
        hexadecimal digits after ``0x``.
        """
        account = await self._custody.account(export.customer_id)
        assert account.address == export.address
        key = await self._holder.export_key(account.key_ref)
        content = encode({"address": account.address, "private_key": "0x" + key.secret.hex()})
        return _encrypted(decode(export.recipient), content)


def _encrypted(public: dict[str, Any], content: str) -> str:
    from joserfc import jwe
    from joserfc.jwk import ECKey, OKPKey

    recipient = (ECKey if public["kty"] == "EC" else OKPKey).import_key(public)
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "cty": "json", "kid": recipient.thumbprint()}
    return jwe.encrypt_compact(header, content, recipient)


def _decided() -> ConflictError:
    return ConflictError(
        "wallet.export_decided", "The key was given on this, or its time is over; ask for another export."
    )


def _bad_recipient() -> InvalidError:
    return InvalidError(
        "wallet.export_recipient",
        "The key is encrypted to a public key of the client: EC on P-256 or OKP on X25519, as JWK.",
        param="$.body.recipient",
    )
