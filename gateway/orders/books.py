"""What each fact of a purchase means in the books. One function per fact, entries that sum to zero."""

from __future__ import annotations

from gateway.kernel.money import Money
from gateway.ledger import accounts
from gateway.ledger.posting import Entry, move, post
from gateway.orders.purchase import Leg, Purchase


def post_authorized(purchase: Purchase, amount: Money) -> None:
    """The provider holds the amount for us."""
    _post(
        purchase,
        "payment.authorized",
        move(
            amount.currency,
            amount.amount_minor,
            debit=accounts.AUTHORIZED,
            credit=accounts.AUTHORIZED_CONTRA,
        ),
    )


def post_captured(purchase: Purchase, leg: Leg, provider: str) -> None:
    """The leg's share is ours: out of the memo accounts, into clearing; earned, because it was delivered."""
    currency, gross = leg.currency, leg.amount_minor
    _post(
        purchase,
        "payment.captured",
        (
            *_secured_no_more(leg.amount),
            *move(currency, gross, debit=accounts.clearing(provider), credit=accounts.DEFERRED_REVENUE),
        ),
    )
    _post(purchase, "leg.delivered", _earned(leg))


def post_delivered_unpaid(purchase: Purchase, leg: Leg) -> None:
    """Goods left and their capture failed: the customer owes them, and revenue and tax stand."""
    currency, gross = leg.currency, leg.amount_minor
    _post(
        purchase,
        "leg.delivered_unpaid",
        (
            *move(currency, gross, debit=accounts.RECEIVABLE, credit=accounts.DEFERRED_REVENUE),
            *_earned(leg),
        ),
    )


def post_voided(purchase: Purchase, amount: Money) -> None:
    """The provider holds this amount no longer, and it is no longer owed."""
    _post(purchase, "payment.voided", _secured_no_more(amount))


def post_given_up(purchase: Purchase) -> None:
    """An order that was never authorized is no longer owed."""
    _post(
        purchase,
        "order.canceled",
        move(
            purchase.currency,
            purchase.total.amount_minor,
            debit=accounts.ORDERS_DUE_CONTRA,
            credit=accounts.ORDERS_DUE,
        ),
    )


def post_refunded(purchase: Purchase, leg: Leg, provider: str) -> None:
    """The leg's share went back: revenue and tax are reversed."""
    currency, gross = leg.currency, leg.amount_minor
    _post(
        purchase,
        "payment.refunded",
        (
            *(Entry(entry.account, entry.unit, -entry.amount) for entry in _earned(leg)),
            *move(currency, gross, debit=accounts.DEFERRED_REVENUE, credit=accounts.clearing(provider)),
        ),
    )


def post_dispatched(purchase: Purchase, leg: Leg) -> None:
    """Goods left the location."""
    assert leg.location_code is not None
    _post(
        purchase,
        "shipment.dispatched",
        move(
            f"sku:{leg.sku}",
            leg.quantity,
            debit=accounts.GOODS_DELIVERED,
            credit=accounts.stock_reserved(leg.location_code),
        ),
    )


def post_unreserved(purchase: Purchase, leg: Leg) -> None:
    """Goods that were promised can be sold again."""
    if leg.location_code is None:
        return
    _post(
        purchase,
        "stock.released",
        move(
            f"sku:{leg.sku}",
            leg.quantity,
            debit=accounts.stock_available(leg.location_code),
            credit=accounts.stock_reserved(leg.location_code),
        ),
    )


def post_minted(purchase: Purchase, leg: Leg) -> None:
    """A digital item is in the customer's wallet."""
    _post(
        purchase,
        "token.minted",
        move(
            f"token:{leg.item_number}",
            leg.quantity,
            debit=accounts.tokens_held(purchase.customer_id),
            credit=accounts.TOKENS_ISSUED,
        ),
    )


def post_token_returned(purchase: Purchase, leg: Leg) -> None:
    """A digital item went back to the treasury."""
    _post(
        purchase,
        "token.returned",
        move(
            f"token:{leg.item_number}",
            leg.quantity,
            debit=accounts.TOKENS_TREASURY,
            credit=accounts.tokens_held(purchase.customer_id),
        ),
    )


def _earned(leg: Leg) -> tuple[Entry, ...]:
    """Deferred revenue becomes revenue and the tax in it becomes owed (L7)."""
    currency, gross, tax = leg.currency, leg.amount_minor, leg.tax_minor
    return (
        Entry(accounts.DEFERRED_REVENUE, currency, gross),
        Entry(accounts.revenue(leg.tax_category), currency, tax - gross),
        Entry(accounts.vat_payable(leg.tax_country, leg.tax_rate_bps), currency, -tax),
    )


def _secured_no_more(amount: Money) -> tuple[Entry, ...]:
    return (
        *move(
            amount.currency,
            amount.amount_minor,
            debit=accounts.AUTHORIZED_CONTRA,
            credit=accounts.AUTHORIZED,
        ),
        *move(
            amount.currency,
            amount.amount_minor,
            debit=accounts.ORDERS_DUE_CONTRA,
            credit=accounts.ORDERS_DUE,
        ),
    )


def _post(purchase: Purchase, kind: str, entries: tuple[Entry, ...]) -> None:
    post(purchase.uow, kind, purchase.merchant_id, purchase.order_id, entries)
