"""Granting, spending, giving back, revoking. Every decision is one conditional UPDATE.

An allowance for one order is granted by its first authorization, in the same unit. A standing one is granted
by itself (`grant`) and spent by authorizations that bring its terms, as `allowance_of` returns them.

The limit per hour is decided under the lock that the conditional update takes: it updates first, then adds
up what the last hour's authorizations hold in a statement of its own (READ COMMITTED shows it what those who
held the lock before have committed), and takes the update back where that is too much. A condition inside
the update would not do: PostgreSQL checks it again with the new row, but with the old sum.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, bindparam, func, literal_column, select, update

from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement, upsert
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import PaymentMethodId
from wallets.vault import delegated, guardian, methods
from wallets.vault.inserts import insert_named
from wallets.vault.model import OperationState, Refusal, channel_text, invalid_terms, is_plain
from wallets.vault.port import (
    REFUSALS,
    Allowance,
    AllowanceId,
    AllowanceReason,
    AllowanceTerms,
    Authorize,
    Limit,
)
from wallets.vault.tables import allowance, operation

HOUR_MS = 3_600_000
_MOST_SPENDS = 10_000

_GET = Statement(select(allowance).where(allowance.c.allowance_id == bindparam("allowance_id")))
_PLAIN = (
    "allowance_id payment_method_id customer_id merchant_id order_id channel place_id device_id reason "
    "max_amount_minor currency max_uses expires_at_ms used_minor created_at_ms"
)
_SCOPES = (
    "not_before_ms session_id world_id device_key category max_item_minor max_per_hour_minor guardian_id "
    "guardian_above_minor"
)
_GRANT = insert_named(allowance, _PLAIN, used_count=1)
_GRANT_SCOPED = insert_named(allowance, f"{_PLAIN} {_SCOPES}", used_count=1)
_GRANT_STANDING = insert_named(allowance, f"{_PLAIN} {_SCOPES}", used_count=0)
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
_SPEND_MORE = Statement(
    update(allowance)
    .where(
        allowance.c.allowance_id == bindparam("allowance_id_"),
        allowance.c.used_minor + _AMOUNT <= allowance.c.max_amount_minor,
        allowance.c.expires_at_ms > bindparam("now_ms"),
        allowance.c.revoked_at_ms.is_(None),
    )
    .values(used_minor=allowance.c.used_minor + _AMOUNT)
)
_GIVE_BACK = Statement(
    update(allowance)
    .where(allowance.c.allowance_id == bindparam("allowance_id_"))
    .values(
        used_minor=allowance.c.used_minor - _AMOUNT, used_count=allowance.c.used_count - bindparam("uses")
    )
)
_HOLDING: list[Any] = [
    literal_column(f"'{state.value}'")
    for state in (OperationState.SENT, OperationState.REQUIRES_ACTION, OperationState.SUCCEEDED)
]
_IN_HOUR = (
    operation.c.allowance_id == bindparam("allowance_id"),
    operation.c.sent_at_ms > bindparam("since_ms"),
    operation.c.hour_minor.is_not(None),
    operation.c.state.in_(_HOLDING),
)
_HOUR_SUM = Statement(
    select(func.coalesce(func.sum(operation.c.hour_minor), literal_column("0")).label("spent")).where(
        *_IN_HOUR
    )
)
_HOUR_SPENDS = Statement(
    select(operation.c.sent_at_ms, operation.c.hour_minor)
    .where(*_IN_HOUR, operation.c.operation_id != bindparam("operation_id"))
    .order_by(operation.c.sent_at_ms)
    .limit(_MOST_SPENDS)
)
_SET_HOUR = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"))
    .values(hour_minor=bindparam("hour_minor_"))
)
_HOUR_BACK = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"))
    .values(hour_minor=operation.c.hour_minor - _AMOUNT)
)
_REVOKE = upsert(allowance, ["allowance_id"], lambda new: {"revoked_at_ms": new.revoked_at_ms})


def grant(uow: UnitOfWork, terms: AllowanceTerms) -> Allowance:
    """Grant an allowance that is spent later, and return how it stands. See `port.Vault.grant`."""
    invalid = invalid_terms(terms)
    if invalid is not None:
        raise InvalidError(invalid.code, REFUSALS[invalid.code])
    stored = uow.row(_GET, {"allowance_id": terms.allowance_id})
    if stored is None:
        if uow.now_ms >= terms.expires_at_ms:
            raise InvalidError("allowance.expired", REFUSALS["allowance.expired"])
        method = uow.row(methods.GET, {"payment_method_id": terms.payment_method_id})
        if method is None or method.customer_id != terms.customer_id or method.removed_at_ms is not None:
            raise NotFoundError("vault.method_unknown", REFUSALS["vault.method_unknown"])
    row = {**_row_of(terms, 0, uow.now_ms), **_scopes_of(terms)}
    if not uow.run(_GRANT_STANDING, row):
        stored = uow.row(_GET, row)
        assert stored is not None
        if stored.revoked_at_ms is not None and not stored.payment_method_id:
            raise ConflictError("allowance.revoked", REFUSALS["allowance.revoked"])
        if _differs(stored, row):
            raise ConflictError("allowance.terms_conflict", REFUSALS["allowance.terms_conflict"])
    found = allowance_of(uow, terms.allowance_id)
    assert found is not None
    return found


def allowance_of(reader: Reader, allowance_id: AllowanceId) -> Allowance | None:
    """Return an allowance with what was spent of it; None if it was never granted."""
    row = reader.row(_GET, {"allowance_id": allowance_id})
    if row is None or not row.payment_method_id:
        return None
    last_hour = None
    if row.max_per_hour_minor is not None:
        spent = reader.row(_HOUR_SUM, {"allowance_id": allowance_id, "since_ms": reader.now_ms - HOUR_MS})
        assert spent is not None
        last_hour = Money(int(spent.spent), row.currency)
    return Allowance(
        _terms_of(row),
        Money(row.used_minor, row.currency),
        row.used_count,
        last_hour,
        row.created_at_ms,
        row.revoked_at_ms,
    )


def spend(uow: UnitOfWork, request: Authorize) -> Refusal | None:
    """Grant the allowance if it is new, and spend from it. Returns why not, or None.

    The caller has checked the request against the terms it brings (`model.refusal_by_terms`), and inserted
    the operation with what counts for the hour.
    """
    terms = request.allowance
    row = _row_of(terms, request.amount.amount_minor, uow.now_ms)
    if is_plain(terms):
        if uow.run(_GRANT, row):
            return None
    else:
        row.update(_scopes_of(terms))
        if uow.run(_GRANT_SCOPED, row):
            return None
    stored = uow.row(_GET, row)
    assert stored is not None
    if stored.revoked_at_ms is not None:
        return Refusal("allowance.revoked")
    if _differs(stored, row):
        return Refusal("allowance.terms_conflict")
    spent = uow.run(
        _SPEND,
        {
            "allowance_id_": terms.allowance_id,
            "amount_minor": request.amount.amount_minor,
            "now_ms": uow.now_ms,
        },
    )
    if not spent:
        return _why_not(uow.row(_GET, row), request.amount.amount_minor, uow.now_ms)
    if terms.max_per_hour is None:
        return None
    asked = request.amount.amount_minor
    refusal = _over_hour(uow, terms.allowance_id, request.operation_id, asked, terms.max_per_hour)
    if refusal is not None:
        give_back(uow, terms.allowance_id, request.amount.amount_minor, uses=1)
    return refusal


def spend_more(uow: UnitOfWork, authorization: Any, operation_id: str, amount: Money) -> Refusal | None:
    """Spend more under an authorization that is raised: it is no further use. Returns why not, or None.

    ``operation_id`` is the increment, inserted already. What needed a guardian as a whole needs one in parts.
    """
    allowance_id, asked = authorization.allowance_id, amount.amount_minor
    values = {"allowance_id_": allowance_id, "amount_minor": asked, "now_ms": uow.now_ms}
    spent = uow.run(_SPEND_MORE, values)
    stored = uow.row(_GET, {"allowance_id": allowance_id})
    assert stored is not None
    if not spent:
        return _why_not(stored, asked, uow.now_ms, uses=0)
    refusal = None
    if stored.guardian_id is not None:
        above = stored.guardian_above_minor or 0
        whole = authorization.amount_minor + asked
        if whole > above and not guardian.covers(uow, authorization.approval_id, whole):
            limit = Limit("guardian_above", amount.currency, above, authorization.amount_minor, asked)
            refusal = Refusal("allowance.guardian_approval_required", limit)
    if refusal is None and stored.max_per_hour_minor is not None:
        uow.run(_SET_HOUR, {"operation_id_": operation_id, "hour_minor_": asked})
        most = Money(stored.max_per_hour_minor, amount.currency)
        refusal = _over_hour(uow, allowance_id, operation_id, asked, most)
    if refusal is not None:
        give_back(uow, allowance_id, asked, uses=0)
    return refusal


def give_back(uow: UnitOfWork, allowance_id: str, amount_minor: int, uses: int) -> None:
    """Release what an authorization held: all with its use, or after a partial void an amount."""
    changed = uow.run(_GIVE_BACK, {"allowance_id_": allowance_id, "amount_minor": amount_minor, "uses": uses})
    assert changed == 1


def give_hour_back(uow: UnitOfWork, operation_id: str, amount_minor: int) -> None:
    """Count what was voided no more against the limit per hour."""
    uow.run(_HOUR_BACK, {"operation_id_": operation_id, "amount_minor": amount_minor})


def revoke(uow: UnitOfWork, allowance_id: AllowanceId) -> None:
    """Revoke, leaving a tombstone where the grant has not arrived yet. Idempotent: the first time stays."""
    stored = uow.row(_GET, {"allowance_id": allowance_id})
    if stored is not None and stored.revoked_at_ms is not None:
        return
    delegated.end(uow, allowance_id, uow.now_ms)
    uow.run(
        _REVOKE,
        {
            **dict.fromkeys(allowance.columns.keys()),
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


def _over_hour(
    uow: UnitOfWork, allowance_id: str, operation_id: str, asked: int, most: Money
) -> Refusal | None:
    """Return the refusal if the last hour holds too much with this operation. The allowance is locked."""
    window = {"allowance_id": allowance_id, "since_ms": uow.now_ms - HOUR_MS}
    found = uow.row(_HOUR_SUM, window)
    assert found is not None
    spent = int(found.spent)
    if spent <= most.amount_minor:
        return None
    over, retry_at_ms = spent - most.amount_minor, None
    for earlier in uow.rows(_HOUR_SPENDS, {**window, "operation_id": operation_id}):
        over -= earlier.hour_minor
        if over <= 0:
            retry_at_ms = earlier.sent_at_ms + HOUR_MS
            break
    limit = Limit("max_per_hour", most.currency, most.amount_minor, spent - asked, asked, retry_at_ms)
    return Refusal("allowance.hour_exceeded", limit)


def _why_not(stored: Any, asked_minor: int, now_ms: int, uses: int = 1) -> Refusal:
    if stored.revoked_at_ms is not None:
        return Refusal("allowance.revoked")
    if now_ms >= stored.expires_at_ms:
        return Refusal("allowance.expired")
    if stored.used_count + uses > stored.max_uses:
        return Refusal(
            "allowance.uses_exceeded", Limit("max_uses", "uses", stored.max_uses, stored.used_count, uses)
        )
    return Refusal(
        "allowance.amount_exceeded",
        Limit("max_amount", stored.currency, stored.max_amount_minor, stored.used_minor, asked_minor),
    )


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
_SCOPE_NAMES = tuple(_SCOPES.split())


def _differs(stored: Any, row: dict[str, Any]) -> bool:
    """Whether an allowance was granted with other terms; a row without scopes means none."""
    return any(getattr(stored, name) != row[name] for name in _TERMS) or any(
        getattr(stored, name) != row.get(name) for name in _SCOPE_NAMES
    )


def _row_of(terms: AllowanceTerms, spent_minor: int, now_ms: int) -> dict[str, Any]:
    return {
        "allowance_id": terms.allowance_id,
        "payment_method_id": terms.payment_method_id,
        "customer_id": terms.customer_id,
        "merchant_id": terms.merchant_id,
        "order_id": terms.order_id,
        "channel": channel_text(terms.channel),
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


def _scopes_of(terms: AllowanceTerms) -> dict[str, Any]:
    return {
        "not_before_ms": terms.not_before_ms or None,
        "session_id": terms.session_id,
        "world_id": terms.world_id,
        "device_key": terms.device_key,
        "category": terms.category,
        "max_item_minor": _minor(terms.max_item),
        "max_per_hour_minor": _minor(terms.max_per_hour),
        "guardian_id": terms.guardian_id,
        "guardian_above_minor": _minor(terms.guardian_above),
    }


def _minor(amount: Money | None) -> int | None:
    return None if amount is None else amount.amount_minor


def _terms_of(row: Any) -> AllowanceTerms:
    """Read back `_row_of` and `_scopes_of`."""

    def money(minor: int | None) -> Money | None:
        return None if minor is None else Money(minor, row.currency)

    channels = row.channel.split(" ")
    return AllowanceTerms(
        allowance_id=AllowanceId(row.allowance_id),
        payment_method_id=PaymentMethodId(row.payment_method_id),
        customer_id=row.customer_id,
        merchant_id=row.merchant_id,
        order_id=row.order_id,
        channel=channels[0] if len(channels) == 1 else frozenset(channels),
        place_id=row.place_id,
        device_id=row.device_id,
        reason=AllowanceReason(row.reason),
        max_amount=Money(row.max_amount_minor, row.currency),
        max_uses=row.max_uses,
        expires_at_ms=row.expires_at_ms,
        not_before_ms=row.not_before_ms or 0,
        world_id=row.world_id,
        device_key=row.device_key,
        category=row.category,
        max_item=money(row.max_item_minor),
        max_per_hour=money(row.max_per_hour_minor),
        guardian_id=row.guardian_id,
        guardian_above=money(row.guardian_above_minor),
        session_id=row.session_id,
    )
