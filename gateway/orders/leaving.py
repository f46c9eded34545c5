"""What keeps the key of a customer's account here: tokens that we could still have to take back."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, exists, or_, select

from gateway.kernel.errors import ConflictError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from gateway.orders.model import LegKind, LegState
from gateway.orders.tables import leg, order
from wallets.minting.model import MintState, ReturnState
from wallets.minting.tables import mint

_MOST_NAMED = 10
_UNPAID = [LegState.STARTED.value, LegState.FULFILLED.value]
_COMING_BACK = [LegState.CAPTURE_FAILED.value, LegState.RETURNING.value]
_WAITING = Statement(
    select(leg.c.order_id)
    .distinct()
    .select_from(leg.join(order, order.c.order_id == leg.c.order_id))
    .where(
        order.c.customer_id == bindparam("customer_id"),
        leg.c.kind == LegKind.MINT.value,
        leg.c.recipient.is_(None),
        or_(
            # Minted before it is captured.
            and_(leg.c.paid_first == 0, leg.c.state.in_(_UNPAID)),
            and_(
                leg.c.state.in_(_COMING_BACK),
                exists(
                    select(mint.c.leg_id).where(
                        mint.c.leg_id == leg.c.leg_id,
                        mint.c.state.not_in([MintState.SKIPPED.value, MintState.CANCELED.value]),
                        mint.c.return_state != ReturnState.RETURNED.value,
                    )
                ),
            ),
        ),
    )
    .order_by(leg.c.order_id)
    .limit(bindparam("most"))
)


def refuse_to_give_key(reader: Reader, customer_id: str) -> None:
    """Raise ConflictError ``wallet.export_waits`` (data: the orders) while a token is on its way into the
    account that is not paid for yet, or on its way back.

    Whoever had the key could move it away, and keep it for nothing.
    """
    rows = reader.rows(_WAITING, {"customer_id": customer_id, "most": _MOST_NAMED})
    if rows:
        raise ConflictError(
            "wallet.export_waits",
            "A token of the account is on its way, and not paid for or to be given back.",
            data={"order_ids": [row.order_id for row in rows]},
        )
