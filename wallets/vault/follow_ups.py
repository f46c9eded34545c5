"""Capture, void, refund, increment: the first unit takes the amount from the parent, recorded as sent.

A void waits, unsent, while something is undecided that says what there is to void: an increment, the
authorization that replaces this one, the one capture of a provider that releases the rest with it. It takes
its amount like any other and is unknown; once the other is decided it has failed, or is done by that capture.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, and_, bindparam, func, or_, select, update

from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.vault import allowances, reauthorizing
from wallets.vault.abilities import (
    CANNOT,
    Captures,
    is_released_by_capture,
    needs_parent,
    refusal_of_follow_up,
    waits_for_capture,
)
from wallets.vault.authorizing import Begun
from wallets.vault.model import FollowUp, OperationState, Refusal, is_usable, kind_of, parent_of
from wallets.vault.operation_rows import (
    GET,
    INSERT,
    LOCKED,
    REFUSE,
    WAITS,
    Row,
    as_row,
    limit_text,
    new_row,
)
from wallets.vault.port import Increment, OperationKind, Refund, Void
from wallets.vault.providers.port import Capabilities, Outcome, ProviderAnswer
from wallets.vault.registry import Providers
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
            operation.c.replaced_minor.is_(None),
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
        .returning(operation.c.provider_reference, operation.c.replaced_minor)
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
    # Nothing is taken: what is added is only there once the provider has said so. The row is held meanwhile.
    OperationKind.INCREMENT: Statement(
        update(operation)
        .where(
            *_PARENT,
            operation.c.kind == OperationKind.AUTHORIZE.value,
            operation.c.state == OperationState.SUCCEEDED.value,
            operation.c.replaced_minor.is_(None),
            _OPEN > 0,
            _TAKEN > 0,
        )
        .values(changed_at_ms=operation.c.changed_at_ms)
        .returning(operation.c.provider_reference)
    ),
}
_WHOSE = Statement(select(operation.c.provider).where(operation.c.operation_id == bindparam("operation_id")))
_CAPTURES = Statement(
    select(operation.c.state).where(
        operation.c.parent_id == bindparam("parent_id"),
        operation.c.kind == OperationKind.CAPTURE.value,
        operation.c.state.in_([OperationState.SENT.value, OperationState.SUCCEEDED.value]),
    )
)
_INCREMENTS = Statement(
    select(func.count().label("undecided")).where(
        operation.c.parent_id == bindparam("parent_id"),
        operation.c.kind == OperationKind.INCREMENT.value,
        operation.c.state == OperationState.SENT.value,
    )
)
_WAIT = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"))
    .values(refusal=bindparam("waits"))
)


def begin_follow_up(uow: UnitOfWork, request: FollowUp, request_digest: str, providers: Providers) -> Begun:
    """Take the amount and record the operation as sent, or as refused with the code of the broken rule."""
    kind = kind_of(request)
    parent_id = parent_of(request)
    amount = request.amount
    refusal = None
    parent: Row | None = None
    captures = Captures()
    able = None if providers.only is None else providers.only.capabilities
    if able is None:
        whose = uow.row(_WHOSE, {"operation_id": parent_id})
        able = providers.able(None if whose is None else whose.provider)
    if able is not None and needs_parent(able, kind):
        parent = uow.row(LOCKED, {"operation_id": parent_id})
        if kind in (OperationKind.CAPTURE, OperationKind.VOID):
            captures = _captures(uow, parent_id)
    if amount is None:
        amount, refusal = _whole(uow.row(GET, {"operation_id": parent_id}))
    elif not is_usable(amount):
        amount, refusal = None, "vault.amount_invalid"
    if refusal is None and amount is not None:
        refusal = (
            CANNOT
            if able is None
            else refusal_of_follow_up(able, kind, amount.amount_minor, parent, captures)
        )
    values = new_row(
        request.operation_id,
        kind,
        OperationState.SENT if refusal is None else OperationState.REFUSED,
        uow.now_ms,
        request_digest=request_digest,
        parent_id=parent_id,
        amount=amount,
        refusal=refusal,
        allowance_id=parent.allowance_id if parent is not None and kind is OperationKind.INCREMENT else None,
        provider=None if able is None else able.name,
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
        uow.run(REFUSE, {"operation_id_": request.operation_id, "refusal": refusal, "refused_limit": None})
        values["state"], values["refusal"] = OperationState.REFUSED, refusal
        return Begun(as_row(values), is_new=True)
    if kind is OperationKind.INCREMENT:
        # Its own row is one of them. Each of several would see only what is settled, and each could pass.
        over = (
            Refusal("vault.increment_undecided")
            if _increments(uow, parent_id) > 1
            else allowances.spend_more(uow, parent, request.operation_id, amount)
        )
        if over is not None:
            limit = limit_text(over.limit)
            refuse = {"operation_id_": request.operation_id, "refusal": over.code, "refused_limit": limit}
            uow.run(REFUSE, refuse)
            values.update(state=OperationState.REFUSED, refusal=over.code, refused_limit=limit)
            return Begun(as_row(values), is_new=True)
    assert able is not None
    waits = kind is OperationKind.VOID and _must_wait(uow, able, parent_id, taken.replaced_minor, captures)
    if waits:
        uow.run(_WAIT, {"operation_id_": request.operation_id, "waits": WAITS})
        values["refusal"] = WAITS
    return Begun(
        as_row(values),
        is_new=True,
        parent_reference=taken.provider_reference,
        is_released=is_released_by_capture(able, kind, captures),
        is_waiting=waits,
    )


def waiting_void(uow: Reader, void: Row, able: Capabilities) -> ProviderAnswer | None:
    """Return what became of a void that waits; None while it still does. It was never sent."""
    parent = uow.row(GET, {"operation_id": void.parent_id})
    assert parent is not None
    captures = _captures(uow, void.parent_id)
    if _must_wait(uow, able, void.parent_id, parent.replaced_minor, captures):
        return None
    if is_released_by_capture(able, OperationKind.VOID, captures):
        return ProviderAnswer(Outcome.SUCCEEDED, parent.provider_reference)
    return ProviderAnswer(Outcome.FAILED, failure="provider.never_received")


def _must_wait(
    uow: Reader, able: Capabilities, authorization_id: str, replaced_minor: int | None, captures: Captures
) -> bool:
    return (
        waits_for_capture(able, OperationKind.VOID, captures)
        or (able.incremental_authorization and _increments(uow, authorization_id) > 0)
        or (replaced_minor is not None and reauthorizing.is_undecided(uow, authorization_id))
    )


def _captures(uow: Reader, authorization_id: str) -> Captures:
    states = [row.state for row in uow.rows(_CAPTURES, {"parent_id": authorization_id})]
    return Captures(len(states), states.count(OperationState.SUCCEEDED))


def _increments(uow: Reader, authorization_id: str) -> int:
    """Count the increments that are not decided."""
    found = uow.row(_INCREMENTS, {"parent_id": authorization_id})
    return 0 if found is None else int(found.undecided)


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
    if parent.replaced_minor is not None and not isinstance(request, Void):
        return "vault.authorization_replaced"
    if isinstance(request, Increment):
        return "vault.nothing_open"
    return "vault.amount_exceeds_open" if _open(parent) else "vault.nothing_open"


def _open(authorization: Row) -> int:
    open_minor: int = authorization.amount_minor - authorization.captured_minor - authorization.voided_minor
    return open_minor
