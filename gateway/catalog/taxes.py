"""Tax rates by country, category and moment.

The rate that an order was priced with is stored on the order together with its source, so a later change
of this table changes no old order. Which country's rate applies is `TaxSettings.taxed_in`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from typing import Any

from gateway.catalog.model import PartKind
from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money, round_half_up

CATEGORIES: dict[str, frozenset[PartKind]] = {
    "goods_standard": frozenset({PartKind.PHYSICAL}),
    "goods_reduced": frozenset({PartKind.PHYSICAL}),
    "plants": frozenset({PartKind.PHYSICAL}),
    "books": frozenset({PartKind.PHYSICAL}),
    "digital_standard": frozenset({PartKind.DIGITAL}),
    "ebooks": frozenset({PartKind.DIGITAL}),
}
"""The tax categories and the kind of part each may be given to."""


@dataclass(frozen=True, slots=True)
class TaxRate:
    """A rate with the time it applies: from ``valid_from_ms``, until before ``valid_until_ms``."""

    country: str
    category: str
    basis_points: int
    valid_from_ms: int
    valid_until_ms: int | None
    source: str
    """The law that sets it."""

    def included_in(self, gross: Money) -> Money:
        """Return the tax inside an amount that includes it, rounded half up.

        Apply it to the sum of what is taxed at this rate, not line by line.
        """
        tax = Fraction(gross.amount_minor * self.basis_points, 10_000 + self.basis_points)
        return Money(round_half_up(tax), gross.currency)


class TaxTable:
    """Effective-dated rates."""

    def __init__(self, rates: Iterable[TaxRate]) -> None:
        self._rates: dict[tuple[str, str], list[TaxRate]] = {}
        for rate in rates:
            self._rates.setdefault((rate.country, rate.category), []).append(rate)
        for periods in self._rates.values():
            # Newest first: nearly every question is about now.
            periods.sort(key=lambda rate: -rate.valid_from_ms)
            for newer, older in pairwise(periods):
                if older.valid_until_ms is None or older.valid_until_ms > newer.valid_from_ms:
                    raise ValueError(f"tax rates overlap: {older} and {newer}")

    @classmethod
    def load(cls) -> TaxTable:
        """Return the table that comes with the program."""
        text = resources.files("gateway.catalog.data").joinpath("tax_rates.toml").read_text("utf-8")
        return cls(_rates(tomllib.loads(text)))

    @property
    def countries(self) -> frozenset[str]:
        """Countries with at least one rate."""
        return frozenset(country for country, _ in self._rates)

    def rate(self, country: str, category: str, at_ms: int) -> TaxRate:
        """Return the rate that applies at a moment (milliseconds since the epoch).

        Raises InvalidError ``tax.rate_unknown`` when the table has none: a price is never guessed.
        """
        for rate in self._rates.get((country, category), ()):
            if rate.valid_from_ms <= at_ms:
                if rate.valid_until_ms is None or at_ms < rate.valid_until_ms:
                    return rate
                break
        raise InvalidError(
            "tax.rate_unknown",
            f"No tax rate is known for {category[:32]} in {country[:8]} at this time.",
            data={"country": country[:8], "category": category[:32]},
        )


def _rates(document: dict[str, Any]) -> Iterable[TaxRate]:
    for entry in document["rate"]:
        for period in entry["periods"]:
            for category in entry["categories"]:
                if category not in CATEGORIES:
                    raise ValueError(f"unknown tax category {category!r}")
                yield TaxRate(
                    entry["country"],
                    category,
                    period["basis_points"],
                    _milliseconds(period["valid_from"]),
                    _milliseconds(period["valid_until"]) if "valid_until" in period else None,
                    period.get("source", entry["source"]),
                )


def _milliseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no UTC offset")
    return round(moment.timestamp() * 1000)
