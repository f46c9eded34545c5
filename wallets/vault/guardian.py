"""A guardian's approval of one purchase of a minor: given once, used once, for one order and amount.

Purchases above a minor's own limit wait for the guardian's consent (German Civil Code, sections 107 to 110);
the vault holds that rule, so that no order side can forget it. Who the guardian is was established when the
allowance was granted; whoever calls here has authenticated them.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, null, select, update

from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import UnitOfWork
from wallets.vault.model import Refusal, is_usable
from wallets.vault.port import Approval, ApprovalState, Authorize, Limit
from wallets.vault.tables import allowance, guardian_approval, operation

APPROVAL_MOVES: Final[dict[ApprovalState, frozenset[ApprovalState]]] = {
    ApprovalState.APPROVED: frozenset({ApprovalState.USED, ApprovalState.DECLINED, ApprovalState.EXPIRED}),
    # Free again when the issuer declined or nothing happened: nothing was bought.
    ApprovalState.USED: frozenset({ApprovalState.APPROVED}),
    ApprovalState.DECLINED: frozenset(),
    ApprovalState.EXPIRED: frozenset(),
}
_CANDIDATES = 20

_GET = Statement(select(guardian_approval).where(guardian_approval.c.approval_id == bindparam("approval_id")))
_GUARDIAN = Statement(
    select(allowance.c.guardian_id).where(allowance.c.allowance_id == bindparam("allowance_id"))
)
_INSERT = insert_new(guardian_approval)
_OF_ORDER = Statement(
    select(guardian_approval)
    .where(
        guardian_approval.c.allowance_id == bindparam("allowance_id"),
        guardian_approval.c.order_id == bindparam("order_id"),
        guardian_approval.c.guardian_id == bindparam("guardian_id"),
        guardian_approval.c.merchant_id == bindparam("merchant_id"),
    )
    .order_by(guardian_approval.c.created_at_ms.desc(), guardian_approval.c.approval_id.desc())
    .limit(_CANDIDATES)
)
_USE = Statement(
    update(guardian_approval)
    .where(
        guardian_approval.c.approval_id == bindparam("approval_id_"),
        guardian_approval.c.state == ApprovalState.APPROVED.value,
        guardian_approval.c.expires_at_ms > bindparam("now_ms"),
    )
    .values(
        state=ApprovalState.USED.value,
        operation_id=bindparam("operation_id_"),
        changed_at_ms=bindparam("now_ms"),
    )
)
_USED_BY = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"))
    .values(approval_id=bindparam("used_approval_id"))
)
_FREE = Statement(
    update(guardian_approval)
    .where(
        guardian_approval.c.approval_id == bindparam("approval_id_"),
        guardian_approval.c.state == ApprovalState.USED.value,
        guardian_approval.c.operation_id == bindparam("operation_id_"),
    )
    .values(state=ApprovalState.APPROVED.value, operation_id=null(), changed_at_ms=bindparam("now_ms"))
)
_yes_to_the_order = (
    update(guardian_approval)
    .where(
        guardian_approval.c.allowance_id == bindparam("allowance_id_"),
        guardian_approval.c.order_id == bindparam("order_id_"),
        guardian_approval.c.guardian_id == bindparam("guardian_id_"),
        guardian_approval.c.merchant_id == bindparam("merchant_id_"),
        guardian_approval.c.state == ApprovalState.APPROVED.value,
    )
    .values(state=ApprovalState.DECLINED.value, changed_at_ms=bindparam("now_ms"))
)
_WITHDRAW = Statement(_yes_to_the_order)
_WITHDRAW_EARLIER = Statement(
    _yes_to_the_order.where(guardian_approval.c.approval_id <= bindparam("last_approval_id"))
)


def approve(uow: UnitOfWork, approval: Approval) -> ApprovalState:
    """Record the guardian's yes and return how the approval stands. See `port.Vault.approve`."""
    state, _ = _record(uow, approval, ApprovalState.APPROVED)
    return state


def decline(uow: UnitOfWork, approval: Approval) -> ApprovalState:
    """Record the guardian's no, which takes back every yes to this order that was not used yet.

    A yes to a later question stays: this no may have been long on its way. The names of questions sort by the
    time they were asked. To take back a yes takes back all of them. A repeat of a no takes nothing back: a
    yes may have come since.
    """
    state, is_new = _record(uow, approval, ApprovalState.DECLINED)
    if is_new or state is ApprovalState.APPROVED:
        order = {
            "allowance_id_": approval.allowance_id,
            "order_id_": approval.order_id,
            "guardian_id_": approval.guardian_id,
            "merchant_id_": approval.merchant_id,
            "now_ms": uow.now_ms,
        }
        if is_new:
            uow.run(_WITHDRAW_EARLIER, {**order, "last_approval_id": approval.approval_id})
        else:
            uow.run(_WITHDRAW, order)
    return _state(uow.row(_GET, {"approval_id": approval.approval_id}), uow.now_ms)


