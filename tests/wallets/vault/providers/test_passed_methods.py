"""Methods that are no typed cards: checked by their kind, kept encrypted, wallets' payloads used once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConflictError, InvalidError
from tests.wallets.vault.providers.payload_makers import RECIPIENT, Apple, Google
from tests.wallets.vault.providers.recorded import Recorded
from tests.wallets.vault.providers.stands import Stand, parts, simulated
from tests.wallets.vault.shop import CUSTOMER, card, eur, refused, sql
from wallets.vault.kms import KeysUnavailableError
from wallets.vault.passed_methods import WalletTrust
from wallets.vault.port import MethodKind, OperationStatus, PassedMethod, StoredMethod
from wallets.vault.providers import iban
from wallets.vault.providers.manual import CashDesk
from wallets.vault.providers.simulated import SimulatedDebit
from wallets.vault.registry import Providers, Route
from wallets.vault.secret import Secret

S = OperationStatus
GOOGLE, APPLE = Google(), Apple()
K = MethodKind


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A vault with several providers that trusts the tests' own roots."""
    async with parts(tmp_path, ManualClock(int(time.time() * 1000))) as given:
        acquirer = simulated(given)
        desk = CashDesk(given.store)
        recorded = Recorded(acquirer)
        vault = given.open(
            recorded,
            SimulatedDebit(acquirer),
            desk,
            cash=desk,
            trust=WalletTrust(GOOGLE.roots(), RECIPIENT, [APPLE.root]),
        )
        yield Stand(vault, given.clock, given.ids, recorded, lambda: vault.tokenize(CUSTOMER, card()))
        await acquirer.close()


async def stored(stand: Stand, kind: MethodKind, reference: str, **more: object) -> StoredMethod:
    passed = PassedMethod(kind, Secret(reference), **more)
    return await stand.service.store_method(CUSTOMER, passed)


def payload(stand: Stand, kind: MethodKind) -> str:
    if kind is K.APPLE_PAY:
        return APPLE.payment_data(str(time.monotonic_ns()).encode())
    return GOOGLE.token(stand.clock.now_ms(), content=str(time.monotonic_ns()))


@pytest.mark.parametrize("kind", [K.APPLE_PAY, K.GOOGLE_PAY])
async def test_v13_a_wallets_payload_pays_once_and_is_gone_with_the_attempt(
    stand: Stand, kind: MethodKind, tmp_path: Path
) -> None:
    text = payload(stand, kind)
    method = await stored(stand, kind, text)
    query = "SELECT ciphertext, wrapped_key FROM vault_method WHERE payment_method_id = ?"
    path = tmp_path / "vault" / "vault.db"
    assert all(sql(path, query, method.payment_method_id)[0])
    request = stand.request(stand.terms(method, eur(100)), eur(100))
    assert (await stand.vault.authorize(request)).status is S.SUCCEEDED
    assert sql(path, query, method.payment_method_id) == [(None, None)]
    assert (await stand.vault.authorize(request)).status is S.SUCCEEDED  # the same id: the stored answer
    again = stand.request(stand.terms(method, eur(100)), eur(100))
    assert refused(await stand.vault.authorize(again)) == "vault.method_unknown"
    with pytest.raises(ConflictError, match=r"method\.payload_replayed"):
        await stored(stand, kind, text)
    assert (await stand.capture(request.operation_id, eur(100))).status is S.SUCCEEDED


@pytest.mark.parametrize("kind", [K.APPLE_PAY, K.GOOGLE_PAY])
async def test_v13_the_payload_is_gone_even_when_nobody_answers(
    stand: Stand, kind: MethodKind, tmp_path: Path
) -> None:
    method = await stored(stand, kind, payload(stand, kind))
    request = stand.request(stand.terms(method, eur(100)), eur(100))
    asked = stand.provider.provider

    class Broken:
        def __getattr__(self, name: str) -> object:
            raise ConnectionError

    stand.provider.provider = Broken()
    able = asked.capabilities
    type(stand.provider).capabilities = property(lambda _: able)
    try:
        assert (await stand.vault.authorize(request)).status is S.UNKNOWN
    finally:
        type(stand.provider).capabilities = property(lambda each: each.provider.capabilities)
        stand.provider.provider = asked
    path = tmp_path / "vault" / "vault.db"
    query = "SELECT ciphertext FROM vault_method WHERE payment_method_id = ?"
    assert sql(path, query, method.payment_method_id) == [(None,)]
    found = await stand.vault.operation(request.operation_id)
    assert found is not None
    assert found.status is S.FAILED


