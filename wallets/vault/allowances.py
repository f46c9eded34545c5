"""Spending from an allowance, giving back, revoking. Every decision is one conditional UPDATE."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, bindparam, select, update

from gateway.kernel.store.statements import Statement, upsert
from gateway.kernel.store.unit import UnitOfWork
from wallets.vault.inserts import insert_named
from wallets.vault.port import AllowanceId, AllowanceTerms, Authorize
from wallets.vault.tables import allowance

_GET = Statement(select(allowance).where(allowance.c.allowance_id == bindparam("allowance_id")))
_GRANT = insert_named(
    allowance,
    "allowance_id payment_method_id customer_id merchant_id order_id channel place_id device_id reason "
    "max_amount_minor currency max_uses expires_at_ms used_minor created_at_ms",
    used_count=1,
)
_AMOUNT: BindParameter[int] = bindparam("amount_minor")
_SPEND = Statement(
    update(allowance)
    .where(
        allowance.c.allowance_id == bindparam("allowance_id_"),
        allowance.c.used_minor + _AMOUNT <= allowance.c.max_amount_minor,
        allowance.c.used_count < allowance.c.max_uses,
        allowance.c.expires_at_ms > bindparam("now_ms"),
        allowance.c.revoked_at_ms.is_(None),
    )
    .values(used_minor=allowance.c.used_minor + _AMOUNT, used_count=allowance.c.used_count + 1)
)
_GIVE_BACK = Statement(
    update(allowance)
    .where(allowance.c.allowance_id == bindparam("allowance_id_"))
    .values(
        used_minor=allowance.c.used_minor - _AMOUNT, used_count=allowance.c.used_count - bindparam("uses")
    )
)
_REVOKE = upsert(allowance, ["allowance_id"], lambda new: {"revoked_at_ms": new.revoked_at_ms})


def spend(uow: UnitOfWork, request: Authorize) -> str | None:
    """Grant the allowance if it is new, and spend from it. Returns the code of a refusal, or None.

    The caller has checked the request against the terms it brings (`model.refusal_by_terms`).
    """
    terms = request.allowance
    row = _row_of(terms, request.amount.amount_minor, uow.now_ms)
    if uow.run(_GRANT, row):
        return None
    stored = uow.row(_GET, row)
    assert stored is not None
    if stored.revoked_at_ms is not None:
        return "allowance.revoked"
    if any(getattr(stored, name) != row[name] for name in _TERMS):
        return "allowance.terms_conflict"
    spent = uow.run(
        _SPEND,
        {
            "allowance_id_": terms.allowance_id,
            "amount_minor": request.amount.amount_minor,
            "now_ms": uow.now_ms,
        },
    )
    return None if spent else _why_not(uow.row(_GET, row), uow.now_ms)


def give_back(uow: UnitOfWork, allowance_id: str, amount_minor: int, uses: int) -> None:
    """Release what an authorization held: all with its use, or after a partial void an amount."""
    changed = uow.run(_GIVE_BACK, {"allowance_id_": allowance_id, "amount_minor": amount_minor, "uses": uses})
    assert changed == 1


def revoke(uow: UnitOfWork, allowance_id: AllowanceId) -> None:
    """Revoke, leaving a tombstone where the grant has not arrived yet. Idempotent: the first time stays."""
    stored = uow.row(_GET, {"allowance_id": allowance_id})
    if stored is not None and stored.revoked_at_ms is not None:
        return
    uow.run(
        _REVOKE,
        {
            **dict.fromkeys(_TERMS, ""),
            "allowance_id": allowance_id,
            "order_id": None,
            "place_id": None,
            "device_id": None,
            "max_amount_minor": 0,
            "max_uses": 0,
            "expires_at_ms": 0,
            "used_minor": 0,
            "used_count": 0,
            "revoked_at_ms": uow.now_ms,
            "created_at_ms": uow.now_ms,
        },
    )


def _why_not(stored: Any, now_ms: int) -> str:
    if stored.revoked_at_ms is not None:
        return "allowance.revoked"
    if now_ms >= stored.expires_at_ms:
        return "allowance.expired"
    if stored.used_count >= stored.max_uses:
        return "allowance.uses_exceeded"
    return "allowance.amount_exceeded"


_TERMS = (
    "payment_method_id",
    "customer_id",
    "merchant_id",
    "order_id",
    "channel",
    "place_id",
    "device_id",
    "reason",
    "max_amount_minor",
    "currency",
    "max_uses",
    "expires_at_ms",
)


def _row_of(terms: AllowanceTerms, spent_minor: int, now_ms: int) -> dict[str, Any]:
    return {
        "allowance_id": terms.allowance_id,
        "payment_method_id": terms.payment_method_id,
        "customer_id": terms.customer_id,
        "merchant_id": terms.merchant_id,
        "order_id": terms.order_id,
        "channel": terms.channel,
        "place_id": terms.place_id,
        "device_id": terms.device_id,
        "reason": terms.reason.value,
        "max_amount_minor": terms.max_amount.amount_minor,
        "currency": terms.max_amount.currency,
        "max_uses": terms.max_uses,
        "expires_at_ms": terms.expires_at_ms,
        "used_minor": spent_minor,
        "created_at_ms": now_ms,
    }
