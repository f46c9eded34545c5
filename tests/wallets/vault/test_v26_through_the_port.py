"""V26 through the port, with the vault inside and apart: what an allowance lets through, counted at the provider."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.money import Money
from tests.wallets.vault.shop import HOUR_MS, Shop, eur, refused
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import OperationStatus

S = OperationStatus
AT_ONCE = 1_000


@pytest.mark.parametrize("deadline_ms", [30_000])
async def test_v26_of_a_thousand_concurrent_spends_ten_reach_the_provider(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = shop.terms(await shop.method(), eur(10), max_uses=AT_ONCE)
    requests = [shop.request(terms, eur(1)) for _ in range(AT_ONCE)]
    results = await asyncio.gather(*map(vault.authorize, requests))
    assert Counter((each.status, each.refusal) for each in results) == {
        (S.SUCCEEDED, None): 10,
        (S.REFUSED, "allowance.amount_exceeded"): AT_ONCE - 10,
    }
    approved = {each.operation_id for each in results if each.status is S.SUCCEEDED}
    effects = await vault.acquirer.effects()
    assert {each.operation_id for each in effects} == approved
    assert sum(each.amount.amount_minor for each in effects) == 10


async def test_v26_amount_currency_merchant_and_session_are_refused_each_with_its_code(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = shop.terms(await shop.method(), eur(1_000), session_id="ses_1", order_id=None)
    good = shop.request(terms, eur(1_000), session_id="ses_1")
    wrong: dict[str, dict[str, Any]] = {
        "allowance.amount_exceeded": {"amount": eur(1_001)},
        "allowance.currency_mismatch": {"amount": Money(1_000, "USD")},
        "allowance.merchant_mismatch": {"merchant_id": "mer_else"},
        "allowance.session_mismatch": {"session_id": "ses_2"},
    }
    for code, change in wrong.items():
        assert refused(await vault.authorize(replace(good, operation_id=shop.op(), **change))) == code
    none = replace(good, operation_id=shop.op(), session_id=None)
    assert refused(await vault.authorize(none)) == "allowance.session_mismatch"
    assert await vault.acquirer.effects() == []
    assert (await vault.authorize(good)).status is S.SUCCEEDED


async def test_v26_at_its_expiry_it_is_over_and_a_moment_before_it_is_not(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    terms = shop.terms(await shop.method(), eur(1_000))
    assert terms.expires_at_ms == clock.now_ms() + HOUR_MS
    clock.advance(HOUR_MS - 1)
    assert (await vault.authorize(shop.request(terms, eur(1)))).status is S.SUCCEEDED
    clock.advance(1)
    assert refused(await vault.authorize(shop.request(terms, eur(1)))) == "allowance.expired"