@pytest.mark.parametrize("kind", [K.APPLE_PAY, K.GOOGLE_PAY])
async def test_v13_a_payload_survives_an_attempt_that_could_not_open_it(
    stand: Stand, kind: MethodKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = await stored(stand, kind, payload(stand, kind))
    request = stand.request(stand.terms(method, eur(100)), eur(100))

    async def away(*_: object) -> bytes:
        raise KeysUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(stand.service._kms, "unwrap", away)
        result = await stand.vault.authorize(request)
    assert (result.status, result.refusal) == (S.FAILED, "vault.keys_unavailable")
    again = stand.request(stand.terms(method, eur(100)), eur(100))
    assert (await stand.vault.authorize(again)).status is S.SUCCEEDED


@pytest.mark.parametrize("kind", [K.APPLE_PAY, K.GOOGLE_PAY])
async def test_v13_of_many_attempts_at_once_one_has_the_payload(stand: Stand, kind: MethodKind) -> None:
    method = await stored(stand, kind, payload(stand, kind))
    requests = [stand.request(stand.terms(method, eur(100)), eur(100)) for _ in range(8)]
    results = await asyncio.gather(*map(stand.vault.authorize, requests))
    assert [result.status for result in results].count(S.SUCCEEDED) == 1
    assert {result.refusal for result in results} == {None, "vault.method_unknown"}


async def test_v14_a_payload_that_does_not_verify_is_not_stored(stand: Stand, tmp_path: Path) -> None:
    spoilt = (
        (K.GOOGLE_PAY, Google().token(stand.clock.now_ms())),
        (K.APPLE_PAY, Apple().payment_data()),
        (K.GOOGLE_PAY, "{}"),
        (K.APPLE_PAY, "not json"),
        (K.APPLE_PAY, GOOGLE.token(stand.clock.now_ms())),
    )
    for kind, text in spoilt:
        with pytest.raises(InvalidError, match=r"method\.payload_refused"):
            await stored(stand, kind, text)
    path = tmp_path / "vault" / "vault.db"
    assert sql(path, "SELECT * FROM vault_method") == sql(path, "SELECT * FROM vault_wallet_payload") == []


async def test_v14_without_configured_roots_no_wallet_is_taken(tmp_path: Path) -> None:
    async with parts(tmp_path, ManualClock(int(time.time() * 1000))) as given:
        acquirer = simulated(given)
        vault = given.open(acquirer)
        for kind, text in (
            (K.APPLE_PAY, APPLE.payment_data()),
            (K.GOOGLE_PAY, GOOGLE.token(given.clock.now_ms())),
        ):
            with pytest.raises(InvalidError, match=r"vault\.method_kind"):
                await vault.store_method(CUSTOMER, PassedMethod(kind, Secret(text)))
        await acquirer.close()


async def test_v11_a_terminal_passes_a_token_and_never_a_number(stand: Stand) -> None:
    par = "V0SM" + "A" * 25
    method = await stored(
        stand, K.CARD_PRESENT, "terminal:visa", brand="visa", last4="4242", account_reference=par
    )
    assert (method.kind, method.last4, method.account_reference) == ("card_present", "4242", par)
    again = await stored(stand, K.CARD_PRESENT, "terminal:visa", brand="visa", last4="4242")
    assert again.payment_method_id == method.payment_method_id
    for number in ("4242424242424242", "4242 4242 4242 4242", "3782-822463-10005"):
        with pytest.raises(InvalidError, match=r"method\.card_number_refused"):
            await stored(stand, K.CARD_PRESENT, number)
    for wrong in (
        {"last4": "42424242"},
        {"brand": "4242424242424242 visa x"},
        {"account_reference": "short"},
        {"expiry_month": 13},
    ):
        with pytest.raises(InvalidError, match=r"method\.invalid"):
            await stored(stand, K.CARD_PRESENT, "terminal:visa", **wrong)
    for reference in ("", "x" * 513, "ü"):
        with pytest.raises(InvalidError, match=r"method\.invalid"):
            await stored(stand, K.CARD_PRESENT, reference)


@pytest.mark.parametrize(
    "reference",
    [
        ";4111111111111111=25121011000012345678?",
        "%B4111111111111111^DOE/JANE^2512101?",
        "4111.1111.1111.1111",
        "pan:4111111111111111",
        "4111111111111111 2512",
    ],
)
async def test_v11_a_number_or_track_inside_a_terminals_token_is_refused(
    stand: Stand, reference: str
) -> None:
    with pytest.raises(InvalidError, match=r"method\.card_number_refused"):
        await stored(stand, K.CARD_PRESENT, reference)


@pytest.mark.parametrize("brand", ["4111 1111 1111 1111", "my card", "41111111"])
async def test_v3_a_brand_is_one_that_is_known(stand: Stand, brand: str) -> None:
    with pytest.raises(InvalidError, match=r"method\.invalid"):
        await stored(stand, K.CARD_PRESENT, "terminal:visa", brand=brand)


async def test_v12_with_test_providers_only_test_terminals_and_accounts_are_taken(stand: Stand) -> None:
    with pytest.raises(InvalidError, match=r"vault\.live_card_refused"):
        await stored(stand, K.CARD_PRESENT, "tmr_live")
    with pytest.raises(InvalidError, match=r"vault\.live_card_refused"):
        await stored(stand, K.SEPA_DEBIT, "GB29 NWBK 6016 1331 9268 19", mandate_reference="M")


async def test_a_mandate_keeps_its_account_encrypted(stand: Stand, tmp_path: Path) -> None:
    method = await stored(
        stand, K.SEPA_DEBIT, "de89 3704 0044 0532 0130 00", mandate_reference="SHOP-2026-17"
    )
    assert (method.kind, method.brand, method.last4) == ("sepa_debit", "sepa", "3000")
    for path in (tmp_path / "vault").iterdir():
        content = path.read_bytes()
        assert b"DE89370400440532013000" not in content
        assert b"370400440532013000" not in content
    again = await stored(stand, K.SEPA_DEBIT, "DE89370400440532013000", mandate_reference="SHOP-2026-17")
    assert again.payment_method_id == method.payment_method_id


@pytest.mark.parametrize(
    ("account", "mandate"),
    [
        ("DE89370400440532013001", "M"),
        ("DE8937040044053201300", "M"),
        ("US89370400440532013000", "M"),
        ("", "M"),
        ("DE89370400440532013000", ""),
        ("DE89370400440532013000", "x" * 36),
        ("DE89370400440532013000", "no_underscore"),
    ],
)
async def test_a_mandate_that_is_not_well_formed_is_refused(stand: Stand, account: str, mandate: str) -> None:
    with pytest.raises(InvalidError, match=r"method\.invalid"):
        await stored(stand, K.SEPA_DEBIT, account, mandate_reference=mandate)


def test_every_single_digit_and_swap_in_an_account_number_is_noticed() -> None:
    account = "DE89370400440532013000"
    assert iban.is_valid(account)
    for place in range(4, len(account)):
        for digit in "0123456789":
            changed = account[:place] + digit + account[place + 1 :]
            assert iban.is_valid(changed) == (changed == account)
    for place in range(4, len(account) - 1):
        swapped = account[:place] + account[place + 1] + account[place] + account[place + 2 :]
        assert iban.is_valid(swapped) == (swapped == account)


async def test_p4_each_method_goes_to_the_provider_that_takes_its_kind(stand: Stand, tmp_path: Path) -> None:
    """The row says who; an operation and what follows it stay with that provider."""
    cards = await stand.new_method()
    cash = await stored(stand, K.CASH, "")
    debit = await stored(stand, K.SEPA_DEBIT, "DE89370400440532013000", mandate_reference="M")
    found: dict[str, str] = {}
    for method in (cards, cash, debit):
        request = stand.request(stand.terms(method, eur(100)), eur(100))
        await stand.vault.authorize(request)
        await stand.capture(request.operation_id, eur(100))
        path = tmp_path / "vault" / "vault.db"
        query = "SELECT provider FROM vault_operation WHERE operation_id = ? OR parent_id = ?"
        rows = sql(path, query, request.operation_id, request.operation_id)
        assert len(set(rows)) == 1
        found[method.kind] = rows[0][0]
    assert found == {"card": "simulated", "cash": "cash", "sepa_debit": "simulated_debit"}


async def test_p4_routes_prefer_a_provider_by_kind_and_currency(tmp_path: Path) -> None:
    from dataclasses import replace

    async with parts(tmp_path) as given:
        first, second = Recorded(simulated(given)), Recorded(simulated(given))

        class Named(Recorded):
            @property
            def capabilities(self):
                return replace(self.provider.capabilities, name="other")

        other = Named(second.provider)
        both = Providers([first, other], deadline_ms=1_000, routes=[Route(K.CARD, "other", "USD")])
        by_currency = [both.taking(K.CARD, currency) for currency in ("EUR", "USD", None)]
        assert [each.capabilities.name for each in by_currency if each] == ["simulated", "other", "simulated"]
        assert both.taking(K.VOUCHER) is None
        with pytest.raises(ValueError, match="names of their own"):
            Providers([first, first], deadline_ms=1_000)
        with pytest.raises(ValueError, match="does not take"):
            Providers([first], deadline_ms=1_000, routes=[Route(K.CASH, "simulated")])
        with pytest.raises(ValueError, match="no provider"):
            Providers([first], deadline_ms=1_000, routes=[Route(K.CASH, "nobody")])
        await first.close()
        await other.close()
