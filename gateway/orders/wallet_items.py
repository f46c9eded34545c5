"""A customer's digital items as their wallet shows them: what they own, and what is on its way. Reading only.

A token is listed from the moment it is ordered; one that never came is not. An entitlement is a leg until it
is granted, and a row of its own from then on. ``acquired_at`` is when a token was minted or an entitlement
granted, and until then when it was ordered; worlds are told the same (`gateway.orders.ownership`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, bindparam, func, or_, select

from gateway.kernel.clock import rfc3339
from gateway.kernel.documents import decode
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from gateway.orders.model import LegKind, LegState
from gateway.orders.tables import entitlement, leg, order
from wallets.custody.accounts import account_of
from wallets.custody.linking import LinkedWallet, linked_wallets
from wallets.minting.model import Receiver
from wallets.minting.tables import mint

OWNERSHIP = {
    LegState.RESERVED: "reserved",
    LegState.SECURED: "on_its_way",
    LegState.STARTED: "on_its_way",
    LegState.PAID: "on_its_way",
    LegState.UNDELIVERED: "undelivered",
    LegState.FULFILLED: "owned",
    LegState.CAPTURED: "owned",
    LegState.CAPTURE_FAILED: "returning",
    LegState.RETURNING: "returning",
    LegState.RETURNED: "returned",
}
"""What a digital leg's state means to whoever looks into the wallet. Legs in other states are not listed."""
_GRANTED = {"granted": "owned", "revoked": "returned"}
_COMING = [
    LegState.RESERVED.value,
    LegState.SECURED.value,
    LegState.STARTED.value,
    LegState.PAID.value,
    LegState.UNDELIVERED.value,
]
_LAST_LEG = "leg_~"
"""Sorts behind every id of a leg."""
_leg = [
    leg.c.leg_id,
    leg.c.order_id,
    leg.c.sku,
    leg.c.quantity,
    leg.c.state,
    order.c.merchant_id,
    order.c.merchant_slug,
    order.c.created_at_ms,
]
_tokens = (
    select(
        *_leg,
        leg.c.token,
        leg.c.item_number,
        leg.c.wallet_id,
        mint.c.receiver,
        mint.c.minted_at_ms,
        func.coalesce(leg.c.recipient, mint.c.recipient).label("recipient"),
    )
    .select_from(
        leg.join(order, order.c.order_id == leg.c.order_id).outerjoin(mint, mint.c.leg_id == leg.c.leg_id)
    )
    .where(
        order.c.customer_id == bindparam("customer_id"),
        leg.c.kind == LegKind.MINT.value,
        leg.c.state.in_([state.value for state in OWNERSHIP]),
        or_(leg.c.token.is_not(None), leg.c.state.in_(_COMING)),
    )
)
_coming = (
    select(*_leg)
    .select_from(leg.join(order, order.c.order_id == leg.c.order_id))
    .where(
        order.c.customer_id == bindparam("customer_id"),
        leg.c.kind == LegKind.ENTITLE.value,
        leg.c.state.in_(_COMING),
    )
)
_granted = (
    select(
        entitlement.c.leg_id,
        entitlement.c.order_id,
        entitlement.c.sku,
        entitlement.c.quantity,
        entitlement.c.state,
        entitlement.c.granted_at_ms,
        order.c.merchant_id,
        order.c.merchant_slug,
    )
    .select_from(entitlement.join(order, order.c.order_id == entitlement.c.order_id))
    .where(entitlement.c.customer_id == bindparam("customer_id"))
)


def _page(query: Select[Any], leg_id: Any) -> Statement:
    return Statement(
        query.where(leg_id < bindparam("before")).order_by(leg_id.desc()).limit(bindparam("most"))
    )


_TOKENS, _COMING_ENTITLEMENTS = (_page(query, leg.c.leg_id) for query in (_tokens, _coming))
_ENTITLEMENTS = _page(_granted, entitlement.c.leg_id)
_TOKEN, _COMING_ENTITLEMENT = (
    Statement(query.where(leg.c.leg_id == bindparam("leg_id"))) for query in (_tokens, _coming)
)
_ENTITLEMENT = Statement(_granted.where(entitlement.c.leg_id == bindparam("leg_id")))


def digital_items(reader: Reader, customer_id: str, *, after: str | None, limit: int) -> dict[str, Any]:
    """Return a page of the customer's items, newest first, without catalog texts: ``items`` and ``next``.

    Tokens also say their ``item_number``, and whether they are on the merchant's ``own_contract``.
    """
    where = {"customer_id": customer_id, "before": after or _LAST_LEG, "most": limit + 1}
    items = _items(
        reader,
        customer_id,
        reader.rows(_TOKENS, where),
        reader.rows(_COMING_ENTITLEMENTS, where),
        reader.rows(_ENTITLEMENTS, where),
    )
    items.sort(key=lambda item: str(item["leg_id"]), reverse=True)
    more = len(items) > limit
    return {"items": items[:limit], "next": items[limit - 1]["leg_id"] if more else None}


def digital_item(reader: Reader, customer_id: str, leg_id: str) -> dict[str, Any] | None:
    """Return one of the customer's items; None for anybody else's."""
    where = {"customer_id": customer_id, "leg_id": leg_id}
    items = _items(
        reader,
        customer_id,
        reader.rows(_TOKEN, where),
        reader.rows(_COMING_ENTITLEMENT, where),
        reader.rows(_ENTITLEMENT, where),
    )
    return items[0] if items else None


def _items(
    reader: Reader, customer_id: str, tokens: list[Any], coming: list[Any], granted: list[Any]
) -> list[dict[str, Any]]:
    account = account_of(reader, customer_id) if tokens else None
    own = None if account is None else account.address
    links = linked_wallets(reader, customer_id) if any(row.wallet_id for row in tokens) else []
    return [
        *(_token(row, own, links) for row in tokens),
        *(_item("entitlement", row, OWNERSHIP[LegState(row.state)], row.created_at_ms) for row in coming),
        *(_item("entitlement", row, _GRANTED[row.state], row.granted_at_ms) for row in granted),
    ]


def _token(row: Any, own: str | None, links: list[LinkedWallet]) -> dict[str, Any]:
    item = _item("token", row, OWNERSHIP[LegState(row.state)], row.minted_at_ms or row.created_at_ms)
    item["item_number"] = row.item_number
    item["own_contract"] = row.receiver == Receiver.OWN
    token = {} if row.token is None else decode(row.token)
    item["wallet"] = _wallet(row, own, links)
    for name in ("chain_id", "contract", "token_id", "serial", "transaction_hash"):
        item[name] = token.get(name)
    return item


def _wallet(row: Any, own: str | None, links: list[LinkedWallet]) -> dict[str, Any]:
    """Return which wallet has the token or is to: the account here, a linked one, or one outside that the
    customer has unlinked. A wallet that was linked again has another id."""
    if row.wallet_id is None:
        return {"kind": "custodial", "wallet_id": None, "address": row.recipient or own}
    link = next((one for one in links if one.address == row.recipient), None)
    return {
        "kind": "outside" if link is None else "linked",
        "wallet_id": None if link is None else link.wallet_id,
        "address": row.recipient,
    }


def _item(kind: str, row: Any, state: str, acquired_at_ms: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "order_id": row.order_id,
        "leg_id": row.leg_id,
        "merchant_id": row.merchant_id,
        "merchant": row.merchant_slug,
        "sku": row.sku,
        "quantity": row.quantity,
        "state": state,
        "acquired_at": rfc3339(acquired_at_ms),
        "wallet": None,
    }
