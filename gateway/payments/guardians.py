"""Rows of questions to guardians: asked with a refused payment, decided once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.errors import NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.payments.guardians_model import APPROVAL_VALID_MS, GUARDIAN_MOVES, GuardianState
from gateway.payments.intents import inline, sources
from gateway.payments.tables import guardian_request
from wallets.vault.port import AllowanceId, Approval, ApprovalId

_g = guardian_request.c
_INSERT = insert_into(guardian_request)
_BY_ID = Statement(select(guardian_request).where(_g.approval_id == bindparam("approval_id")))
_OF_ORDER = Statement(
    select(guardian_request).where(_g.order_id == bindparam("order_id")).order_by(_g.approval_id)
)
_WAITING_FOR = Statement(
    select(guardian_request)
    .where(
        _g.guardian_id == bindparam("guardian_id"),
        _g.state == GuardianState.PENDING.value,
        _g.expires_at_ms > bindparam("now_ms"),
    )
    .order_by(_g.approval_id)
    .limit(100)
)
_MOVE = {
    state: Statement(
        update(guardian_request)
        .where(_g.approval_id == bindparam("its_id"), _g.state.in_(inline(sources(GUARDIAN_MOVES, state))))
        .values(state=state.value)
    )
    for state in (GuardianState.DONE, GuardianState.REFUSED)
}
_DECIDE = {
    state: Statement(
        update(guardian_request)
        .where(_g.approval_id == bindparam("its_id"), _g.state.in_(inline(sources(GUARDIAN_MOVES, state))))
        .values(state=state.value, decided_at_ms=bindparam("now_ms"), decided_on=bindparam("device_id"))
    )
    for state in (
        GuardianState.APPROVED,
        GuardianState.DECLINED,
        GuardianState.EXPIRED,
        GuardianState.ENDED,
    )
}


def add_request(
    uow: UnitOfWork,
    *,
    order_id: str,
    merchant_id: str,
    customer_id: str,
    guardian_id: str,
    allowance_id: str,
    operation_id: str,
    amount: Money,
    above_minor: int,
    expires_at_ms: int,
    kept_until_ms: int,
) -> ApprovalId:
    """Insert an open question. ``kept_until_ms`` is until when the order's goods are kept for it."""
    approval_id = uow.new_id(ApprovalId)
    uow.run(
        _INSERT,
        {
            "approval_id": approval_id,
            "order_id": order_id,
            "merchant_id": merchant_id,
            "customer_id": customer_id,
            "guardian_id": guardian_id,
            "allowance_id": allowance_id,
            "operation_id": operation_id,
            "state": GuardianState.PENDING.value,
            "currency": amount.currency,
            "amount_minor": amount.amount_minor,
            "above_minor": above_minor,
            "created_at_ms": uow.now_ms,
            "expires_at_ms": expires_at_ms,
            "kept_until_ms": kept_until_ms,
            "decided_at_ms": None,
            "decided_on": None,
        },
    )
    return approval_id


def decide_request(
    uow: UnitOfWork, approval_id: str, state: GuardianState, *, device_id: str | None = None
) -> bool:
    """Move an open question to how it was decided; the answer says who won."""
    values = {"its_id": approval_id, "now_ms": uow.now_ms, "device_id": device_id}
    return uow.run(_DECIDE[state], values) == 1


def move_request(uow: UnitOfWork, approval_id: str, state: GuardianState) -> bool:
    """Note what the vault said to an approval; the answer says whether this call did it."""
    return uow.run(_MOVE[state], {"its_id": approval_id}) == 1


def request_row(reader: Reader, approval_id: str) -> Any | None:
    """Return a question's row, or None."""
    return reader.row(_BY_ID, {"approval_id": approval_id})


def guardians_request(reader: Reader, guardian_id: str, approval_id: str) -> Any:
    """Return a question to this guardian; NotFoundError ``guardian.not_found`` also for somebody else's."""
    row = request_row(reader, approval_id)
    if row is None or row.guardian_id != guardian_id:
        raise NotFoundError(
            "guardian.not_found", "There is no such request to you.", param="$.body.approval_id"
        )
    return row


def requests_of(reader: Reader, order_id: str) -> list[Any]:
    """Return the questions about an order, oldest first."""
    return reader.rows(_OF_ORDER, {"order_id": order_id})


def waiting_for(reader: Reader, guardian_id: str) -> list[Any]:
    """Return the open questions to a guardian, oldest first (at most 100)."""
    return reader.rows(_WAITING_FOR, {"guardian_id": guardian_id, "now_ms": reader.now_ms})


def pending_of(rows: list[Any]) -> Any | None:
    """Return the one that is open; an order has at most one."""
    return next((row for row in rows if row.state == GuardianState.PENDING), None)


def amount_asked(row: Any) -> Money:
    """Return what the guardian is asked to approve."""
    return Money(row.amount_minor, row.currency)


def approval_document(row: Any, decided_at_ms: int) -> dict[str, Any]:
    """Return what the vault is to be told, as the payload of a task: the same however often it is told."""
    return {
        "approval_id": row.approval_id,
        "allowance_id": row.allowance_id,
        "guardian_id": row.guardian_id,
        "merchant_id": row.merchant_id,
        "amount_minor": row.amount_minor,
        "currency": row.currency,
        "expires_at_ms": decided_at_ms + APPROVAL_VALID_MS,
    }


def approval_of(order_id: str, document: Any) -> Approval:
    """Read back `approval_document`."""
    return Approval(
        approval_id=ApprovalId(document["approval_id"]),
        allowance_id=AllowanceId(document["allowance_id"]),
        guardian_id=document["guardian_id"],
        merchant_id=document["merchant_id"],
        order_id=order_id,
        max_amount=Money(document["amount_minor"], document["currency"]),
        expires_at_ms=document["expires_at_ms"],
    )
