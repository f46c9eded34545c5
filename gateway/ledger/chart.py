"""The chart of accounts: what each account means, its normal side, and what it may not do.

An account's name is words joined by colons. The chart knows it by its beginning; what follows (a provider, an
order, a drawer, a tax category) tells accounts of one kind apart. Currencies are not part of the name: an
account has a balance per unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from gateway.kernel.errors import InvalidError


class Side(StrEnum):
    """Where an account's balance normally is."""

    DEBIT = "debit"
    CREDIT = "credit"
    EITHER = "either"

    @property
    def sign(self) -> int:
        """1 or -1: what an amount (debit positive) is multiplied with to count on this side."""
        return -1 if self is Side.CREDIT else 1


class Statement(StrEnum):
    """Where an account is reported."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    INCOME = "income"
    EXPENSE = "expense"
    QUANTITY = "quantity"
    """Goods and digital items: counted, not valued."""
    MEMO = "memo"


BALANCE_SHEET = frozenset({Statement.ASSET, Statement.LIABILITY, Statement.EQUITY})


@dataclass(frozen=True, slots=True)
class AccountKind:
    """One line of the chart. ``name`` ends with a colon when more words must follow."""

    name: str
    statement: Statement
    side: Side
    meaning: str
    limited: bool = False
    """Its balance may not leave its normal side (debits must not exceed credits, or the other way round).
    The limit is held in the same transaction as the entry, see `gateway.ledger.limits`."""


_A, _L, _Q, _X = Statement.ASSET, Statement.LIABILITY, Statement.QUANTITY, Statement.EXPENSE
_DEBIT, _CREDIT, _EITHER = Side.DEBIT, Side.CREDIT, Side.EITHER

CHART: tuple[AccountKind, ...] = (
    # Assets
    AccountKind("asset:receivable:", _A, _DEBIT, "owed by an order's customer: delivered, not paid"),
    AccountKind("asset:receivable", _A, _DEBIT, "the same over all orders; nothing is posted here any more"),
    AccountKind(
        "asset:clearing:", _A, _EITHER, "captured by a provider, not yet paid out; pending: authorized"
    ),
    AccountKind("asset:reserve:", _A, _DEBIT, "kept back by a provider as its security"),
    AccountKind("asset:bank:", _A, _EITHER, "a bank account"),
    AccountKind("asset:cash:", _A, _DEBIT, "notes and coins in a drawer", limited=True),
    AccountKind("asset:suspense", _A, _EITHER, "money whose reason is not known yet; a person clears it"),
    AccountKind("asset:fx_clearing", _A, _EITHER, "between the two legs of a currency exchange"),
    # Liabilities
    AccountKind("liability:deferred_revenue", _L, _CREDIT, "paid, not delivered; pending: authorized"),
    AccountKind("liability:refunds_payable", _L, _CREDIT, "refunds that are decided and not yet paid"),
    AccountKind("liability:vat:", _L, _CREDIT, "value added tax owed, by country and rate in basis points"),
    AccountKind(
        "liability:vouchers:multi_purpose",
        _L,
        _CREDIT,
        "gift cards and stored value whose tax is only known when they are spent",
        limited=True,
    ),
    AccountKind(
        "liability:vouchers:single_purpose",
        _L,
        _CREDIT,
        "vouchers whose tax is known and owed when they are sold",
        limited=True,
    ),
    AccountKind("liability:royalties:", _L, _CREDIT, "owed to the creators of digital goods"),
    # Equity
    AccountKind(
        "equity:stock_opening", Statement.EQUITY, _CREDIT, "where the first count of stock comes from"
    ),
    # Income and expenses
    AccountKind("income:revenue:", Statement.INCOME, _CREDIT, "delivered, net of tax, by tax category"),
    AccountKind("expense:card_fees:", _X, _DEBIT, "a provider's own fees"),
    AccountKind("expense:scheme_fees:", _X, _DEBIT, "fees of card schemes and issuers"),
    AccountKind("expense:chargebacks", _X, _DEBIT, "payments taken back by customers' banks"),
    AccountKind("expense:cash_variance", _X, _EITHER, "a drawer's count against its books"),
    AccountKind("expense:rounding", _X, _EITHER, "cash rounding"),
    AccountKind("expense:goodwill", _X, _DEBIT, "paid out to customers although nothing was owed"),
    AccountKind("expense:royalties", _X, _DEBIT, "royalties on digital goods"),
    # Quantities: goods per SKU, digital items per item number
    AccountKind("stock:available:", _Q, _DEBIT, "goods of a location that can be sold", limited=True),
    AccountKind("stock:reserved:", _Q, _DEBIT, "goods of a location that are promised to orders"),
    AccountKind("goods:delivered", _Q, _DEBIT, "goods that left"),
    AccountKind("tokens:issued", _Q, _CREDIT, "digital items that were made"),
    AccountKind("tokens:treasury", _Q, _DEBIT, "digital items that came back"),
    AccountKind("tokens:customer:", _Q, _DEBIT, "digital items in a customer's wallet"),
    # Of early versions; nothing is posted here any more
    AccountKind(
        "memo:", Statement.MEMO, _EITHER, "what was owed and secured, before amounts could be pending"
    ),
)
_EXACT = {kind.name: kind for kind in CHART if not kind.name.endswith(":")}
_BEGINNINGS = tuple(kind for kind in CHART if kind.name.endswith(":"))
_LIMITED = tuple(kind.name for kind in CHART if kind.limited)


@lru_cache(maxsize=4096)
def kind_of(account: str) -> AccountKind:
    """Return the chart's line of an account; raises InvalidError ``ledger.account_unknown``."""
    found = _EXACT.get(account)
    if found is None:
        for kind in _BEGINNINGS:
            if account.startswith(kind.name) and len(account) > len(kind.name):
                return kind
        raise InvalidError("ledger.account_unknown", f"{account[:80]!r} is not in the chart of accounts")
    return found


def is_limited(account: str) -> bool:
    """Whether the account's balance may not leave its normal side."""
    return account.startswith(_LIMITED)


def is_money(unit: str) -> bool:
    """Whether a unit is a currency rather than goods or digital items."""
    return ":" not in unit
