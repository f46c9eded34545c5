"""What a provider should charge, and how its references look. A provider without a tariff is taken at its
word."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from gateway.kernel.money import round_half_up
from gateway.payments.settlement.model import CHARGE, CHARGEBACK, PAYOUT, REFUND


@dataclass(frozen=True, slots=True)
class Tariff:
    """Fees in minor units; rates in basis points."""

    charge_fixed: int
    charge_basis_points: int
    payout_fixed: int

    def fee(self, line_type: str, gross_minor: int) -> int | None:
        """Return the fee of a line, or None where the tariff says nothing."""
        match line_type:
            case _ if line_type == CHARGE:
                rate = round_half_up(Fraction(gross_minor * self.charge_basis_points, 10_000))
                return min(gross_minor, self.charge_fixed + rate)
            case _ if line_type == PAYOUT:
                return self.payout_fixed
            case _ if line_type in (REFUND, CHARGEBACK):
                return 0
            case _:
                return None


TARIFFS = {"simulated": Tariff(charge_fixed=10, charge_basis_points=140, payout_fixed=25)}
"""From docs/settlement-format.md. Stripe's depends on card, country and contract."""

REFERENCES = {"simulated": ("sim_",), "stripe": ("pi_", "ch_", "re_", "pyr_", "py_")}
"""How a provider names operations: an operation with another name is not expected in its files."""
