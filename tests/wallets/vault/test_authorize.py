from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.money import Money
from gateway.kernel.subjects import PaymentMethodId
from tests.wallets.vault.shop import HOUR_MS, Shop, eur, refused, sql
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import AllowanceId, DeclineClass, OperationKind, OperationStatus
from wallets.vault.providers import test_cards

S = OperationStatus


async def test_an_approved_authorization_says_what_it_holds(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    request = shop.request(shop.terms(await shop.method(), eur(1290)), eur(1290))
    result = await vault.authorize(request)
    assert (result.status, result.kind, result.amount) == (S.SUCCEEDED, OperationKind.AUTHORIZE, eur(1290))
    assert result.provider_reference
    assert result.network_transaction_id
    assert result.capture_before_ms == clock.now_ms() + 7 * 24 * HOUR_MS
    assert (result.decline, result.action, result.refusal) == (None, None, None)
    effects = await vault.acquirer.effects()
    assert [(each.operation_id, each.kind, each.amount, each.card) for each in effects] == [
        (request.operation_id, OperationKind.AUTHORIZE, eur(1290), "visa")
    ]


@pytest.mark.parametrize("number", [test_cards.VISA, test_cards.MASTERCARD, test_cards.AMEX])
async def test_each_scheme_is_approved(shop: Shop, number: str) -> None:
    await shop.authorized(number)


async def test_a_repeat_gets_the_stored_answer_and_has_no_second_effect(
    vault: EmbeddedVault, shop: Shop
) -> None:
    request = shop.request(shop.terms(await shop.method(), eur(100)), eur(100))
    first = await vault.authorize(request)
    assert [await vault.authorize(request) for _ in range(3)] == [first] * 3
    assert await vault.operation(request.operation_id) == first
    assert len(await vault.acquirer.effects()) == 1


async def test_duplicates_at_once_have_one_effect_and_one_answer(vault: EmbeddedVault, shop: Shop) -> None:
    request = shop.request(shop.terms(await shop.method(), eur(100), max_uses=1), eur(100))
    answers = await asyncio.gather(*(vault.authorize(request) for _ in range(50)))
    assert set(answers) == {answers[0]}
    assert answers[0].status is S.SUCCEEDED
    effects = await vault.acquirer.effects()
    assert [each.operation_id for each in effects].count(request.operation_id) == 1


async def test_another_request_under_a_taken_id_is_refused(vault: EmbeddedVault, shop: Shop) -> None:
    request = await shop.authorized()
    other = replace(request, amount=eur(999))
    assert refused(await vault.authorize(other)) == "vault.operation_conflict"
    stored = await vault.operation(request.operation_id)
    assert stored is not None
    assert (stored.status, stored.amount) == (S.SUCCEEDED, eur(1000))
    assert len(await vault.acquirer.effects()) == 1


@pytest.mark.parametrize(
    ("number", "code", "decline_class"),
    [
        (test_cards.INSUFFICIENT_FUNDS, "51", DeclineClass.SOFT_RETRY_LATER),
        (test_cards.ISSUER_UNAVAILABLE, "91", DeclineClass.SOFT_RETRY_LATER),
        (test_cards.NEEDS_SCA, "1A", DeclineClass.SOFT_NEEDS_SCA),
        (test_cards.MASTERCARD_NEEDS_SCA, "65", DeclineClass.SOFT_NEEDS_SCA),
        (test_cards.EXPIRED_AT_ISSUER, "54", DeclineClass.FIX_DATA),
        (test_cards.PICK_UP, "04", DeclineClass.HARD_NEVER),
        (test_cards.LOST_CARD, "41", DeclineClass.HARD_NEVER),
        (test_cards.STOLEN_CARD, "43", DeclineClass.HARD_NEVER),
        (test_cards.SUSPECTED_FRAUD, "59", DeclineClass.FRAUD_HOLD),
    ],
)
async def test_a_decline_keeps_the_raw_code_and_its_class(
    vault: EmbeddedVault, shop: Shop, number: str, code: str, decline_class: DeclineClass
) -> None:
    request = shop.request(shop.terms(await shop.method(number), eur(100)), eur(100))
    result = await vault.authorize(request)
    assert result.status is S.DECLINED
    assert result.decline is not None
    assert (result.decline.code, result.decline.decline_class) == (code, decline_class)
    assert await vault.operation(request.operation_id) == result
    assert await vault.acquirer.effects() == []


async def test_a_decline_gives_the_allowance_back(vault: EmbeddedVault, shop: Shop, tmp_path: Path) -> None:
    terms = shop.terms(await shop.method(test_cards.INSUFFICIENT_FUNDS), eur(100), max_uses=1)
    for _ in range(3):
        assert (await vault.authorize(shop.request(terms, eur(100)))).status is S.DECLINED
    assert _used(tmp_path) == (0, 0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"merchant_id": "mer_other"}, "allowance.merchant_mismatch"),
        ({"customer_id": "cus_other"}, "allowance.customer_mismatch"),
        ({"order_id": "ord_other"}, "allowance.order_mismatch"),
        ({"channel": "web"}, "allowance.channel_mismatch"),
        ({"place_id": "plc_other"}, "allowance.place_mismatch"),
        ({"device_id": "dev_other"}, "allowance.device_mismatch"),
        ({"amount": Money(100, "GBP")}, "allowance.currency_mismatch"),
        ({"amount": eur(101)}, "allowance.amount_exceeded"),
        ({"amount": eur(0)}, "vault.amount_invalid"),
    ],
)
async def test_a_spend_outside_its_allowance_is_refused_for_good(
    vault: EmbeddedVault, shop: Shop, change: dict[str, Any], code: str
) -> None:
    terms = shop.terms(await shop.method(), eur(100), place_id="plc_1", device_id="dev_1")
    fitting = shop.request(terms, eur(100), place_id="plc_1", device_id="dev_1")
    request = replace(fitting, **change)
    assert refused(await vault.authorize(request)) == code
    assert refused(await vault.authorize(request)) == code
    stored = await vault.operation(request.operation_id)
    assert stored is not None
    assert refused(stored) == code
    assert await vault.acquirer.effects() == []
    assert (await vault.authorize(replace(fitting, operation_id=shop.op()))).status is S.SUCCEEDED


