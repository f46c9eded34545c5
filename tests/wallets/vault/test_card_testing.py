"""How often a number may fail its check: across restarts, processes and a new key, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from gateway.kernel.errors import InvalidError
from tests.wallets.vault.own_databases import CUSTODIAN, Vaults, vaults
from tests.wallets.vault.shop import card
from wallets.vault.card_testing import MOST_DECLINED, CardTesting
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.keys import KeyPurpose
from wallets.vault.providers import test_cards
from wallets.vault.rotation import rotate
from wallets.vault.secret import Secret

__all__ = ["vaults"]
WRONG = card(test_cards.WRONG_SECURITY_CODE)


async def declined(vault: EmbeddedVault, times: int) -> list[str]:
    """Have the card checked so often, by as many customers; returns what they were told."""
    told = []
    for number in range(times):
        with pytest.raises(InvalidError) as caught:
            await vault.tokenize(f"cus_{number}", WRONG)
        assert caught.value.code == "card.declined"
        told.append(caught.value.message)
    return told


async def test_v6_a_restart_does_not_forget_how_often_a_card_was_declined(vaults: Vaults) -> None:
    vault = await vaults.open()
    first = await declined(vault, MOST_DECLINED - 1)
    await vaults.close(vault)
    again = await vaults.open()
    (last, *refused) = await declined(again, 3)
    assert last in first
    assert set(refused) == {"This card was refused too often; try again tomorrow."}
    # Another card is nobody's concern.
    assert (await again.tokenize("cus_1", card())).last4 == "4242"


async def test_v6_two_processes_count_one_card_together(vaults: Vaults) -> None:
    one, two = await vaults.open(), await vaults.open()
    await declined(one, 5)
    await declined(two, 5)
    for vault in (one, two):
        assert "too often" in (await declined(vault, 1))[0]


async def test_v6_a_new_fingerprint_key_does_not_begin_the_count_anew(vaults: Vaults) -> None:
    vault = await vaults.open()
    await declined(vault, MOST_DECLINED)
    kms = vaults.kms
    await rotate(vault.store, kms, CUSTODIAN, KeyPurpose.FINGERPRINTS, "fingerprint-2", maker=kms)
    await vaults.close(vault)
    again = await vaults.open()
    assert "too often" in (await declined(again, 1))[0]


async def test_v6_the_number_of_a_declined_card_is_nowhere(vaults: Vaults) -> None:
    vault = await vaults.open()
    await declined(vault, 2)
    rows = vaults.sql("SELECT decline_id, card_code FROM vault_card_decline")
    assert len(rows) == 2
    assert {len(bytes(row[1])) for row in rows} == {32}
    assert test_cards.WRONG_SECURITY_CODE not in str(rows)


async def test_v6_many_checks_at_once_do_not_pass_the_limit_together(vaults: Vaults) -> None:
    vault = await vaults.open()

    async def one(number: int) -> str:
        with pytest.raises(InvalidError) as caught:
            await vault.tokenize(f"cus_{number}", WRONG)
        return caught.value.message

    told = await asyncio.gather(*map(one, range(3 * MOST_DECLINED)))
    assert sum("too often" not in message for message in told) == MOST_DECLINED


async def test_v6_who_goes_away_while_a_card_is_checked_holds_nobody_up(vaults: Vaults) -> None:
    vault = await vaults.open()
    testing = CardTesting(vault.store, vaults.kms, vault.ring)
    number, going_on = Secret(test_cards.VISA), asyncio.Event()

    async def check() -> None:
        async with testing.check(number, 0):
            await going_on.wait()

    under_way = [asyncio.create_task(check()) for _ in range(MOST_DECLINED)]
    while not any(card.under_way == MOST_DECLINED for card in testing._cards.values()):
        await asyncio.sleep(0.005)
    waiting = [asyncio.create_task(check()) for _ in range(3)]
    await asyncio.sleep(0.02)
    for task in (waiting[0], *under_way):
        task.cancel()
    await asyncio.gather(waiting[0], *under_way, return_exceptions=True)
    going_on.set()
    await asyncio.wait_for(asyncio.gather(*waiting[1:]), 5)
    assert not testing._cards
