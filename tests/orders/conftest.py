"""What tests of orders share."""

from __future__ import annotations

from typing import Any

import pytest

from wallets.vault.port import Initiation
from wallets.vault.providers import simulated
from wallets.vault.providers.port import AuthorizeOrder
from wallets.vault.providers.simulated_rules import authorization_row
from wallets.vault.providers.test_cards import SimulatedCard


@pytest.fixture
def strict_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One card's issuer wants to hear from the customer: re-authorizations are declined."""
    monkeypatch.setattr(simulated, "authorization_row", _strictly)


def _strictly(order: AuthorizeOrder, card: SimulatedCard, now_ms: int) -> dict[str, Any]:
    row = authorization_row(order, card, now_ms)
    if order.initiation is Initiation.MERCHANT and card.name == "mastercard":
        row["outcome"], row["network_code"] = "declined", "51"
    return row