async def test_a_method_of_another_customer_is_unknown(vault: EmbeddedVault, shop: Shop) -> None:
    method = await shop.method(customer="cus_other")
    assert (
        refused(await vault.authorize(shop.request(shop.terms(method, eur(1)), eur(1))))
        == "vault.method_unknown"
    )
    terms = shop.terms(method, eur(1), payment_method_id=PaymentMethodId("pm_" + "0" * 28))
    assert refused(await vault.authorize(shop.request(terms, eur(1)))) == "vault.method_unknown"


async def test_expiry_is_inclusive(vault: EmbeddedVault, shop: Shop, clock: ManualClock) -> None:
    terms = shop.terms(await shop.method(), eur(100))
    clock.advance(HOUR_MS - 1)
    assert (await vault.authorize(shop.request(terms, eur(10)))).status is S.SUCCEEDED
    clock.advance(1)
    assert refused(await vault.authorize(shop.request(terms, eur(10)))) == "allowance.expired"


async def test_uses_and_amount_are_counted_over_all_spends(vault: EmbeddedVault, shop: Shop) -> None:
    terms = shop.terms(await shop.method(), eur(100), max_uses=2)
    assert (await vault.authorize(shop.request(terms, eur(60)))).status is S.SUCCEEDED
    assert refused(await vault.authorize(shop.request(terms, eur(41)))) == "allowance.amount_exceeded"
    assert (await vault.authorize(shop.request(terms, eur(30)))).status is S.SUCCEEDED
    assert refused(await vault.authorize(shop.request(terms, eur(10)))) == "allowance.uses_exceeded"


async def test_a_stored_refusal_stays_when_the_allowance_has_room_again(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = shop.terms(await shop.method(), eur(100))
    first = shop.request(terms, eur(100))
    await vault.authorize(first)
    late = shop.request(terms, eur(50))
    assert refused(await vault.authorize(late)) == "allowance.amount_exceeded"
    assert (await shop.void(first.operation_id)).status is S.SUCCEEDED
    assert refused(await vault.authorize(late)) == "allowance.amount_exceeded"
    assert (await vault.authorize(shop.request(terms, eur(50)))).status is S.SUCCEEDED


async def test_terms_do_not_change_after_the_grant(vault: EmbeddedVault, shop: Shop) -> None:
    terms = shop.terms(await shop.method(), eur(100))
    assert (await vault.authorize(shop.request(terms, eur(10)))).status is S.SUCCEEDED
    for more in (
        replace(terms, max_amount=eur(10_000)),
        replace(terms, order_id=None),
        replace(terms, max_uses=99),
    ):
        assert refused(await vault.authorize(shop.request(more, eur(10)))) == "allowance.terms_conflict"


async def test_a_revoked_allowance_refuses_and_what_was_held_can_still_be_captured(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = shop.terms(await shop.method(), eur(100))
    held = shop.request(terms, eur(50))
    await vault.authorize(held)
    await vault.revoke(terms.allowance_id)
    await vault.revoke(terms.allowance_id)
    assert refused(await vault.authorize(shop.request(terms, eur(10)))) == "allowance.revoked"
    assert (await shop.capture(held.operation_id, eur(50))).status is S.SUCCEEDED


async def test_a_revocation_that_overtakes_the_grant_holds(vault: EmbeddedVault, shop: Shop) -> None:
    allowance_id = shop.ids.new(AllowanceId)
    await vault.revoke(allowance_id)
    terms = shop.terms(await shop.method(), eur(100), allowance_id=allowance_id)
    assert refused(await vault.authorize(shop.request(terms, eur(10)))) == "allowance.revoked"


async def test_a_thousand_concurrent_spends_of_ten_units_approve_exactly_ten(
    vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    terms = shop.terms(await shop.method(), eur(10), max_uses=1000)
    results = await asyncio.gather(*(vault.authorize(shop.request(terms, eur(1))) for _ in range(1000)))
    statuses = [result.status for result in results]
    assert statuses.count(S.SUCCEEDED) == 10
    assert {result.refusal for result in results if result.status is not S.SUCCEEDED} == {
        "allowance.amount_exceeded"
    }
    assert len(await vault.acquirer.effects()) == 10
    assert _used(tmp_path) == (10, 10)


def _used(tmp_path: Path) -> Any:
    [used] = sql(tmp_path / "vault" / "vault.db", "SELECT used_minor, used_count FROM vault_allowance")
    return used
