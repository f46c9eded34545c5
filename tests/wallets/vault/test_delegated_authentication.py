"""An authentication that the gateway passes on counts for exactly one payment (P14, P16)."""

from __future__ import annotations

import pytest

from tests.wallets.vault.shop import CUSTOMER, MERCHANT, ORDER, Shop, eur
from wallets.vault.dynamic_link import AuthenticationReference, link_of
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import OperationStatus
from wallets.vault.providers import test_cards

S = OperationStatus


def reference(order_id: str, amount_minor: int, payee: str) -> str:
    nonce = "0f" * 16
    return str(
        AuthenticationReference("aut_1", nonce, link_of(order_id, eur(amount_minor), payee, nonce).hex())
    )


@pytest.mark.parametrize("number", [test_cards.CHALLENGE, test_cards.NEEDS_SCA])
async def test_p16_an_authentication_for_this_payment_is_accepted_and_shifts_liability(
    vault: EmbeddedVault, shop: Shop, number: str
) -> None:
    terms = shop.terms(await shop.method(number), eur(100))
    request = shop.request(terms, eur(100), authentication=reference(ORDER, 100, MERCHANT))
    result = await vault.authorize(request)
    assert (result.status, result.liability) == (S.SUCCEEDED, "issuer")


@pytest.mark.parametrize(
    "passed_for",
    [
        reference(ORDER, 99, MERCHANT),
        reference("ord_2", 100, MERCHANT),
        reference(ORDER, 100, "mer_other"),
        reference(ORDER, 100, CUSTOMER),
        "nonsense",
    ],
)
async def test_p14_an_authentication_for_another_amount_payee_or_order_is_challenged(
    vault: EmbeddedVault, shop: Shop, passed_for: str
) -> None:
    terms = shop.terms(await shop.method(test_cards.CHALLENGE), eur(100))
    result = await vault.authorize(shop.request(terms, eur(100), authentication=passed_for))
    assert result.status is S.REQUIRES_ACTION
