"""The accounts of a merchant's books and the units they are kept in.

Money is kept per currency (``EUR``), goods per SKU (``sku:LAMP-1``), digital items per item number
(``token:17``). Signs: debit positive, credit negative, so income and liabilities are negative. Accounts that
begin with ``memo:`` are outside the balance sheet: they show what is owed and secured, not yet earned.
"""

from __future__ import annotations

ORDERS_DUE = "memo:orders_due"
ORDERS_DUE_CONTRA = "memo:orders_due_contra"
"""Placed orders that are neither captured nor given up."""

AUTHORIZED = "memo:authorized"
AUTHORIZED_CONTRA = "memo:authorized_contra"
"""What providers hold for us and we have neither captured nor voided."""

RECEIVABLE = "asset:receivable"
"""Owed by customers for what was delivered and could not be captured."""

DEFERRED_REVENUE = "liability:deferred_revenue"
"""Captured, not yet delivered."""

STOCK_OPENING = "equity:stock_opening"
GOODS_DELIVERED = "goods:delivered"
TOKENS_ISSUED = "tokens:issued"
TOKENS_TREASURY = "tokens:treasury"


def clearing(provider: str) -> str:
    """Captured money that the provider has not paid out yet."""
    return f"asset:clearing:{provider}"


def revenue(tax_category: str) -> str:
    """Net revenue by tax category."""
    return f"income:revenue:{tax_category}"


def vat_payable(country: str, basis_points: int) -> str:
    """Value added tax owed to a country, by rate."""
    return f"liability:vat:{country}:{basis_points}"


def stock_available(location: str) -> str:
    """Goods that can be sold from a location."""
    return f"stock:available:{location}"


def stock_reserved(location: str) -> str:
    """Goods promised to orders."""
    return f"stock:reserved:{location}"


def tokens_held(customer_id: str) -> str:
    """Digital items in a customer's wallet."""
    return f"tokens:customer:{customer_id}"
