"""Refunds under way are counted, and what is refunded or on its way never exceeds what was captured."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_RULE = "refunding_minor >= 0 AND refunded_minor + refunding_minor <= captured_minor"
_BROKEN = "NEW.refunding_minor < 0 OR NEW.refunded_minor + NEW.refunding_minor > NEW.captured_minor"


def upgrade() -> None:
    connection = op.get_bind()
    connection.execute(
        sa.text(
            "UPDATE payment_intent SET refunding_minor = (SELECT coalesce(sum(amount_minor), 0) "
            "FROM payment_operation o WHERE o.order_id = payment_intent.order_id AND o.kind = 'refund' "
            "AND o.state IN ('created', 'unknown')) WHERE order_id IN (SELECT order_id "
            "FROM payment_operation WHERE kind = 'refund' AND state IN ('created', 'unknown'))"
        )
    )
    if connection.dialect.name == "postgresql":
        op.create_check_constraint(
            op.f("ck_payment_intent_refunding_within_captured"), "payment_intent", _RULE
        )
        return
    # SQLite cannot add a check to a table that is there; only updates of these columns ask the trigger.
    connection.exec_driver_sql(
        "CREATE TRIGGER payment_intent_refunding BEFORE UPDATE OF refunding_minor ON payment_intent "
        f"WHEN {_BROKEN} "
        "BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: refunding_within_captured'); END"
    )
