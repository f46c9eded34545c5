"""Capture, void, refund: the first unit takes the amount from the parent and records it as sent."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, and_, bindparam, or_, update

from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import UnitOfWork
from wallets.vault.authorizing import Begun
from wallets.vault.model import FollowUp, OperationState, is_usable, kind_of, parent_of
from wallets.vault.operation_rows import GET, INSERT, REFUSE, Row, as_row, new_row
from wallets.vault.port import OperationKind, Refund, Void
from wallets.vault.tables import operation

_OPEN = operation.c.amount_minor - operation.c.captured_minor - operation.c.voided_minor
_TAKEN: BindParameter[int] = bindparam("taken")
_PARENT = (
    operation.c.operation_id == bindparam("parent_id_"),
    operation.c.currency == bindparam("currency_"),
)
_TAKE: dict[OperationKind, Statement] = {
    OperationKind.CAPTURE: Statement(
        update(operation)
        .where(
            *_PARENT,
            operation.c.kind == OperationKind.AUTHORIZE.value,
            operation.c.state == OperationState.SUCCEEDED.value,
            _OPEN >= _TAKEN,
        )
        .values(captured_minor=operation.c.captured_minor + _TAKEN)
        .returning(operation.c.provider_reference)
    ),
    OperationKind.VOID: Statement(
        update(operation)
        .where(
            *_PARENT,
            operation.c.kind == OperationKind.AUTHORIZE.value,
            _OPEN >= _TAKEN,
            or_(
                operation.c.state == OperationState.SUCCEEDED.value,
                # Before the customer has acted there is nothing to release in parts.
                and_(
                    operation.c.state == OperationState.REQUIRES_ACTION.value,
                    operation.c.amount_minor == _TAKEN,
                ),
            ),
        )
        .values(voided_minor=operation.c.voided_minor + _TAKEN)
        .returning(operation.c.provider_reference)
    ),
    OperationKind.REFUND: Statement(
        update(operation)
        .where(
            *_PARENT,
            operation.c.kind == OperationKind.CAPTURE.value,
            operation.c.state == OperationState.SUCCEEDED.value,
            operation.c.amount_minor - operation.c.refunded_minor >= _TAKEN,
        )
        .values(refunded_minor=operation.c.refunded_minor + _TAKEN)
        .returning(operation.c.provider_reference)
    ),
}


def begin_follow_up(uow: UnitOfWork, request: FollowUp, request_digest: str) -> Begun:
    """Take the amount and record the operation as sent, or as refused with the code of the broken rule."""
    kind = kind_of(request)
    parent_id = parent_of(request)
    amount = request.amount
    refusal = None
    if amount is None:
        amount, refusal = _whole(uow.row(GET, {"operation_id": parent_id}))
    elif not is_usable(amount):
        amount, refusal = None, "vault.amount_invalid"
    values = new_row(
        request.operation_id,
        kind,
        OperationState.SENT if refusal is None else OperationState.REFUSED,
        uow.now_ms,
        request_digest=request_digest,
        parent_id=parent_id,
        amount=amount,
        refusal=refusal,
    )
    if not uow.run(INSERT, values):
        return Begun(uow.row(GET, values), is_new=False)
    if refusal is not None:
        return Begun(as_row(values), is_new=True)
    assert amount is not None
    taken = uow.row(
        _TAKE[kind],
        {"parent_id_": parent_id, "currency_": amount.currency, "taken": amount.amount_minor},
    )
    if taken is None:
        refusal = _why_not(request, amount, uow.row(GET, {"operation_id": parent_id}))
        uow.run(REFUSE, {"operation_id_": request.operation_id, "refusal": refusal})
        values["state"], values["refusal"] = OperationState.REFUSED, refusal
        return Begun(as_row(values), is_new=True)
    return Begun(as_row(values), is_new=True, parent_reference=taken.provider_reference)


def _whole(authorization: Row | None) -> tuple[Money | None, str | None]:
    """Return what is open of an authorization, or the reason why nothing is."""
    if authorization is None or authorization.kind != OperationKind.AUTHORIZE:
        return None, "vault.authorization_unknown"
    if authorization.state not in (OperationState.SUCCEEDED, OperationState.REQUIRES_ACTION):
        return None, "vault.authorization_not_open"
    open_minor = _open(authorization)
    return (Money(open_minor, authorization.currency), None) if open_minor else (None, "vault.nothing_open")


def _why_not(request: FollowUp, amount: Money, parent: Any) -> str:
    """Name the rule that kept the conditional update from taking the amount."""
    if isinstance(request, Refund):
        if parent is None or parent.kind != OperationKind.CAPTURE:
            return "vault.capture_unknown"
        if parent.state != OperationState.SUCCEEDED:
            return "vault.capture_not_done"
        if parent.currency != amount.currency:
            return "vault.currency_mismatch"
        return "vault.amount_exceeds_captured"
    if parent is None or parent.kind != OperationKind.AUTHORIZE:
        return "vault.authorization_unknown"
    if parent.state != OperationState.SUCCEEDED and (
        parent.state != OperationState.REQUIRES_ACTION
        or not isinstance(request, Void)
        or amount.amount_minor < parent.amount_minor
    ):
        return "vault.authorization_not_open"
    if parent.currency != amount.currency:
        return "vault.currency_mismatch"
    return "vault.amount_exceeds_open" if _open(parent) else "vault.nothing_open"


def _open(authorization: Row) -> int:
    open_minor: int = authorization.amount_minor - authorization.captured_minor - authorization.voided_minor
    return open_minor
