"""Where the smallest coins are not used: what a cash amount is rounded to, as dated data.

Only what is handed over in cash is rounded, never the price and never another way to pay. The difference is a
line of its own in the books.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.kernel.money import Money


@dataclass(frozen=True, slots=True)
class CashRule:
    """In ``country``, cash in ``currency`` is rounded to multiples of ``step_minor``; a half goes up."""

    country: str
    currency: str
    step_minor: int
    since: str
    source: str


RULES = (
    CashRule("CH", "CHF", 5, "1948-01-01", "WZG SR 941.10: five centimes is the smallest coin"),
    CashRule("LI", "CHF", 5, "1948-01-01", "currency treaty with Switzerland"),
    CashRule("NL", "EUR", 5, "2004-09-01", "De Nederlandsche Bank, afronden"),
    CashRule("BE", "EUR", 5, "2019-12-01", "Code of economic law, book VI, art. VI.7/2"),
    CashRule("FI", "EUR", 5, "2002-01-01", "Act on rounding 890/2000"),
    CashRule("IE", "EUR", 5, "2015-10-28", "Central Bank of Ireland, rounding"),
    CashRule("SK", "EUR", 5, "2022-07-01", "Act 18/1996 on prices, par. 3a"),
    CashRule("EE", "EUR", 5, "2025-01-01", "Law of obligations act, rounding of cash"),
    CashRule("LT", "EUR", 5, "2025-05-01", "Law on rounding of cash payments"),
    CashRule("SE", "SEK", 100, "2010-10-01", "Act 1970:1029 on rounding"),
    CashRule("NO", "NOK", 100, "2012-05-01", "Norges Bank: one krone is the smallest coin"),
    CashRule("DK", "DKK", 50, "2008-10-01", "Act on coins: fifty øre is the smallest coin"),
    CashRule("CZ", "CZK", 100, "2008-09-01", "Act 526/1990 on prices"),
    CashRule("HU", "HUF", 500, "2008-03-01", "Act III of 2008"),
    CashRule("CA", "CAD", 5, "2013-02-04", "Currency act, end of the penny"),
    CashRule("AU", "AUD", 5, "1992-02-01", "Currency act, end of one and two cents"),
)

_BY_PLACE = {(rule.country, rule.currency): rule for rule in RULES}


def cash_amount(amount: Money, country: str | None) -> Money:
    """Return what is handed over in cash for an amount; the amount itself where nothing is rounded."""
    rule = _BY_PLACE.get((country or "", amount.currency))
    if rule is None:
        return amount
    steps = (2 * amount.amount_minor + rule.step_minor) // (2 * rule.step_minor)
    return Money(steps * rule.step_minor, amount.currency)
