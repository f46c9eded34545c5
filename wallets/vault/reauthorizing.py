"""Authorizing the rest of an authorization anew, without the customer (P5, P6).

Late and split shipments outlive an authorization. The new one refers to the first by its network transaction
id and takes over at most what is open of the old one, whatever the allowance's expiry, uses, hour or
guardian say, because the customer allowed this money for this order already. Only a revocation ends that.

While the new one is undecided the allowance holds what the old one held, so that a decline has nothing to
take back from others; when it succeeds, what it does not take over is given back. What is voided of the old
authorization afterwards has been taken over or given back already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, literal_column, select, update

from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.vault import allowances, attempts, methods
from wallets.vault.abilities import CANNOT
from wallets.vault.authorizing import Begun
from wallets.vault.crypto import open_record
from wallets.vault.kms import Kms
from wallets.vault.model import OperationState, Refusal, channel_text, is_usable
from wallets.vault.operation_rows import GET, INSERT_SCOPED, Row, as_row, limit_text, new_row
from wallets.vault.port import Authorize, Initiation, MerchantReason, OperationKind, Reauthorize
from wallets.vault.providers.port import AuthorizeOrder
from wallets.vault.registry import Providers
from wallets.vault.tables import operation

REFERENCE_MS = 30 * 86_400_000
"""How old the transaction may be that a delayed charge or re-authorization refers to (token rules of the
networks, as CyberSource states them; 14 days for a resubmission, which is not asked for here)."""
_MOST_LINKS = 100

_REPLACE = Statement(
    update(operation)
    .where(
        operation.c.operation_id == bindparam("operation_id_"),
        operation.c.state == OperationState.SUCCEEDED.value,
        operation.c.replaced_minor.is_(None),
    )
    .values(replaced_minor=operation.c.amount_minor - operation.c.captured_minor - operation.c.voided_minor)
    .returning(operation.c.replaced_minor)
)
_RESTORE = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"))
    .values(replaced_minor=None)
)
_RELEASED = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"))
    .values(replaced_minor=func.coalesce(operation.c.replaced_minor, 0) - bindparam("released"))
)
_UNDECIDED = Statement(
    select(operation.c.operation_id)
    .where(
        operation.c.parent_id == bindparam("operation_id"),
        operation.c.kind == OperationKind.AUTHORIZE.value,
        operation.c.state.in_(
            [
                literal_column(f"'{state.value}'")
                for state in (OperationState.SENT, OperationState.REQUIRES_ACTION)
            ]
        ),
    )
    .limit(1)
)


def begin_reauthorize(
    uow: UnitOfWork, request: Reauthorize, request_digest: str, providers: Providers
) -> Begun:
    """Record the authorization as sent, or as refused with the code of the rule it breaks."""
    old = uow.row(GET, {"operation_id": request.authorization_id})
    method, refusal = _look(uow, request, old, providers)
    values = new_row(
        request.operation_id,
        OperationKind.AUTHORIZE,
        OperationState.SENT,
        uow.now_ms,
        request_digest=request_digest,
        parent_id=request.authorization_id,
        allowance_id=None if old is None else old.allowance_id,
        payment_method_id=None if old is None else old.payment_method_id,
        amount=request.amount if is_usable(request.amount) else None,
        order_id=None if old is None else old.order_id,
        initiation=Initiation.MERCHANT.value,
        provider=None if old is None else old.provider,
    )
    known = uow.row(GET, values)
    if known is not None:
        return Begun(known, is_new=False)
    if refusal is None:
        refusal = _replace(uow, request, old)
    if refusal is not None:
        limit = limit_text(refusal.limit)
        values.update(state=OperationState.REFUSED, refusal=refusal.code, refused_limit=limit)
    if not uow.run(INSERT_SCOPED, values):
        raise AssertionError("the id was free in this unit")
    if refusal is None and method is not None and attempts.has_history(method):
        attempts.reserve(uow, _as_authorize(uow, request, old), method)
    return Begun(as_row(values), is_new=True, method=method)


def undo(uow: UnitOfWork, row: Row) -> None:
    """The new authorization came to nothing: the old one is in force again."""
    uow.run(_RESTORE, {"operation_id_": row.parent_id})


def take_over(uow: UnitOfWork, row: Row) -> None:
    """The new authorization stands: give back what was open of the old one and is not held any more."""
    old = uow.row(GET, {"operation_id": row.parent_id})
    assert old is not None
    rest = old.replaced_minor - row.amount_minor
    if rest:
        allowances.give_back(uow, row.allowance_id, rest, uses=0)


def is_undecided(uow: Reader, operation_id: str) -> bool:
    """Whether it is open if another authorization replaces this one."""
    return uow.row(_UNDECIDED, {"operation_id": operation_id}) is not None


def release_replaced(uow: UnitOfWork, authorization: Row, voided_minor: int) -> int:
    """Return how much a void of a replaced authorization still gives back to the allowance."""
    if is_undecided(uow, authorization.operation_id):
        # It was begun before the replacement, which has left its amount out.
        return voided_minor
    given = min(voided_minor, authorization.replaced_minor)
    uow.run(_RELEASED, {"operation_id_": authorization.operation_id, "released": given})
    return int(voided_minor - given)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the new authorization refers to: the order, and the transaction that the customer agreed to."""

    merchant_id: str
    order_id: str
    channel: str
    network_transaction_id: str | None


