"""What the simulated issuers and networks decide: agreements, exemptions, validity, debits, tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.wallets.vault.providers.stands import DAY_MS, Stand, debit_stand, simulated_stand
from tests.wallets.vault.shop import CUSTOMER, card, eur
from wallets.vault.port import (
    Capture,
    DeclineClass,
    Exemption,
    Initiation,
    MerchantReason,
    MethodKind,
    OperationResult,
    OperationStatus,
    PassedMethod,
)
from wallets.vault.providers import test_cards
from wallets.vault.providers.port import ClearCard
from wallets.vault.providers.test_cards import TEST_ACCOUNTS
from wallets.vault.secret import Secret

S = OperationStatus
HOUR_MS = 3_600_000


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with simulated_stand(tmp_path) as made:
        yield made


@pytest.fixture
async def debits(tmp_path: Path) -> AsyncIterator[Stand]:
    async with debit_stand(tmp_path) as made:
        yield made


async def authorized(stand: Stand, number: str, amount: int = 2_000, **changes: Any) -> OperationResult:
    method = await stand.service.tokenize(CUSTOMER, card(number))
    terms = stand.terms(method, eur(amount), expires_at_ms=stand.clock.now_ms() + HOUR_MS)
    return await stand.vault.authorize(stand.request(terms, eur(amount), **changes))


def by_merchant(first: OperationResult, reason: MerchantReason) -> dict[str, Any]:
    return {
        "initiation": Initiation.MERCHANT,
        "merchant_reason": reason,
        "network_transaction_id": first.network_transaction_id,
    }


async def test_p6_a_merchant_may_ask_again_by_the_first_transaction_of_the_card(stand: Stand) -> None:
    first = await authorized(stand, test_cards.VISA)
    stand.manual_clock.advance(8 * DAY_MS)
    agreed = await authorized(stand, test_cards.VISA, **by_merchant(first, MerchantReason.REAUTHORIZATION))
    assert agreed.status is S.SUCCEEDED
    assert agreed.capture_before_ms == stand.clock.now_ms() + 4 * DAY_MS + 18 * HOUR_MS
    assert agreed.liability == "merchant"


async def test_p6_without_a_known_and_recent_transaction_of_the_card_it_is_refused(stand: Stand) -> None:
    first = await authorized(stand, test_cards.VISA)
    reason = MerchantReason.REAUTHORIZATION
    other = await authorized(stand, test_cards.MASTERCARD, **by_merchant(first, reason))
    assert (other.status, other.refusal) == (S.FAILED, "provider.network_transaction_unknown")
    missing = await authorized(stand, test_cards.VISA, initiation=Initiation.MERCHANT, merchant_reason=reason)
    assert missing.refusal == "provider.network_transaction_missing"
    declined = await authorized(stand, test_cards.INSUFFICIENT_FUNDS)
    assert declined.network_transaction_id is None
    stand.manual_clock.advance(15 * DAY_MS)
    late = await authorized(stand, test_cards.VISA, **by_merchant(first, MerchantReason.RESUBMISSION))
    assert late.refusal == "provider.network_transaction_too_old"
    good = await authorized(stand, test_cards.VISA, **by_merchant(first, MerchantReason.DELAYED_CHARGE))
    assert good.status is S.SUCCEEDED
    stand.manual_clock.advance(16 * DAY_MS)
    late = await authorized(stand, test_cards.VISA, **by_merchant(first, MerchantReason.DELAYED_CHARGE))
    assert late.refusal == "provider.network_transaction_too_old"


@pytest.mark.parametrize(
    ("initiation", "status"),
    [(Initiation.CUSTOMER, S.REQUIRES_ACTION), (Initiation.MOTO, S.SUCCEEDED)],
)
async def test_p15_mail_and_telephone_are_outside_strong_authentication(
    stand: Stand, initiation: Initiation, status: OperationStatus
) -> None:
    assert (await authorized(stand, test_cards.CHALLENGE, initiation=initiation)).status is status


@pytest.mark.parametrize(
    ("number", "amount", "exemption", "status"),
    [
        (test_cards.CHALLENGE, 3_000, Exemption.LOW_VALUE, S.SUCCEEDED),
        (test_cards.CHALLENGE, 3_001, Exemption.LOW_VALUE, S.DECLINED),
        (test_cards.CHALLENGE, 5_000, Exemption.CONTACTLESS, S.SUCCEEDED),
        (test_cards.CHALLENGE, 50_001, Exemption.TRANSACTION_RISK, S.DECLINED),
        (test_cards.CHALLENGE, 99_999, Exemption.TRUSTED_PAYEE, S.SUCCEEDED),
        (test_cards.NEEDS_SCA, 100, Exemption.LOW_VALUE, S.DECLINED),
    ],
)
async def test_p15_an_exemption_is_a_request_and_a_soft_decline_answers_a_refused_one(
    stand: Stand, number: str, amount: int, exemption: Exemption, status: OperationStatus
) -> None:
    result = await authorized(stand, number, amount, exemption=exemption)
    assert result.status is status
    if status is S.SUCCEEDED:
        assert result.liability == "merchant"
        return
    assert result.decline is not None
    assert result.decline.decline_class is DeclineClass.SOFT_NEEDS_SCA
    again = await authorized(stand, number, amount, request_challenge=True)
    assert again.status is S.REQUIRES_ACTION


async def test_p15_a_passed_challenge_moves_the_liability_to_the_issuer(stand: Stand) -> None:
    waiting = await authorized(stand, test_cards.CHALLENGE)
    assert waiting.action is not None
    acquirer: Any = stand.provider.provider
    await acquirer.complete_challenge(waiting.action.action_id, True)
    found = await stand.vault.operation(waiting.operation_id)
    assert found is not None
    assert (found.status, found.liability) == (S.SUCCEEDED, "issuer")


async def test_p5_an_authorization_ends_by_the_clock_and_not_before(stand: Stand) -> None:
    terms = stand.terms(
        await stand.new_method(), eur(2_000), expires_at_ms=stand.clock.now_ms() + 30 * DAY_MS
    )
    placed = stand.request(terms, eur(1_000))
    found = await stand.vault.authorize(placed)
    assert found.capture_before_ms == stand.clock.now_ms() + 7 * DAY_MS
    stand.manual_clock.advance(7 * DAY_MS - 1)
    assert (await stand.capture(placed.operation_id, eur(300))).status is S.SUCCEEDED
    stand.manual_clock.advance(1)
    late = await stand.capture(placed.operation_id, eur(300))
    assert (late.status, late.refusal) == (S.FAILED, "provider.authorization_expired")
    assert (await stand.raised(placed.operation_id, eur(1))).refusal == "provider.authorization_expired"


async def test_p5_a_card_that_was_present_is_held_for_less_time(stand: Stand) -> None:
    for name, days in (("visa", 5), ("mastercard", 2)):
        terminal = PassedMethod(MethodKind.CARD_PRESENT, Secret(f"terminal:{name}"), name, "4242")
        method = await stand.service.store_method(CUSTOMER, terminal)
        result = await stand.vault.authorize(stand.request(stand.terms(method, eur(100)), eur(100)))
        assert result.capture_before_ms == stand.clock.now_ms() + days * DAY_MS
        assert result.liability == "issuer"


async def test_v12_the_account_reference_is_the_same_for_every_form_of_a_card(stand: Stand) -> None:
    typed = await authorized(stand, test_cards.VISA)
    terminal = PassedMethod(MethodKind.CARD_PRESENT, Secret("terminal:visa"), "visa", "4242")
    method = await stand.service.store_method(CUSTOMER, terminal)
    tapped = await stand.vault.authorize(stand.request(stand.terms(method, eur(100)), eur(100)))
    assert typed.account_reference == tapped.account_reference
    assert typed.account_reference is not None
    assert len(typed.account_reference) == 29
    other = await authorized(stand, test_cards.MASTERCARD)
    assert other.account_reference != typed.account_reference
    stored = {each.account_reference for each in await stand.service.methods(CUSTOMER)}
    assert typed.account_reference in stored


async def test_v13_a_network_token_pays_in_place_of_the_number(stand: Stand) -> None:
    known = test_cards.TEST_CARDS[test_cards.WITH_NETWORK_NUMBER]
    entry = card(test_cards.WITH_NETWORK_NUMBER)
    clear = ClearCard(entry.number, 12, 2031, entry.holder, entry.security_code)
    verified = await stand.provider.provider.verify(clear)
    assert verified.network_token is not None
    assert verified.network_token.reveal() == known.network_number
    from tests.wallets.vault.test_simulated import order

    by_token = order(stand.op())
    from dataclasses import replace

    token_card = ClearCard(verified.network_token, 12, 2031, entry.holder)
    answer = await stand.provider.provider.authorize(replace(by_token, card=token_card))
    assert answer.account_reference == verified.account_reference == known.account_reference


async def test_an_increment_and_a_payout_can_be_declined(stand: Stand) -> None:
    method = await stand.service.tokenize(CUSTOMER, card(test_cards.INCREMENT_DECLINED))
    request = stand.request(stand.terms(method, eur(2_000)), eur(1_000))
    await stand.vault.authorize(request)
    declined = await stand.raised(request.operation_id, eur(500))
    assert declined.decline is not None
    assert (declined.status, declined.decline.code) == (S.DECLINED, "51")
    found = await stand.vault.operation(request.operation_id)
    assert found is not None
    assert found.amount == eur(1_000)
    # The allowance has its amount back.
    more = stand.request(request.allowance, eur(1_000))
    assert (await stand.vault.authorize(more)).status is S.SUCCEEDED
    payee = await stand.service.tokenize(CUSTOMER, card(test_cards.PAYOUT_DECLINED))
    refused = await stand.paid_out(payee, eur(100))
    assert refused.decline is not None
    assert (refused.status, refused.decline.code) == (S.DECLINED, "57")


async def mandate(stand: Stand, account: str) -> Any:
    return await stand.service.store_method(
        CUSTOMER, PassedMethod(MethodKind.SEPA_DEBIT, Secret(account), mandate_reference="M-7")
    )


@pytest.mark.parametrize(
    ("account", "code"), [("AT611904300234573201", "AM04"), ("NL91ABNA0417164300", "AC04")]
)
async def test_p12_a_debit_that_the_bank_returns_is_declined_with_its_iso_20022_code(
    debits: Stand, account: str, code: str
) -> None:
    method = await mandate(debits, account)
    request = debits.request(debits.terms(method, eur(1_000)), eur(1_000))
    assert (await debits.vault.authorize(request)).capture_before_ms is None
    capture = Capture(debits.op(), request.operation_id, eur(1_000))
    assert (await debits.vault.capture(capture)).status is S.UNKNOWN
    debits.manual_clock.advance(2 * DAY_MS - 1)
    assert (await debits.vault.capture(capture)).status is S.UNKNOWN
    debits.manual_clock.advance(1)
    returned = await debits.vault.operation(capture.operation_id)
    assert returned is not None
    assert returned.decline is not None
    assert (returned.status, returned.decline.code) == (S.DECLINED, code)
    # Nothing was taken: it can be asked for again.
    again = Capture(debits.op(), request.operation_id, eur(1_000))
    assert (await debits.vault.capture(again)).status is S.UNKNOWN


async def test_p12_without_a_mandate_nothing_is_promised(debits: Stand) -> None:
    method = await mandate(debits, "FR1420041010050500013M02606")
    result = await debits.vault.authorize(debits.request(debits.terms(method, eur(100)), eur(100)))
    assert result.decline is not None
    assert result.decline.code == "MD01"


async def test_an_account_that_nobody_has_is_no_decline(
    debits: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = await mandate(debits, "DE89370400440532013000")
    monkeypatch.delitem(TEST_ACCOUNTS, "DE89370400440532013000")
    result = await debits.vault.authorize(debits.request(debits.terms(method, eur(100)), eur(100)))
    assert (result.status, result.refusal) == (S.FAILED, "provider.card_unknown")