def is_needed(request: Authorize) -> bool:
    """Whether the amount is more than the minor may spend alone."""
    terms = request.allowance
    if terms.guardian_id is None:
        return False
    above = terms.guardian_above
    return above is None or request.amount.amount_minor > above.amount_minor


def use(uow: UnitOfWork, request: Authorize) -> Refusal | str:
    """Use an approval for this authorization. Returns its id, or the refusal without one."""
    terms, amount = request.allowance, request.amount
    above = 0 if terms.guardian_above is None else terms.guardian_above.amount_minor
    limit = Limit("guardian_above", amount.currency, above, 0, amount.amount_minor)
    found = uow.rows(
        _OF_ORDER,
        {
            "allowance_id": terms.allowance_id,
            "order_id": request.order_id,
            "guardian_id": terms.guardian_id,
            "merchant_id": request.merchant_id,
        },
    )
    # The word to the latest question counts, also over a yes that was used at the time and is free again.
    last_no = max((row.approval_id for row in found if row.state == ApprovalState.DECLINED), default="")
    for row in found:
        if row.approval_id < last_no:
            continue
        if row.currency != amount.currency or row.max_amount_minor < amount.amount_minor:
            continue
        used = {
            "approval_id_": row.approval_id,
            "operation_id_": request.operation_id,
            "now_ms": uow.now_ms,
        }
        if uow.run(_USE, used):
            uow.run(
                _USED_BY,
                {"operation_id_": request.operation_id, "used_approval_id": row.approval_id},
            )
            return str(row.approval_id)
    if found and all(row.approval_id <= last_no for row in found):
        return Refusal("allowance.guardian_declined", limit)
    return Refusal("allowance.guardian_approval_required", limit)


def covers(uow: UnitOfWork, approval_id: str | None, whole_minor: int) -> bool:
    """Whether the approval that an authorization used is enough for it when it is raised to this amount."""
    used = None if approval_id is None else uow.row(_GET, {"approval_id": approval_id})
    return used is not None and used.max_amount_minor >= whole_minor


def free(uow: UnitOfWork, approval_id: str, operation_id: str) -> None:
    """Give an approval back whose authorization bought nothing."""
    uow.run(_FREE, {"approval_id_": approval_id, "operation_id_": operation_id, "now_ms": uow.now_ms})


def _record(uow: UnitOfWork, approval: Approval, state: ApprovalState) -> tuple[ApprovalState, bool]:
    """Return how the approval stands, and whether this is the first that is heard of it."""
    values = {
        "approval_id": approval.approval_id,
        "allowance_id": approval.allowance_id,
        "order_id": approval.order_id,
        "guardian_id": approval.guardian_id,
        "merchant_id": approval.merchant_id,
        "max_amount_minor": approval.max_amount.amount_minor,
        "currency": approval.max_amount.currency,
        "expires_at_ms": approval.expires_at_ms,
    }
    known = uow.row(_GET, values)
    is_new = known is None
    if known is None:
        _check(uow, approval)
        moment = {"operation_id": None, "created_at_ms": uow.now_ms, "changed_at_ms": uow.now_ms}
        uow.run(_INSERT, {**values, "state": state.value, **moment})
        known = uow.row(_GET, values)
        assert known is not None
    if any(getattr(known, name) != value for name, value in values.items()):
        raise ConflictError("allowance.approval_conflict", "This approval was given for another purchase.")
    return _state(known, uow.now_ms), is_new


def _check(uow: UnitOfWork, approval: Approval) -> None:
    """An allowance that is granted already must name this guardian; one that comes later is compared then."""
    if not is_usable(approval.max_amount):
        raise InvalidError("vault.amount_invalid", "The amount must be positive and below 2^53.")
    granted = uow.row(_GUARDIAN, {"allowance_id": approval.allowance_id})
    if granted is not None and granted.guardian_id != approval.guardian_id:
        # Says no more than that: whoever asks may be anybody.
        raise NotFoundError("allowance.unknown", "No such allowance of this guardian.")


def _state(row: Any, now_ms: int) -> ApprovalState:
    state = ApprovalState(row.state)
    if state is ApprovalState.APPROVED and now_ms >= row.expires_at_ms:
        return ApprovalState.EXPIRED
    return state
