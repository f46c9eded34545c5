from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import InvalidError
from gateway.kernel.ids import TimeSortedIds
from tests.wallets.vault.shop import CUSTOMER, Shop, card, eur, sql
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault
from wallets.vault.kms import KeyUseError
from wallets.vault.port import OperationStatus
from wallets.vault.providers import test_cards

LIVE_NUMBER = "4929420573595709"


async def test_a_stored_card_shows_brand_last_four_and_expiry(vault: EmbeddedVault) -> None:
    method = await vault.tokenize(CUSTOMER, card(test_cards.AMEX))
    assert method.payment_method_id.startswith("pm_")
    assert (method.kind, method.brand, method.last4) == ("card", "amex", "0005")
    assert (method.expiry_month, method.expiry_year, method.customer_id) == (12, 2031, CUSTOMER)
    assert await vault.methods(CUSTOMER) == [method]


async def test_a_customer_sees_only_their_own_methods(vault: EmbeddedVault) -> None:
    await vault.tokenize(CUSTOMER, card())
    assert await vault.methods("cus_other") == []


async def test_the_same_card_of_a_customer_gives_the_same_method_even_at_once(vault: EmbeddedVault) -> None:
    stored = await asyncio.gather(*(vault.tokenize(CUSTOMER, card()) for _ in range(50)))
    assert len(set(stored)) == 1
    assert await vault.methods(CUSTOMER) == [stored[0]]


async def test_two_customers_with_the_same_card_get_two_methods(vault: EmbeddedVault) -> None:
    one, two = await vault.tokenize(CUSTOMER, card()), await vault.tokenize("cus_other", card())
    assert one.payment_method_id != two.payment_method_id


async def test_a_reissued_card_keeps_its_method_and_gets_the_new_expiry(
    vault: EmbeddedVault, shop: Shop
) -> None:
    old = await vault.tokenize(CUSTOMER, card(expiry_year=2027))
    new = await vault.tokenize(CUSTOMER, card(expiry_year=2032))
    assert new.payment_method_id == old.payment_method_id
    assert new.expiry_year == 2032
    paid = await vault.authorize(shop.request(shop.terms(new, eur(5)), eur(5)))
    assert paid.status is OperationStatus.SUCCEEDED


async def test_a_live_number_is_refused_and_leaves_nothing_behind(
    vault: EmbeddedVault, tmp_path: Path
) -> None:
    with pytest.raises(InvalidError) as caught:
        await vault.tokenize(CUSTOMER, card(LIVE_NUMBER))
    assert caught.value.code == "vault.live_card_refused"
    assert (
        LIVE_NUMBER not in f"{caught.value} {caught.value!r} {caught.value.data} {caught.value.__context__!r}"
    )
    assert await vault.methods(CUSTOMER) == []


@pytest.mark.parametrize(
    ("number", "param"), [("4242424242424241", "$.number"), ("4242 4242", "$.number"), ("", "$.number")]
)
async def test_a_malformed_card_is_invalid(vault: EmbeddedVault, number: str, param: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await vault.tokenize(CUSTOMER, card(number))
    assert (caught.value.code, caught.value.param) == ("card.invalid", param)


async def test_blanks_and_hyphens_in_the_number_do_not_matter(vault: EmbeddedVault) -> None:
    one = await vault.tokenize(CUSTOMER, card("4242 4242 4242 4242"))
    assert one == await vault.tokenize(CUSTOMER, card("4242-4242-4242-4242"))


async def test_a_card_that_fails_its_check_is_not_stored(vault: EmbeddedVault) -> None:
    with pytest.raises(InvalidError) as caught:
        await vault.tokenize(CUSTOMER, card(test_cards.WRONG_SECURITY_CODE))
    assert caught.value.code == "card.declined"
    assert caught.value.data == {"network_code": "N7", "decline_class": "fix_data"}
    assert await vault.methods(CUSTOMER) == []


async def test_swapped_records_of_two_rows_do_not_pay(
    shop: Shop, vault: EmbeddedVault, tmp_path: Path
) -> None:
    """The record of another customer's card, copied into this row, must not open."""
    mine = await shop.method()
    await shop.method(test_cards.MASTERCARD, "cus_other")
    path = tmp_path / "vault" / "vault.db"
    sql(
        path,
        "UPDATE vault_method SET (wrapped_key, nonce, ciphertext) = (SELECT wrapped_key, nonce, ciphertext"
        " FROM vault_method WHERE customer_id = 'cus_other') WHERE customer_id = ?",
        CUSTOMER,
    )
    result = await vault.authorize(shop.request(terms := shop.terms(mine, eur(10)), eur(10)))
    assert (result.status, result.refusal) == (OperationStatus.FAILED, "vault.record_unreadable")
    assert await vault.acquirer.effects() == []
    used = sql(
        path, "SELECT used_minor, used_count FROM vault_allowance WHERE allowance_id = ?", terms.allowance_id
    )
    assert used == [(0, 0)]


async def test_a_database_without_its_keys_does_not_open(
    tmp_path: Path, clock: ManualClock, ids: TimeSortedIds
) -> None:
    await (await open_embedded_vault(tmp_path, clock, ids)).close()
    for key in (tmp_path / "keys").iterdir():
        key.unlink()
    with pytest.raises(KeyUseError, match="missing"):
        await open_embedded_vault(tmp_path, clock, ids)


@pytest.mark.parametrize("at_once", [1, 50])
async def test_p11_one_number_fails_its_check_ten_times_a_day_whoever_tries(
    own_vault: EmbeddedVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    provider, asked = own_vault._providers.default, 0
    verify = provider.verify

    async def counted(found: Any) -> Any:
        nonlocal asked
        asked += 1
        return await verify(found)

    monkeypatch.setattr(provider, "verify", counted)
    wrong = card(test_cards.WRONG_SECURITY_CODE)
    for _ in range(100 // at_once):
        tries = (own_vault.tokenize(f"cus_{n}", wrong) for n in range(at_once))
        for result in await asyncio.gather(*tries, return_exceptions=True):
            assert isinstance(result, InvalidError) and result.code == "card.declined"
    assert asked == 10
    await own_vault.tokenize("cus", card())
    clock.advance(24 * 3_600_000)
    with pytest.raises(InvalidError):
        await own_vault.tokenize("cus", wrong)
    assert asked == 12
