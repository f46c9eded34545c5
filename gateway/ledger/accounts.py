"""The names of the accounts of a merchant's books and the units they are kept in.

Money is kept per currency (``EUR``), goods per SKU (``sku:LAMP-1``), digital items per item number
(``token:17``). Signs: debit positive, credit negative, so income and liabilities are negative. What each
account means, its normal side and its limit are in `gateway.ledger.chart`.
"""

from __future__ import annotations

ORDERS_DUE = "memo:orders_due"
ORDERS_DUE_CONTRA = "memo:orders_due_contra"
AUTHORIZED = "memo:authorized"
AUTHORIZED_CONTRA = "memo:authorized_contra"
"""Of early versions, which had no pending amounts. Nothing is posted here any more."""

RECEIVABLE = "asset:receivable"
"""Owed by customers for what was delivered and could not be captured, over all orders (early versions)."""

DEFERRED_REVENUE = "liability:deferred_revenue"
"""Paid, not yet delivered. While an amount is only authorized it is pending here."""

REFUNDS_PAYABLE = "liability:refunds_payable"
VOUCHERS_MULTI_PURPOSE = "liability:vouchers:multi_purpose"
VOUCHERS_SINGLE_PURPOSE = "liability:vouchers:single_purpose"
CHARGEBACKS = "expense:chargebacks"
CASH_VARIANCE = "expense:cash_variance"
ROUNDING = "expense:rounding"
ROYALTIES = "expense:royalties"
GOODWILL = "expense:goodwill"
SUSPENSE = "asset:suspense"
FX_CLEARING = "asset:fx_clearing"

STOCK_OPENING = "equity:stock_opening"
GOODS_DELIVERED = "goods:delivered"
TOKENS_ISSUED = "tokens:issued"
TOKENS_TREASURY = "tokens:treasury"


def receivable(order_id: str) -> str:
    """Owed by the customer of one order for what was delivered and is not paid."""
    return f"asset:receivable:{order_id}"


def clearing(provider: str) -> str:
    """Captured money that the provider has not paid out yet."""
    return f"asset:clearing:{provider}"


def reserve(provider: str) -> str:
    """Money that the provider keeps back for a while as its security."""
    return f"asset:reserve:{provider}"


def bank(name: str) -> str:
    """Money on a bank account."""
    return f"asset:bank:{name}"


def cash(drawer: str) -> str:
    """Notes and coins in a drawer."""
    return f"asset:cash:{drawer}"


def card_fees(provider: str) -> str:
    """What the provider keeps for its own work."""
    return f"expense:card_fees:{provider}"


def scheme_fees(provider: str) -> str:
    """What the card schemes and issuers keep, passed on by the provider."""
    return f"expense:scheme_fees:{provider}"


def royalty_payable(creator: str) -> str:
    """Owed to the creator of digital goods."""
    return f"liability:royalties:{creator}"


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
