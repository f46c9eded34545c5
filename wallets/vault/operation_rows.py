"""Rows of operations: how they are read, inserted, moved and told to callers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, null, select, update

from gateway.kernel.documents import decode, encode
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.subjects import OperationId
from wallets.vault.declines import classified
from wallets.vault.inserts import insert_named
from wallets.vault.model import OperationState, sources, status_of
from wallets.vault.port import (
    Action,
    DeclineClass,
    Limit,
    OperationKind,
    OperationResult,
    OperationStatus,
    ProviderTerms,
)
from wallets.vault.tables import operation

Row = Any
"""A named tuple of the columns of `vault_operation`."""

GET = Statement(select(operation).where(operation.c.operation_id == bindparam("operation_id")))
LOCKED = Statement(
    select(operation).where(operation.c.operation_id == bindparam("operation_id")).with_for_update()
)
"""The same, and on PostgreSQL nobody else decides on the row until this unit has committed: for what counts
its follow-ups, which no condition of an update on the row itself can see."""
WAITS = "waits"
"""In ``refusal`` of a row that is ``sent``: in truth not sent, since it waits for another operation."""
_COLUMNS = (
    "operation_id kind state request_digest parent_id allowance_id payment_method_id amount_minor currency "
    "refusal provider sent_at_ms changed_at_ms"
)
INSERT = insert_named(operation, _COLUMNS, captured_minor=0, voided_minor=0, refunded_minor=0)
"""A new row, unless the id is taken."""
SCOPED = ("refused_limit", "order_id", "initiation", "hour_minor")
INSERT_SCOPED = insert_named(
    operation,
    f"{_COLUMNS} {' '.join(SCOPED)}",
    captured_minor=0,
    voided_minor=0,
    refunded_minor=0,
)
"""A new row with what few authorizations have."""
REFUSE = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"))
    .values(
        state=OperationState.REFUSED.value,
        refusal=bindparam("refusal"),
        refused_limit=bindparam("refused_limit"),
        hour_minor=null(),
    )
)
"""Within the unit that inserted the row, before anybody else has seen it."""


_ANSWERED: dict[OperationState, tuple[str, ...]] = {
    OperationState.REQUIRES_ACTION: (
        "provider_reference",
        "network_transaction_id",
        "capture_before_ms",
        "action_id",
        "action_path",
    ),
    OperationState.SUCCEEDED: (
        "provider_reference",
        "network_transaction_id",
        "capture_before_ms",
        "account_reference",
        "liability",
    ),
    OperationState.DECLINED: ("provider_reference", "decline_code", "decline_class", "decline_advice"),
    OperationState.FAILED: ("provider_reference", "refusal"),
}
"""What an answer that leads to the state brings with it; the other columns are emptied."""
UNANSWERED: dict[str, None] = dict.fromkeys(sorted({name for names in _ANSWERED.values() for name in names}))


def _move(target: OperationState) -> Statement:
    return Statement(
        update(operation)
        .where(
            operation.c.operation_id == bindparam("operation_id_"),
            operation.c.state.in_([state.value for state in sources(target)]),
        )
        .values(
            state=target.value,
            **{name: bindparam(name) if name in _ANSWERED[target] else null() for name in UNANSWERED},
            changed_at_ms=bindparam("changed_at_ms"),
            feed_no=null(),
        )
    )


MOVE: dict[OperationState, Statement] = {state: _move(state) for state in _ANSWERED}
"""Moves a record to a state from those that allow it; one changed row means this caller made the move."""


def new_row(
    operation_id: OperationId,
    kind: OperationKind | None,
    state: OperationState,
    now_ms: int,
    *,
    request_digest: str = "",
    parent_id: OperationId | None = None,
    allowance_id: str | None = None,
    payment_method_id: str | None = None,
    amount: Money | None = None,
    refusal: str | None = None,
    limit: Limit | None = None,
    order_id: str | None = None,
    initiation: str | None = None,
    hour_minor: int | None = None,
    provider: str | None = None,
) -> dict[str, Any]:
    """Return the values of a new row, in the order of the table's columns."""
    return {
        "operation_id": operation_id,
        "kind": None if kind is None else kind.value,
        "state": state.value,
        "request_digest": request_digest,
        "parent_id": parent_id,
        "allowance_id": allowance_id,
        "payment_method_id": payment_method_id,
        "amount_minor": None if amount is None else amount.amount_minor,
        "currency": None if amount is None else amount.currency,
        "captured_minor": 0,
        "voided_minor": 0,
        "refunded_minor": 0,
        "provider_reference": None,
        "network_transaction_id": None,
        "capture_before_ms": None,
        "decline_code": None,
        "decline_class": None,
        "action_id": None,
        "action_path": None,
        "refusal": refusal,
        "provider": provider,
        "sent_at_ms": now_ms,
        "changed_at_ms": now_ms,
        "refused_limit": limit_text(limit),
        "decline_advice": None,
        "order_id": order_id,
        "initiation": initiation,
        "hour_minor": hour_minor,
        "approval_id": None,
        "account_reference": None,
        "liability": None,
        "replaced_minor": None,
        "feed_no": None,
    }


def limit_text(limit: Limit | None) -> str | None:
    """Return the limit as it is stored beside a refusal."""
    if limit is None:
        return None
    return encode([limit.name, limit.unit, limit.allowed, limit.used, limit.asked, limit.retry_at_ms])


def as_row(values: dict[str, Any]) -> Row:
    """Return what reading the row back would give."""
    return GET.make_row(values.values())


def result_of(row: Row, terms: ProviderTerms | None = None) -> OperationResult:
    """Return what a caller gets to know of a row; ``terms`` say how an authorization can be used."""
    return OperationResult(
        operation_id=OperationId(row.operation_id),
        kind=None if row.kind is None else OperationKind(row.kind),
        status=status_of(OperationState(row.state)),
        amount=None if row.amount_minor is None else Money(row.amount_minor, row.currency),
        parent_id=None if row.parent_id is None else OperationId(row.parent_id),
        provider_reference=row.provider_reference,
        network_transaction_id=row.network_transaction_id,
        capture_before_ms=row.capture_before_ms,
        decline=(
            None
            if row.decline_code is None
            else classified(row.decline_code, DeclineClass(row.decline_class), row.decline_advice)
        ),
        action=None if row.action_id is None else Action(row.action_id, row.action_path),
        refusal=None if row.refusal == WAITS else row.refusal,
        changed_at_ms=row.changed_at_ms,
        limit=None if row.refused_limit is None else Limit(*decode(row.refused_limit)),
        account_reference=row.account_reference,
        liability=row.liability,
        terms=terms,
    )


def conflict(operation_id: OperationId, kind: OperationKind, amount: Money | None) -> OperationResult:
    """The answer to another request under an id that is taken. The stored operation stays as it is."""
    return OperationResult(
        operation_id, kind, OperationStatus.REFUSED, amount, refusal="vault.operation_conflict"
    )
