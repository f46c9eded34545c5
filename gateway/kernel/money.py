"""Money: an integer of minor units with its currency. There are no floats anywhere near it.

Exponents are those of ISO 4217; the table is `gateway.kernel.currencies`. Providers count some
currencies differently; that is a matter of their adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gateway.kernel.currencies import EXPONENTS
from gateway.kernel.errors import InvalidError

MAX_AMOUNT_MINOR = 2**53 - 1
"""Largest amount on the wire: every JSON number of an engine is a double."""


def exponent(currency: str) -> int:
    """Return the number of decimals of an ISO 4217 currency code (upper case)."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise InvalidError("currency.unknown", f"{currency[:8]!r} is not an ISO 4217 currency code") from None


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount in minor units (cents, yen, fils) of one currency. May be negative in the ledger."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount_minor) is not int:
            raise TypeError("amount_minor must be an int")
        exponent(self.currency)

    def __add__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.amount_minor - other.amount_minor, self.currency)

    def __mul__(self, quantity: int) -> Money:
        if type(quantity) is not int:
            raise TypeError("money is multiplied by whole quantities; use a rounding rule for rates")
        return Money(self.amount_minor * quantity, self.currency)

    def __lt__(self, other: Money) -> bool:
        self._same_currency(other)
        return self.amount_minor < other.amount_minor

    def __le__(self, other: Money) -> bool:
        self._same_currency(other)
        return self.amount_minor <= other.amount_minor

    def __bool__(self) -> bool:
        return self.amount_minor != 0

    def __str__(self) -> str:
        return f"{self.decimal} {self.currency}"

    @property
    def decimal(self) -> str:
        """The amount with its decimals and a point: ``12.90``, ``1500`` for JPY, ``1.250`` for KWD."""
        digits = exponent(self.currency)
        sign = "-" if self.amount_minor < 0 else ""
        whole, part = divmod(abs(self.amount_minor), 10**digits)
        return f"{sign}{whole}" if digits == 0 else f"{sign}{whole}.{part:0{digits}d}"

    @classmethod
    def parse(cls, decimal: str, currency: str) -> Money:
        """Return the amount written with at most the currency's decimals, as in product files.

        Raises InvalidError for more decimals, exponents, signs, more than 20 characters or anything that
        is not a number.
        """
        digits = exponent(currency)
        whole, _, part = decimal.partition(".")
        # isdigit alone would let other scripts' digits and superscripts through.
        well_formed = decimal.isascii() and whole.isdigit() and (not part or part.isdigit())
        if not well_formed or len(part) > digits or decimal.endswith(".") or len(decimal) > 20:
            raise InvalidError(
                "money.malformed", f"{decimal[:32]!r} is not an amount in {currency} ({digits} decimals)"
            )
        return cls(int(whole) * 10**digits + int((part or "0").ljust(digits, "0") or "0"), currency)

    def allocate(self, weights: Sequence[int]) -> list[Money]:
        """Split into parts in proportion to ``weights`` that sum to the whole exactly.

        Largest remainder: every part is rounded down, then the units left over go to the parts with the
        largest fractions, the earlier one first on a tie. Zero weights get nothing.
        """
        return [Money(part, self.currency) for part in allocate(self.amount_minor, weights)]

    def _same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise InvalidError("currency.mismatch", f"cannot combine {self.currency} with {other.currency}")


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Largest-remainder split of an integer; see `Money.allocate`. Weights are non-negative integers."""
    if any(type(number) is not int for number in (total, *weights)):
        raise TypeError("amounts and weights are whole numbers")
    weight_sum = sum(weights)
    if weight_sum <= 0 or any(weight < 0 for weight in weights):
        raise InvalidError("money.allocation", "an amount needs at least one positive weight")
    if total < 0:
        return [-part for part in allocate(-total, weights)]
    parts = [total * weight // weight_sum for weight in weights]
    left = total - sum(parts)
    by_remainder = sorted(
        range(len(weights)), key=lambda index: (-(total * weights[index] % weight_sum), index)
    )
    for index in by_remainder[:left]:
        parts[index] += 1
    return parts


def round_half_up(value: Fraction) -> int:
    """Round to the nearest integer, halves away from zero (EN 16931 style, for tax)."""
    if not isinstance(value, Fraction | int):
        raise TypeError("a float has lost the exact value already")
    sign = -1 if value < 0 else 1
    return sign * int(abs(value) + Fraction(1, 2))
