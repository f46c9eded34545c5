"""How Stripe counts a currency. Its table is not ISO 4217, so amounts are converted at the adapter only.

Source: Stripe documentation, "Supported currencies", zero-decimal, three-decimal and special cases (read in
November 2026). An amount that Stripe cannot express is refused before anything is sent.
"""

from __future__ import annotations

from gateway.kernel.money import Money, exponent

_ZERO_DECIMAL = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"],
)
"""MGA has two decimals in ISO 4217; Stripe takes whole ariary."""
_WRITTEN_WITH_00 = frozenset({"ISK", "UGX"})
"""No decimals since ISO 4217 dropped them; Stripe still wants two, which must be 00."""
_LAST_DIGIT_ZERO = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
"""Three decimals, of which the last must be 0."""
_WHOLE_IN_PAYOUTS = frozenset({"HUF", "TWD"})
"""Two decimals when charged, which must be 00 when paid out."""
_NOT_TAKEN = frozenset({"CLF", "IQD", "IRR", "KPW", "LYD", "SDG", "SSP", "SYP", "UYI", "UYW"})


class NotRepresentableError(ValueError):
    """Stripe has no way to say this amount. Nothing was sent."""


def provider_exponent(currency: str) -> int:
    """Return the decimals that Stripe counts."""
    if currency in _NOT_TAKEN:
        raise NotRepresentableError(f"{currency} is not taken")
    if currency in _ZERO_DECIMAL:
        return 0
    return 2 if currency in _WRITTEN_WITH_00 else exponent(currency)


def to_provider(amount: Money, *, payout: bool = False) -> int:
    """Return Stripe's amount. Raises NotRepresentableError where it has no such amount."""
    currency = amount.currency
    units = _shifted(amount.amount_minor, exponent(currency), provider_exponent(currency), currency)
    if currency in _LAST_DIGIT_ZERO and units % 10:
        raise NotRepresentableError(f"{amount} has more digits than the provider takes")
    if payout and currency in _WHOLE_IN_PAYOUTS and units % 100:
        raise NotRepresentableError(f"{amount} has more digits than the provider pays out")
    return units


def from_provider(units: int, currency: str) -> Money:
    """Return our amount of Stripe's. Raises NotRepresentableError where ours has no such amount."""
    currency = currency.upper()
    return Money(_shifted(units, provider_exponent(currency), exponent(currency), currency), currency)


def _shifted(units: int, decimals: int, wanted: int, currency: str) -> int:
    """Return the same amount counted in another number of decimals."""
    if wanted >= decimals:
        return units * int(10 ** (wanted - decimals))
    whole, rest = divmod(units, int(10 ** (decimals - wanted)))
    if rest:
        raise NotRepresentableError(f"{units} {currency} has too many digits")
    return whole
