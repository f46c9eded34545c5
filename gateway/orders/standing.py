"""What an order tells the vault about a standing allowance it is paid with: items and session. No I/O."""

from __future__ import annotations

from dataclasses import replace

from gateway.kernel.money import Money
from gateway.orders.plan import Plan
from gateway.payments.spending import Spending
from wallets.vault.port import SpentItem


def spent_on(spending: Spending, plan: Plan, quote_id: str) -> Spending:
    """Return the spending with what is bought.

    A quote is a checkout session of its own: an allowance for one is paid with where it names the quote. In
    every other case the session is the one that the device's token was issued for.
    """
    session_id = quote_id if spending.terms.session_id == quote_id else spending.session_id
    return replace(spending, items=items_of(plan), session_id=session_id)


def items_of(plan: Plan) -> tuple[SpentItem, ...]:
    """Return every line with the price of one unit, once per tax category of its parts.

    A bundle is of each of its parts' categories, so an allowance for one category pays for it only where
    all its parts are of that one.
    """
    found = {
        (leg.line, leg.tax_category): SpentItem(
            leg.tax_category, Money(plan.lines[leg.line].unit_price_minor, plan.currency)
        )
        for leg in plan.legs
    }
    return tuple(found.values())
