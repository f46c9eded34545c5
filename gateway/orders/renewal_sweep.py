"""Finding authorizations that will run out: each intent is looked at once, when it has reached an age.

Nearly every order has been captured long before that, so a purchase pays nothing for this: no task, no index.
Ids sort by time, so a cursor over them is a cursor over ages; it is kept with what it has found, and a sweep
that was cut short goes on where it was. What is paid for later than that is planned when it is authorized.
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import bindparam, select

from gateway.kernel.store.statements import Statement, upsert
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from gateway.kernel.tasks.queue import enqueue
from gateway.orders.reauthorizing import RENEW, RenewalRules
from gateway.payments.model import IntentId, IntentState
from gateway.payments.operations import operation_row
from gateway.payments.tables import payment_intent, reconciliation

_NAME = "renewal"
_PAGE = 100

_CURSOR = Statement(select(reconciliation.c.cursor).where(reconciliation.c.name == bindparam("name")))
_SET_CURSOR = upsert(reconciliation, ["name"], lambda new: {"cursor": new.cursor, "at_ms": new.at_ms})
_UNCAPTURED = Statement(
    select(payment_intent.c.intent_id, payment_intent.c.order_id, payment_intent.c.authorization_id)
    .where(
        payment_intent.c.intent_id > bindparam("after"),
        payment_intent.c.intent_id < bindparam("until"),
        payment_intent.c.state == IntentState.REQUIRES_CAPTURE.value,
    )
    .order_by(payment_intent.c.intent_id)
    .limit(bindparam("most"))
)


async def plan_renewals(store: Store, rules: RenewalRules) -> int:
    """Write a task for every authorization that is due one; returns how many. One page per unit."""
    planned = 0
    while True:
        found = await store.write(partial(_plan_page, rules), lane=Lane.BACKGROUND)
        planned += found
        if found < _PAGE:
            return planned


def _plan_page(rules: RenewalRules, uow: UnitOfWork) -> int:
    until = f"{IntentId.prefix}_{max(uow.now_ms - rules.look_after_ms, 0):012x}"
    after = _cursor(uow)
    if after >= until:
        return 0
    rows = uow.rows(_UNCAPTURED, {"after": after, "until": until, "most": _PAGE})
    for row in rows:
        authorization = operation_row(uow, row.authorization_id)
        if authorization is not None and authorization.capture_before_ms is not None:
            due_at_ms = max(authorization.capture_before_ms - rules.margin_ms, uow.now_ms)
            payload = {"authorization_id": row.authorization_id}
            enqueue(uow, RENEW, row.order_id, payload, due_at_ms=due_at_ms)
    cursor = rows[-1].intent_id if len(rows) == _PAGE else until
    uow.run(_SET_CURSOR, {"name": _NAME, "cursor": cursor, "at_ms": uow.now_ms})
    return len(rows)


def _cursor(reader: Reader) -> str:
    row = reader.row(_CURSOR, {"name": _NAME})
    return "" if row is None else str(row.cursor)
