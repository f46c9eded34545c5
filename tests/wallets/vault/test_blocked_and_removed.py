"""P11: a card that was removed and is stored again is known as blocked, whatever keys came in between."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.kernel.errors import ConflictError
from tests.wallets.vault.own_databases import CUSTODIAN, Vaults, vaults
from tests.wallets.vault.shop import CUSTOMER, eur, refused
from wallets.vault import rotation_work
from wallets.vault.crypto import open_record
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.keys import KeyPurpose
from wallets.vault.port import OperationStatus, StoredMethod
from wallets.vault.providers import test_cards
from wallets.vault.rotation import destroy_key, rotate

__all__ = ["vaults"]


async def blocked_and_removed(vaults: Vaults, vault: EmbeddedVault) -> None:
    """A stolen card: declined for ever, then removed."""
    shop = vaults.shop(vault)
    method = await shop.method(test_cards.STOLEN_CARD)
    declined = await vault.authorize(shop.request(shop.terms(method, eur(5)), eur(5)))
    assert declined.status is OperationStatus.DECLINED
    assert await vault.remove_method(CUSTOMER, method.payment_method_id)


async def tried(vaults: Vaults, vault: EmbeddedVault, customer: str = CUSTOMER) -> str | None:
    """Store the stolen card again and try it; returns why it was refused."""
    shop = vaults.shop(vault)
    method: StoredMethod = await shop.method(test_cards.STOLEN_CARD, customer)
    terms = shop.terms(method, eur(5), customer_id=customer)
    return refused(await vault.authorize(shop.request(terms, eur(5), customer_id=customer)))


async def renew_key(vaults: Vaults, vault: EmbeddedVault, key_id: str) -> None:
    kms = vaults.kms
    await rotate(vault.store, kms, CUSTODIAN, KeyPurpose.FINGERPRINTS, key_id, maker=kms)


async def test_p11_a_card_that_was_removed_under_a_key_retired_since_is_found_blocked(
    vaults: Vaults,
) -> None:
    vault = await vaults.open()
    await blocked_and_removed(vaults, vault)
    await renew_key(vaults, vault, "fingerprint-2")
    await renew_key(vaults, vault, "fingerprint-3")
    assert await tried(vaults, vault) == "vault.retry_forbidden"
    # From then on under the current key, for every customer.
    assert vaults.sql("SELECT DISTINCT fingerprint_key_id FROM vault_attempt") == [("fingerprint-3",)]
    assert await tried(vaults, vault, "cus_eve") == "vault.retry_forbidden"


async def test_p11_an_attempt_from_before_keys_were_kept_is_found_too(vaults: Vaults) -> None:
    vault = await vaults.open()
    await blocked_and_removed(vaults, vault)
    vaults.sql("UPDATE vault_attempt SET fingerprint_key_id = NULL")
    await renew_key(vaults, vault, "fingerprint-2")
    assert await tried(vaults, vault) == "vault.retry_forbidden"


async def test_p11_a_card_stored_again_while_keys_change_is_found_blocked(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another customer still has the card, under the old key."""
    vault = await vaults.open()
    shop = vaults.shop(vault)
    theirs = await shop.method(test_cards.STOLEN_CARD, "cus_bob")
    await blocked_and_removed(vaults, vault)
    found: list[str | None] = []

    async def half_way(*arguments: Any) -> bytes:
        if not found:
            found.append(await tried(vaults, vault))
            terms = shop.terms(theirs, eur(5), customer_id="cus_bob")
            request = shop.request(terms, eur(5), customer_id="cus_bob")
            found.append(refused(await vault.authorize(request)))
        return await open_record(*arguments)

    monkeypatch.setattr(rotation_work, "open_record", half_way)
    await renew_key(vaults, vault, "fingerprint-2")
    assert found == ["vault.retry_forbidden"] * 2
    kept = vaults.sql("SELECT DISTINCT fingerprint_key_id FROM vault_method WHERE removed_at_ms IS NULL")
    assert kept == [("fingerprint-2",)]
    assert await tried(vaults, vault, "cus_eve") == "vault.retry_forbidden"


async def test_p11_a_key_is_not_destroyed_while_a_block_is_known_by_it_alone(vaults: Vaults) -> None:
    vault = await vaults.open()
    await blocked_and_removed(vaults, vault)
    await renew_key(vaults, vault, "fingerprint-2")
    with pytest.raises(ConflictError, match=r"vault\.key_in_use"):
        await destroy_key(vault.store, vaults.kms, CUSTODIAN, "fingerprint-1")
    assert await tried(vaults, vault) == "vault.retry_forbidden"
    await destroy_key(vault.store, vaults.kms, CUSTODIAN, "fingerprint-1")
    assert await tried(vaults, vault, "cus_eve") == "vault.retry_forbidden"