async def reauthorize_order(kms: Kms, agreed: Agreement, request: Reauthorize, method: Row) -> AuthorizeOrder:
    """Open the method's record for the provider. Raises RecordUnreadableError, KeysUnavailableError."""
    plain = await open_record(kms, methods.place_of(method), methods.record_of(method))
    return AuthorizeOrder(
        request.operation_id,
        methods.instrument(method.kind, plain),
        request.amount,
        agreed.merchant_id,
        agreed.order_id,
        agreed.channel,
        False,
        agreed.network_transaction_id,
        Initiation.MERCHANT,
        request.merchant_reason,
    )


def agreement(reader: Reader, row: Row) -> Agreement:
    """Return what a new authorization refers to: the first one of its chain, or the one it replaces when the
    first is too old to be referred to."""
    replaced: Row = reader.row(GET, {"operation_id": row.parent_id})
    first = replaced
    for _ in range(_MOST_LINKS):
        if first.parent_id is None:
            break
        first = reader.row(GET, {"operation_id": first.parent_id})
    found = first if reader.now_ms < first.sent_at_ms + REFERENCE_MS else replaced
    granted = allowances.allowance_of(reader, row.allowance_id)
    assert granted is not None
    terms = granted.terms
    return Agreement(
        terms.merchant_id,
        terms.order_id or row.order_id,
        channel_text(terms.channel).split(" ")[0],
        found.network_transaction_id,
    )


def _look(
    uow: UnitOfWork, request: Reauthorize, old: Row | None, providers: Providers
) -> tuple[Any | None, Refusal | None]:
    if not is_usable(request.amount):
        return None, Refusal("vault.amount_invalid")
    if old is None or old.kind != OperationKind.AUTHORIZE:
        return None, Refusal("vault.authorization_unknown")
    if old.state != OperationState.SUCCEEDED:
        return None, Refusal("vault.authorization_not_open")
    if old.replaced_minor is not None:
        return None, Refusal("vault.authorization_replaced")
    if old.currency != request.amount.currency:
        return None, Refusal("vault.currency_mismatch")
    able = providers.able(old.provider)
    if able is None or not able.merchant_initiated or request.merchant_reason is MerchantReason.NO_SHOW:
        return None, Refusal(CANNOT)
    method = uow.row(attempts.METHOD, {"payment_method_id": old.payment_method_id})
    if method is None or method.removed_at_ms is not None:
        return None, Refusal("vault.method_unknown")
    if attempts.has_history(method):
        return method, attempts.refusal(uow, _as_authorize(uow, request, old), method)
    return method, None


def _replace(uow: UnitOfWork, request: Reauthorize, old: Row | None) -> Refusal | None:
    """Mark the old authorization as replaced by one of at most what is open of it."""
    assert old is not None
    granted = allowances.allowance_of(uow, old.allowance_id)
    assert granted is not None
    if granted.revoked_at_ms is not None:
        return Refusal("allowance.revoked")
    replaced = uow.row(_REPLACE, {"operation_id_": request.authorization_id})
    if replaced is None:
        return Refusal("vault.authorization_replaced")
    if request.amount.amount_minor <= replaced.replaced_minor:
        return None
    uow.run(_RESTORE, {"operation_id_": request.authorization_id})
    return Refusal("vault.amount_exceeds_open" if replaced.replaced_minor else "vault.nothing_open")


def _as_authorize(uow: UnitOfWork, request: Reauthorize, old: Row | None) -> Authorize:
    """Return what the rules about attempts need to know."""
    assert old is not None
    found = allowances.allowance_of(uow, old.allowance_id)
    assert found is not None
    terms = found.terms
    return Authorize(
        request.operation_id,
        terms,
        Money(request.amount.amount_minor, request.amount.currency),
        terms.customer_id,
        terms.merchant_id,
        terms.order_id or old.order_id or "",
        channel_text(terms.channel).split(" ")[0],
        initiation=Initiation.MERCHANT,
        merchant_reason=request.merchant_reason,
    )
