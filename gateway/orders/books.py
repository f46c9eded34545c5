"""What each fact of a purchase means in the books. One function per fact, entries that sum to zero."""

from __future__ import annotations

from gateway.kernel.money import Money
from gateway.ledger import accounts, pending
from gateway.ledger.cash import cash_given, cash_taken
from gateway.ledger.entries import Entry, move
from gateway.ledger.limits import room
from gateway.ledger.posting import post
from gateway.orders.purchase import Leg, Purchase
from gateway.payments.refunds_model import tax_share
from wallets.vault.providers.cash_rounding import cash_amount


def post_authorized(purchase: Purchase, amount: Money, provider: str, authorization_id: str) -> None:
    """The provider holds the amount for us: pending on its way to be paid, and to be earned.

    Called again for one authorization it raises what is held (an increment).
    """
    pending.reserve(
        purchase.uow,
        "payment.authorized",
        purchase.merchant_id,
        purchase.order_id,
        authorization_id,
        unit=amount.currency,
        amount=amount.amount_minor,
        debit=_paid_from(purchase, provider, amount),
        credit=accounts.DEFERRED_REVENUE,
    )


def post_captured(purchase: Purchase, amount: Money, provider: str, authorization_id: str | None) -> None:
    """The amount is ours, not yet earned. It is posted out of what was held; the rest stays held.

    What goes beyond that (a provider that allows it, money that was never held) is posted in one step.
    """
    uow, captured = purchase.uow, amount.amount_minor
    held = None if authorization_id is None else pending.reservation(uow, authorization_id)
    if held is not None and held.left:
        part = min(captured, held.left)
        pending.post_pending(uow, "payment.captured", held.pending_id, part, keep_rest=True, known=held)
        captured -= part
    if captured:
        paid_from = _paid_from(purchase, provider, Money(captured, amount.currency))
        _post(
            purchase,
            "payment.captured",
            move(amount.currency, captured, debit=paid_from, credit=accounts.DEFERRED_REVENUE),
        )


def post_delivered(purchase: Purchase, leg: Leg, before_minor: int = 0) -> None:
    """What was paid is earned, because it was delivered: shipped, picked up, minted or granted (L7).

    ``before_minor`` of the share had gone back before, and is not earned.
    """
    _post(purchase, "leg.delivered", _earned(leg, before_minor))


def post_delivered_unpaid(purchase: Purchase, leg: Leg) -> None:
    """Goods left and their capture failed: the customer owes them, and revenue and tax stand."""
    _post(
        purchase,
        "leg.delivered_unpaid",
        (
            *move(
                leg.currency,
                leg.amount_minor,
                debit=accounts.receivable(purchase.order_id),
                credit=accounts.DEFERRED_REVENUE,
            ),
            *_earned(leg),
        ),
    )


def post_receivable_paid(purchase: Purchase, amount: Money, provider: str) -> None:
    """The customer has paid what was delivered before."""
    _post(
        purchase,
        "receivable.paid",
        move(
            amount.currency,
            amount.amount_minor,
            debit=funds(provider),
            credit=accounts.receivable(purchase.order_id),
        ),
    )


def post_voided(purchase: Purchase, amount: Money, authorization_id: str) -> None:
    """The provider holds this amount no longer."""
    held = pending.reservation(purchase.uow, authorization_id)
    if held is not None and held.left:
        pending.void_pending(
            purchase.uow, "payment.voided", authorization_id, min(amount.amount_minor, held.left)
        )


def post_expired(purchase: Purchase, authorization_id: str) -> None:
    """The provider's hold has run out by itself."""
    held = pending.reservation(purchase.uow, authorization_id)
    if held is not None and held.left:
        pending.expire_pending(purchase.uow, "payment.expired", authorization_id)


def post_refunded(purchase: Purchase, leg: Leg, provider: str) -> None:
    """The leg's share went back the way it came: revenue and tax are reversed."""
    _post(
        purchase,
        "payment.refunded",
        (
            *_unearned(leg),
            *move(leg.currency, leg.amount_minor, debit=accounts.DEFERRED_REVENUE, credit=funds(provider)),
        ),
    )


def post_part_refunded(
    purchase: Purchase, leg: Leg, amount: Money, before_minor: int, account: str, *, owed: bool = False
) -> None:
    """A part of the leg's share went back; ``before_minor`` of it had gone back before.

    Revenue and tax are reversed in proportion, so that all parts together reverse all of them. It goes out of
    ``account`` (`paid_into`); ``owed``: it is paid another way than it came, and is owed until that is done.
    """
    gross = amount.amount_minor
    tax = tax_share(leg.tax_minor, leg.amount_minor, before_minor, gross)
    currency = leg.currency
    _post(
        purchase,
        "refund.owed" if owed else "payment.refunded",
        (
            Entry(accounts.DEFERRED_REVENUE, currency, -gross),
            Entry(accounts.revenue(leg.tax_category), currency, gross - tax),
            Entry(accounts.vat_payable(leg.tax_country, leg.tax_rate_bps), currency, tax),
            *move(
                currency,
                gross,
                debit=accounts.DEFERRED_REVENUE,
                credit=accounts.REFUNDS_PAYABLE if owed else account,
            ),
        ),
    )


def paid_into(purchase: Purchase, authorization_id: str | None, provider: str) -> str:
    """Return the account that captures of an authorization came into, where their refunds go out of.

    An order may have been paid by several providers, one after another, so its present one says nothing.
    ``provider`` is whose account it is where nothing was reserved for the authorization.
    """
    held = None if authorization_id is None else pending.reservation(purchase.uow, authorization_id)
    return funds(provider) if held is None else held.debit


