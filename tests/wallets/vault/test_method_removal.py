"""A removed method is destroyed; what was paid with it can still be captured and given back."""

from __future__ import annotations

from typing import Any

from tests.wallets.vault.own_databases import Vaults, vaults
from tests.wallets.vault.shop import CUSTOMER, card, eur, refused
from tests.wallets.vault.test_v4_records import row_of, whole_database
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.keys import KeyPurpose
from wallets.vault.port import OperationStatus, StoredMethod
from wallets.vault.rotation import rotate

__all__ = ["vaults"]


async def remove(vault: EmbeddedVault, method: StoredMethod) -> bool:
    return await vault.remove_method(CUSTOMER, method.payment_method_id)


async def test_record_key_and_fingerprint_of_a_removed_method_are_gone(vaults: Vaults) -> None:
    vault = await vaults.open()
    method = await vaults.shop(vault).method()
    before = await row_of(vault, method)
    assert await remove(vault, method)
    after = await row_of(vault, method)
    for column in ("fingerprint_key_id", "fingerprint", "kek_id", "wrapped_key", "nonce", "ciphertext"):
        assert getattr(before, column) is not None
        assert getattr(after, column) is None
    assert after.account_reference is None
    assert after.removed_at_ms is not None
    assert await vault.methods(CUSTOMER) == []
    if not vaults.url:
        vaults.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    left = whole_database(vaults)
    for column in ("fingerprint", "wrapped_key", "ciphertext"):
        assert bytes(getattr(before, column)) not in left, "not even in free pages"


async def test_later_authorizations_are_refused_and_earlier_ones_are_finished(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    method = await shop.method()
    terms = shop.terms(method, eur(100))
    paid = shop.request(terms, eur(50))
    assert (await vault.authorize(paid)).status is OperationStatus.SUCCEEDED
    assert await remove(vault, method)
    captured = await shop.capture(paid.operation_id, eur(30))
    assert captured.status is OperationStatus.SUCCEEDED
    assert (await shop.refund(captured.operation_id, eur(10))).status is OperationStatus.SUCCEEDED
    assert (await shop.void(paid.operation_id)).status is OperationStatus.SUCCEEDED
    later = await vault.authorize(shop.request(terms, eur(5)))
    assert refused(later) == "vault.method_unknown"
    assert (await vault.authorize(paid)).status is OperationStatus.SUCCEEDED, "a repeat gets its answer"


async def test_removing_is_the_owners_and_happens_once(vaults: Vaults) -> None:
    vault = await vaults.open()
    method = await vaults.shop(vault).method()
    assert not await vault.remove_method("cus_eve", method.payment_method_id)
    assert await vault.methods(CUSTOMER) == [method]
    assert await remove(vault, method)
    assert not await remove(vault, method)
    told = vaults.sql("SELECT outcome FROM vault_audit WHERE action = 'method.remove' ORDER BY audit_id")
    assert told == [("vault.method_unknown",), ("ok",), ("vault.method_unknown",)]


async def test_the_same_card_can_be_stored_again_as_a_new_method(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    first = await shop.method()
    await remove(vault, first)
    second = await shop.method()
    assert second.payment_method_id != first.payment_method_id
    await remove(vault, second)
    third = await shop.method()
    assert await vault.methods(CUSTOMER) == [third]


async def test_a_renewal_that_races_a_removal_does_not_bring_the_card_back(
    vaults: Vaults, monkeypatch: Any
) -> None:
    """The card is known when the renewal looks, and removed before it writes."""
    vault = await vaults.open()
    method = await vault.tokenize(CUSTOMER, card(expiry_year=2030))
    renew = vault._methods._renew
    raced = False

    async def removed_meanwhile(*arguments: Any) -> Any:
        nonlocal raced
        if not raced:
            raced = True
            assert await remove(vault, method)
        return await renew(*arguments)

    monkeypatch.setattr(vault._methods, "_renew", removed_meanwhile)
    again = await vault.tokenize(CUSTOMER, card(expiry_year=2033))
    assert raced
    assert again.payment_method_id != method.payment_method_id
    assert (await row_of(vault, method)).ciphertext is None


async def test_rotations_pass_over_removed_methods(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    await remove(vault, await shop.method())
    kept = await shop.method(customer="cus_other")
    kms = vaults.kms
    for purpose, new in ((KeyPurpose.RECORDS, "card-2"), (KeyPurpose.FINGERPRINTS, "fingerprint-2")):
        done = await rotate(vault.store, kms, vault.sealer.actor, purpose, new, maker=kms)
        assert (done.changed, done.is_finished) == (1, True)
    assert (await row_of(vault, kept)).kek_id == "card-2"
