"""Pay links: an order's open amount, to be paid by whoever has the address, once.

The address holds 256 random bits; only their digest is stored, so a copy of the database opens no link. The
amount is the order's and fixed when the link is made. A link says nothing about the customer.

    open -> paid | expired | revoked
"""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.errors import NotFoundError
from gateway.kernel.ids import Id
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.payments.intents import inline, sources
from gateway.payments.tables import pay_link

TOKEN_BYTES = 32
PAGE_PATH = "/pay/links/"


class PayLinkId(Id):
    prefix = "plk"


class PayLinkState(StrEnum):
    OPEN = "open"
    PAID = "paid"
    EXPIRED = "expired"
    REVOKED = "revoked"


PAY_LINK_MOVES: dict[PayLinkState, frozenset[PayLinkState]] = {
    PayLinkState.OPEN: frozenset({PayLinkState.PAID, PayLinkState.EXPIRED, PayLinkState.REVOKED}),
    # The payment was under way when the link ended; what was paid was paid through it.
    PayLinkState.EXPIRED: frozenset({PayLinkState.PAID}),
    PayLinkState.REVOKED: frozenset({PayLinkState.PAID}),
    PayLinkState.PAID: frozenset(),
}

_p = pay_link.c
_INSERT = insert_into(pay_link)
_BY_DIGEST = Statement(select(pay_link).where(_p.token_digest == bindparam("digest")))
_BY_ID = Statement(select(pay_link).where(_p.pay_link_id == bindparam("pay_link_id")))
_OF_ORDER = Statement(select(pay_link).where(_p.order_id == bindparam("order_id")).order_by(_p.pay_link_id))
_OF_MERCHANT = Statement(
    select(pay_link)
    .where(_p.merchant_id == bindparam("merchant_id"), _p.pay_link_id < bindparam("before"))
    .order_by(_p.pay_link_id.desc())
    .limit(bindparam("most"))
)
_END = {
    state: Statement(
        update(pay_link)
        .where(_p.pay_link_id == bindparam("its_id"), _p.state.in_(inline(sources(PAY_LINK_MOVES, state))))
        .values(state=state.value, operation_id=bindparam("paid_by"), ended_at_ms=bindparam("now_ms"))
    )
    for state in (PayLinkState.PAID, PayLinkState.EXPIRED, PayLinkState.REVOKED)
}
_COUNT_ENTRY = Statement(
    update(pay_link)
    .where(_p.pay_link_id == bindparam("its_id"), _p.card_entries < bindparam("most"))
    .values(card_entries=_p.card_entries + 1)
)
_EXPIRED = Statement(
    select(_p.pay_link_id)
    .where(_p.state == PayLinkState.OPEN.value, _p.expires_at_ms <= bindparam("now_ms"))
    .order_by(_p.expires_at_ms)
    .limit(bindparam("most"))
)
_LAST = "plk_~"
"""Sorts behind every id."""


def token_digest(token: str) -> str:
    """Return what is stored of a token. It is random, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """Return a token for an address; made outside of units, which may run more than once."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def add_link(
    uow: UnitOfWork,
    *,
    token: str,
    order_id: str,
    merchant_id: str,
    customer_id: str,
    amount: Money,
    created_by: str,
    expires_at_ms: int,
) -> PayLinkId:
    """Insert an open link."""
    pay_link_id = uow.new_id(PayLinkId)
    uow.run(
        _INSERT,
        {
            "pay_link_id": pay_link_id,
            "token_digest": token_digest(token),
            "order_id": order_id,
            "merchant_id": merchant_id,
            "customer_id": customer_id,
            "state": PayLinkState.OPEN.value,
            "currency": amount.currency,
            "amount_minor": amount.amount_minor,
            "created_by": created_by,
            "created_at_ms": uow.now_ms,
            "expires_at_ms": expires_at_ms,
            "ended_at_ms": None,
            "operation_id": None,
            "card_entries": 0,
        },
    )
    return pay_link_id


def count_entry(uow: UnitOfWork, pay_link_id: str) -> bool:
    """Count that somebody is about to enter a card; False once that has been too often."""
    return uow.run(_COUNT_ENTRY, {"its_id": pay_link_id, "most": MOST_ATTEMPTS}) == 1


def end_link(uow: UnitOfWork, pay_link_id: str, state: PayLinkState, operation_id: str | None = None) -> bool:
    """Move a link to its end; the answer says who won."""
    values = {"its_id": pay_link_id, "paid_by": operation_id, "now_ms": uow.now_ms}
    return uow.run(_END[state], values) == 1


def link_of_token(reader: Reader, token: str) -> Any:
    """Return the link that an address names; NotFoundError ``pay_link.not_found``."""
    row = reader.row(_BY_DIGEST, {"digest": token_digest(token)}) if len(token) <= 128 else None
    if row is None:
        raise NotFoundError("pay_link.not_found", "There is no such link.")
    return row


def merchants_link(reader: Reader, merchant_id: str, pay_link_id: str) -> Any:
    """Return the merchant's link; NotFoundError ``pay_link.not_found`` also for another merchant's."""
    row = reader.row(_BY_ID, {"pay_link_id": pay_link_id})
    if row is None or row.merchant_id != merchant_id:
        raise NotFoundError("pay_link.not_found", "There is no such link.")
    return row


def links_of_order(reader: Reader, order_id: str) -> list[Any]:
    """Return the order's links, oldest first."""
    return reader.rows(_OF_ORDER, {"order_id": order_id})


def links_of_merchant(reader: Reader, merchant_id: str, after: str | None, most: int) -> list[Any]:
    """Return a page of the merchant's links, newest first."""
    return reader.rows(_OF_MERCHANT, {"merchant_id": merchant_id, "before": after or _LAST, "most": most})


def expired_links(reader: Reader, most: int) -> list[str]:
    """Return open links whose time is over."""
    return [row.pay_link_id for row in reader.rows(_EXPIRED, {"now_ms": reader.now_ms, "most": most})]


def open_until_ms(reader: Reader, order_id: str) -> int:
    """Return until when a link to the order is open; 0 without one."""
    times = [row.expires_at_ms for row in links_of_order(reader, order_id) if row.state == PayLinkState.OPEN]
    return max(times, default=0)


def offered_until_ms(reader: Reader, order_id: str) -> int:
    """Return until when somebody was told that a link is open, whatever became of it; 0 without one."""
    return max((row.expires_at_ms for row in links_of_order(reader, order_id)), default=0)


def state_now(row: Any, now_ms: int) -> PayLinkState:
    """Return how the link stands, time taken into account."""
    state = PayLinkState(row.state)
    return PayLinkState.EXPIRED if state is PayLinkState.OPEN and row.expires_at_ms <= now_ms else state


MOST_ATTEMPTS = 10
"""And entries of a card, through one link: it is not to become a place to try stolen cards."""
_PAYER = "payer_"


def is_payer(customer_id: str) -> bool:
    """Whether the vault's customer is the payer of a link."""
    return customer_id.startswith(_PAYER)


def payer_of(pay_link_id: str, browser: str) -> str:
    """Return who pays a link from one browser, to the vault: nobody's customer, so that a card that pays for
    somebody else is never among that customer's methods.

    ``browser`` is a secret of that browser alone: whoever else has the address neither sees its cards nor
    pays with them.
    """
    return f"{_PAYER}{hashlib.sha256(f'{pay_link_id} {browser}'.encode()).hexdigest()[:40]}"
