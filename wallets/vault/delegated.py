"""Cards that an agent delegated for one checkout session: only their own tokens pay with them.

Whoever else may grant allowances on methods may not on these, and no money is sent to them: the holder of
the card agreed to one amount, merchant and session, and to nothing else.
"""

from __future__ import annotations

from sqlalchemy import bindparam, select, update

from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.vault.tables import delegated_token

CUSTOMER_PREFIX = "acp_"
"""Of customers that are nothing but an agent, a merchant and a session."""
TOKEN_PREFIX = "vt_"  # noqa: S105 - no password, what the ids of these allowances begin with

INSERT = insert_new(delegated_token)
_FITS = Statement(
    select(delegated_token.c.allowance_id).where(
        delegated_token.c.allowance_id == bindparam("allowance_id"),
        delegated_token.c.payment_method_id == bindparam("payment_method_id"),
        # Zero where the session had ended before the token was made: there is no allowance behind it.
        delegated_token.c.forget_at_ms > 0,
    )
)
_END = Statement(
    update(delegated_token)
    .where(
        delegated_token.c.allowance_id == bindparam("allowance_id_"),
        delegated_token.c.forget_at_ms > bindparam("ends_at_ms"),
    )
    .values(forget_at_ms=bindparam("ends_at_ms"))
)


def is_delegated(customer_id: str) -> bool:
    return customer_id.startswith(CUSTOMER_PREFIX)


def fits(reader: Reader, allowance_id: str, payment_method_id: str) -> bool:
    """Whether the allowance is a token of this delegated card."""
    token = {"allowance_id": allowance_id, "payment_method_id": payment_method_id}
    return reader.row(_FITS, token) is not None


def end(uow: UnitOfWork, allowance_id: str, ends_at_ms: int) -> None:
    """Let the card behind a token be forgotten at this time, if that is sooner. Other allowances are left."""
    if allowance_id.startswith(TOKEN_PREFIX):
        uow.run(_END, {"allowance_id_": allowance_id, "ends_at_ms": ends_at_ms})