def post_goodwill(purchase: Purchase, amount: Money, provider: str) -> None:
    """Money was sent to the customer although nothing was owed."""
    _post(
        purchase,
        "payout.sent",
        move(amount.currency, amount.amount_minor, debit=accounts.GOODWILL, credit=funds(provider)),
    )


def post_undelivered_refunded(purchase: Purchase, amount: Money, account: str, *, owed: bool = False) -> None:
    """Money that was captured and not yet earned went back, out of ``account`` (`paid_into`).

    ``owed``: it is paid another way than it came, and is owed until that is done.
    """
    _post(
        purchase,
        "refund.owed" if owed else "payment.refunded",
        move(
            amount.currency,
            amount.amount_minor,
            debit=accounts.DEFERRED_REVENUE,
            credit=accounts.REFUNDS_PAYABLE if owed else account,
        ),
    )


def post_refund_owed(purchase: Purchase, leg: Leg) -> None:
    """The leg's share is owed back and will be paid another way: revenue and tax are reversed."""
    _post(
        purchase,
        "refund.owed",
        (
            *_unearned(leg),
            *move(
                leg.currency,
                leg.amount_minor,
                debit=accounts.DEFERRED_REVENUE,
                credit=accounts.REFUNDS_PAYABLE,
            ),
        ),
    )


def post_paid_out(purchase: Purchase, amount: Money, provider: str) -> None:
    """What was owed back has been paid, by whichever way."""
    _post(
        purchase,
        "refund.paid_out",
        move(amount.currency, amount.amount_minor, debit=accounts.REFUNDS_PAYABLE, credit=funds(provider)),
    )


def post_cash_taken(
    purchase: Purchase, due: Money, tendered: Money, *, country: str | None, drawer: str
) -> Money:
    """Cash was handed over for an amount that is due; returns the change.

    Tender, change and rounding are lines of their own. Raises InvalidError ``cash.not_enough``.
    """
    total = cash_amount(due, country)
    _post(
        purchase,
        "cash.taken",
        cash_taken(due, total, tendered, drawer=drawer, credit=accounts.DEFERRED_REVENUE),
    )
    return tendered - total


def post_cash_given(purchase: Purchase, due: Money, *, country: str | None, drawer: str) -> Money:
    """Cash was given back for what is owed back; returns how much, after rounding."""
    total = cash_amount(due, country)
    _post(purchase, "cash.given", cash_given(due, total, drawer=drawer, debit=accounts.REFUNDS_PAYABLE))
    return total


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


def post_restocked(purchase: Purchase, leg: Leg) -> None:
    """Goods that had left are back where they were and can be sold again."""
    assert leg.location_code is not None
    _post(
        purchase,
        "stock.returned",
        move(
            f"sku:{leg.sku}",
            leg.quantity,
            debit=accounts.stock_available(leg.location_code),
            credit=accounts.GOODS_DELIVERED,
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


def post_token_lost(purchase: Purchase, leg: Leg) -> None:
    """A digital item that was in the customer's wallet was never issued after all."""
    _post(
        purchase,
        "token.lost",
        move(
            f"token:{leg.item_number}",
            leg.quantity,
            debit=accounts.TOKENS_ISSUED,
            credit=accounts.tokens_held(purchase.customer_id),
        ),
    )


def _earned(leg: Leg, before_minor: int = 0) -> tuple[Entry, ...]:
    """Deferred revenue becomes revenue and the tax in it becomes owed (L7)."""
    currency, gross, tax = leg.currency, leg.amount_minor, leg.tax_minor
    if before_minor:
        # As the parts of a refund share the tax, so that later ones reverse what is left of it exactly.
        tax -= tax_share(tax, gross, 0, before_minor)
        gross -= before_minor
    return (
        Entry(accounts.DEFERRED_REVENUE, currency, gross),
        Entry(accounts.revenue(leg.tax_category), currency, tax - gross),
        Entry(accounts.vat_payable(leg.tax_country, leg.tax_rate_bps), currency, -tax),
    )


def _unearned(leg: Leg) -> tuple[Entry, ...]:
    return tuple(Entry(entry.account, entry.unit, -entry.amount) for entry in _earned(leg))


def _paid_from(purchase: Purchase, provider: str, amount: Money) -> str:
    """Return the account that is debited. A voucher whose sale is not in these books is not owed in them."""
    account = funds(provider)
    if account == accounts.VOUCHERS_MULTI_PURPOSE:
        sold = room(purchase.uow, purchase.merchant_id, account, amount.currency)
        return account if sold >= amount.amount_minor else accounts.clearing(provider)
    return account


def funds(provider: str) -> str:
    """Return the account that a provider's payments come from and refunds go to.

    Stored value (``voucher``) is owed to the customer until it is spent; cash is in a drawer (``cash:1``);
    any other provider pays out later what it has captured. Cash that no drawer has counted yet (``cash``) is
    in clearing like that.
    """
    if provider == "voucher":
        return accounts.VOUCHERS_MULTI_PURPOSE
    if provider.startswith("cash:"):
        return accounts.cash(provider.removeprefix("cash:"))
    return accounts.clearing(provider)


def _post(purchase: Purchase, kind: str, entries: tuple[Entry, ...]) -> None:
    post(purchase.uow, kind, purchase.merchant_id, purchase.order_id, entries)
