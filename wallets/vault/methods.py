"""Rows of stored methods: reading them, what is inside their encrypted records, and removing them.

A method that was removed has no record and no fingerprint any more. Its row stays for the operations that
refer to it: captures and refunds go by the provider's reference and need no card.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, bindparam, delete, null, or_, select, text, update

from gateway.kernel.documents import decode, encode
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import PaymentMethodId
from wallets.vault.crypto import Record, RecordPlace
from wallets.vault.fingerprint import card_fingerprint, reference_fingerprint
from wallets.vault.inserts import insert_named
from wallets.vault.kms import Kms
from wallets.vault.port import CardEntry, MethodKind, PassedMethod, StoredMethod
from wallets.vault.providers.port import ClearCard, Instrument, PassedInstrument
from wallets.vault.secret import Secret
from wallets.vault.tables import card_entry, method

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
GET_BY_EITHER_FINGERPRINT = Statement(
    select(method).where(
        method.c.customer_id == bindparam("customer_id"),
        or_(
            and_(
                method.c.fingerprint_key_id == bindparam("fingerprint_key_id"),
                method.c.fingerprint == bindparam("fingerprint"),
            ),
            and_(
                method.c.fingerprint_key_id == bindparam("old_fingerprint_key_id"),
                method.c.fingerprint == bindparam("old_fingerprint"),
            ),
        ),
    )
)
"""While fingerprints are computed anew: a card may be known under the key before."""
OF_CUSTOMER = Statement(
    select(method)
    .where(method.c.customer_id == bindparam("customer_id"), method.c.removed_at_ms.is_(None))
    .order_by(method.c.created_at_ms, method.c.payment_method_id)
    .limit(MOST_LISTED)
)
INSERT = insert_named(
    method,
    "payment_method_id customer_id kind brand last4 expiry_month expiry_year fingerprint_key_id fingerprint "
    "record_version format_version kek_id wrapped_key nonce ciphertext created_at_ms account_reference "
    "provider",
)
_COLUMNS = tuple(column.name for column in method.columns)
RENEW = Statement(
    update(method)
    .where(
        method.c.payment_method_id == bindparam("payment_method_id_"),
        method.c.record_version == bindparam("record_version_"),
        method.c.removed_at_ms.is_(None),
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
_REMOVE = Statement(
    update(method)
    .where(
        method.c.payment_method_id == bindparam("payment_method_id_"),
        method.c.customer_id == bindparam("customer_id_"),
        method.c.removed_at_ms.is_(None),
    )
    .values(
        removed_at_ms=bindparam("removed_at_ms"),
        fingerprint_key_id=null(),
        fingerprint=null(),
        kek_id=null(),
        wrapped_key=null(),
        nonce=null(),
        ciphertext=null(),
        account_reference=null(),
    )
)
REFINGERPRINT = Statement(
    update(method)
    .where(
        method.c.fingerprint_key_id == bindparam("old_key_id"),
        method.c.fingerprint == bindparam("old_fingerprint"),
    )
    .values(fingerprint_key_id=bindparam("new_key_id"), fingerprint=bindparam("new_fingerprint"))
)
"""Moves everybody's methods of one number at once, as a rotation does card by card."""
_LEARN_ACCOUNT = Statement(
    update(method)
    .where(
        method.c.payment_method_id == bindparam("payment_method_id_"),
        method.c.account_reference.is_(None),
        method.c.removed_at_ms.is_(None),
    )
    .values(account_reference=bindparam("account_reference"))
)
FORGET_ENTRIES = Statement(
    delete(card_entry).where(card_entry.c.payment_method_id == bindparam("its_method"))
)
"""What gateways need not be told any more of a method."""
_OVERWRITE_DELETED = text("PRAGMA secure_delete=ON")


def remove(uow: UnitOfWork, dialect: str, customer_id: str, payment_method_id: str) -> bool:
    """Destroy a method's record and fingerprint; False if the customer has no such method (any more).

    SQLite overwrites the bytes in its file; in PostgreSQL they go with the next VACUUM. In backups they stay,
    under their key, until that one is rotated and destroyed.
    """
    if dialect == "sqlite":
        uow.core(_OVERWRITE_DELETED)
    removed = bool(
        uow.run(
            _REMOVE,
            {
                "payment_method_id_": payment_method_id,
                "customer_id_": customer_id,
                "removed_at_ms": uow.now_ms,
            },
        )
    )
    if removed:
        uow.run(FORGET_ENTRIES, {"its_method": payment_method_id})
    return removed


def learn_account(uow: UnitOfWork, payment_method_id: str, account_reference: str) -> None:
    """Keep the PAR that a provider returned, unless one is known."""
    uow.run(
        _LEARN_ACCOUNT,
        {"payment_method_id_": payment_method_id, "account_reference": account_reference},
    )


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


def record_text(card: CardEntry, network_token: Secret | None = None) -> bytes:
    """Return what is encrypted: number, expiry, holder, network token; never the security code."""
    fields = [card.number.reveal(), card.expiry_month, card.expiry_year, card.holder.reveal()]
    if network_token is not None:
        fields.append(network_token.reveal())
    return encode(fields).encode()


def with_network_token(plain: bytes, network_token: Secret) -> bytes:
    """Return the text of a card's record with this network token in it."""
    return encode([*decode(plain.decode())[:4], network_token.reveal()]).encode()


def clear_card(plain: bytes) -> ClearCard:
    """Read back `record_text`."""
    number, month, year, holder, *token = decode(plain.decode())
    return ClearCard(
        Secret(number), month, year, Secret(holder), network_token=Secret(token[0]) if token else None
    )


def passed_text(passed: PassedMethod) -> bytes:
    """Return what is encrypted of a method whose secret is the provider's."""
    return encode([passed.reference.reveal()]).encode()


def instrument(kind: str, plain: bytes) -> Instrument:
    """Read a record back as what a provider is handed."""
    if kind == MethodKind.CARD:
        return clear_card(plain)
    (reference,) = decode(plain.decode())
    return PassedInstrument(MethodKind(kind), Secret(reference))


async def fingerprint_of(kms: Kms, key_id: str, instrument: Instrument) -> bytes:
    """Return the keyed fingerprint by which the same card or reference is recognized."""
    if isinstance(instrument, ClearCard):
        return await card_fingerprint(kms, key_id, instrument.number)
    return await reference_fingerprint(kms, key_id, instrument.kind, instrument.reference)


def as_row(values: Mapping[str, Any]) -> Any:
    """Return what reading back a row that was just inserted would give."""
    return GET.make_row(map(values.get, _COLUMNS))


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
        row.account_reference,
    )
