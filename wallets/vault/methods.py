"""Rows of stored methods: reading them, and what is inside their encrypted records."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.documents import decode, encode
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.subjects import PaymentMethodId
from wallets.vault.crypto import Record, RecordPlace
from wallets.vault.port import CardEntry, StoredMethod
from wallets.vault.providers.port import ClearCard
from wallets.vault.secret import Secret
from wallets.vault.tables import method

PURPOSE = "card"
MOST_LISTED = 100

GET = Statement(select(method).where(method.c.payment_method_id == bindparam("payment_method_id")))
GET_BY_FINGERPRINT = Statement(
    select(method).where(
        method.c.fingerprint_key_id == bindparam("fingerprint_key_id"),
        method.c.fingerprint == bindparam("fingerprint"),
        method.c.customer_id == bindparam("customer_id"),
    )
)
OF_CUSTOMER = Statement(
    select(method)
    .where(method.c.customer_id == bindparam("customer_id"))
    .order_by(method.c.created_at_ms, method.c.payment_method_id)
    .limit(MOST_LISTED)
)
INSERT = insert_new(method)
RENEW = Statement(
    update(method)
    .where(
        method.c.payment_method_id == bindparam("payment_method_id_"),
        method.c.record_version == bindparam("record_version_"),
    )
    .values(
        expiry_month=bindparam("expiry_month"),
        expiry_year=bindparam("expiry_year"),
        record_version=bindparam("record_version"),
        format_version=bindparam("format_version"),
        kek_id=bindparam("kek_id"),
        wrapped_key=bindparam("wrapped_key"),
        nonce=bindparam("nonce"),
        ciphertext=bindparam("ciphertext"),
    )
)
"""Replaces the record of a card that got a new expiry, if nobody else did so first."""


def place_of(row: Any) -> RecordPlace:
    return RecordPlace(row.payment_method_id, row.customer_id, PURPOSE, row.record_version)


def record_of(row: Any) -> Record:
    return Record(row.format_version, row.kek_id, row.wrapped_key, row.nonce, row.ciphertext)


def record_columns(place: RecordPlace, record: Record) -> dict[str, Any]:
    return {
        "record_version": place.record_version,
        "format_version": record.format_version,
        "kek_id": record.kek_id,
        "wrapped_key": record.wrapped_key,
        "nonce": record.nonce,
        "ciphertext": record.ciphertext,
    }


def record_text(card: CardEntry) -> bytes:
    """Return what is encrypted: number, expiry, holder. The security code is not among them."""
    return encode([card.number.reveal(), card.expiry_month, card.expiry_year, card.holder.reveal()]).encode()


def clear_card(plain: bytes) -> ClearCard:
    """Read back `record_text`."""
    number, month, year, holder = decode(plain.decode())
    return ClearCard(Secret(number), month, year, Secret(holder))


def stored_method(row: Any) -> StoredMethod:
    return StoredMethod(
        PaymentMethodId(row.payment_method_id),
        row.customer_id,
        row.kind,
        row.brand,
        row.last4,
        row.expiry_month,
        row.expiry_year,
        row.created_at_ms,
    )
