"""V17: keys are changed under a running vault; nothing is lost, and nothing is stored twice meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.kernel.errors import ConflictError
from tests.wallets.vault.agents import Agent, allow
from tests.wallets.vault.own_databases import CUSTODIAN, Vaults, vaults
from tests.wallets.vault.shop import CUSTOMER, card, eur
from wallets.vault import methods, rotation_work
from wallets.vault.crypto import RecordUnreadableError, open_record
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.keys import KeyEntry, KeyPurpose, KeyState, key_entries
from wallets.vault.kms import KeysUnavailableError, KeyUseError
from wallets.vault.kms_local import LocalKms
from wallets.vault.port import OperationStatus, StoredMethod
from wallets.vault.providers import test_cards
from wallets.vault.rotation import Rotated, destroy_key, next_key_id, resume, rotate, rows_under
from wallets.vault.tables import attempt

__all__ = ["vaults"]
RECORDS, FINGERPRINTS = KeyPurpose.RECORDS, KeyPurpose.FINGERPRINTS


async def stored(vaults: Vaults, vault: EmbeddedVault, customers: int) -> list[StoredMethod]:
    shop = vaults.shop(vault)
    return list(await asyncio.gather(*(shop.method(customer=f"cus_{n:03}") for n in range(customers))))


async def change(
    vaults: Vaults, vault: EmbeddedVault, purpose: KeyPurpose, to: str, **options: Any
) -> Rotated:
    """Rotate as the command line does: with keys of its own in hand."""
    kms = vaults.kms
    return await rotate(vault.store, kms, CUSTODIAN, purpose, to, maker=kms, **options)


async def assert_all_open(vaults: Vaults, vault: EmbeddedVault, tokens: list[StoredMethod]) -> None:
    kms = vaults.kms
    for token in tokens:
        values = {"payment_method_id": token.payment_method_id}
        row = await vault.store.read(lambda reader, values=values: reader.row(methods.GET, values))
        plain = await open_record(kms, methods.place_of(row), methods.record_of(row))
        assert methods.clear_card(plain).number.reveal()[-4:] == token.last4


async def register(vault: EmbeddedVault) -> dict[str, KeyEntry]:
    return {entry.key_id: entry for entry in await vault.store.read(key_entries)}


async def test_v17_kek_rotation_rewraps_every_record_and_retires_the_old_key(vaults: Vaults) -> None:
    vault = await vaults.open()
    tokens = await stored(vaults, vault, 25)
    await vault.card_key()
    before = vaults.sql("SELECT nonce, ciphertext, fingerprint FROM vault_method ORDER BY payment_method_id")
    left: list[int] = []
    done = await change(vaults, vault, RECORDS, "card-2", chunk=10, progress=left.append)
    assert done.is_finished
    assert done.changed == 26
    assert left == [16, 6, 1, 0]
    assert vaults.sql(
        "SELECT nonce, ciphertext, fingerprint FROM vault_method ORDER BY payment_method_id"
    ) == (before), "the records themselves are not touched"
    for table in ("vault_method", "vault_card_key"):
        assert vaults.sql(f"SELECT DISTINCT kek_id FROM {table}") == [("card-2",)]
    keys = await register(vault)
    assert (keys["card-1"].state, keys["card-2"].state) == (KeyState.RETIRED, KeyState.CURRENT)
    await assert_all_open(vaults, vault, tokens)


async def test_v17_the_running_vault_goes_on_through_a_rotation(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    old = await shop.method()
    await change(vaults, vault, RECORDS, "card-2")
    await destroy_key(vault.store, vaults.kms, CUSTODIAN, "card-1")
    assert not (vaults.keys / "kek-card-1.key").exists()
    new = await shop.method(test_cards.MASTERCARD)
    assert vaults.sql("SELECT DISTINCT kek_id FROM vault_method") == [("card-2",)]
    for method in (old, new):
        paid = await vault.authorize(shop.request(shop.terms(method, eur(5)), eur(5)))
        assert paid.status is OperationStatus.SUCCEEDED
    await vaults.close(vault)
    again = await vaults.open()
    await assert_all_open(vaults, again, [old, new])


async def test_v17_cards_stored_during_rotations_are_never_under_a_retired_key(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    tokens: list[StoredMethod] = []
    stop = asyncio.Event()

    async def keep_storing(lane: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            year = 2030 + number % 9
            tokens.append(await vault.tokenize(f"cus_{lane}_{number % 7}", card(expiry_year=year)))

    storing = [asyncio.create_task(keep_storing(lane)) for lane in range(4)]
    for turn in range(2, 6):
        await change(vaults, vault, RECORDS, f"card-{turn}", chunk=3)
        await change(vaults, vault, FINGERPRINTS, f"fingerprint-{turn}", chunk=3)
    stop.set()
    await asyncio.gather(*storing)
    retired = [key_id for key_id, entry in (await register(vault)).items() if entry.state is KeyState.RETIRED]
    assert len(retired) == 8
    for key_id in retired:
        await destroy_key(vault.store, vaults.kms, CUSTODIAN, key_id)
    await assert_all_open(vaults, vault, tokens)
    assert len({token.payment_method_id for token in tokens}) == 28, "one token for a card of a customer"
    assert vaults.sql("SELECT count(*) FROM vault_method") == [(28,)]
    assert shop


async def test_v17_a_renewal_at_the_same_moment_wins(vaults: Vaults, monkeypatch: Any) -> None:
    """The rotation has read a row; the customer enters the reissued card; then the rotation writes."""
    vault = await vaults.open()
    method = await vault.tokenize(CUSTOMER, card(expiry_year=2030))
    rewrap = LocalKms.rewrap

    async def slow_rewrap(self: LocalKms, *arguments: Any) -> bytes:
        monkeypatch.setattr(LocalKms, "rewrap", rewrap)
        renewed = await vault.tokenize(CUSTOMER, card(expiry_year=2033))
        assert renewed.payment_method_id == method.payment_method_id
        return await rewrap(self, *arguments)

    monkeypatch.setattr(LocalKms, "rewrap", slow_rewrap)
    done = await change(vaults, vault, RECORDS, "card-2")
    assert done.is_finished
    assert vaults.sql("SELECT kek_id, record_version, expiry_year FROM vault_method") == [("card-2", 2, 2033)]
    await assert_all_open(vaults, vault, [method])


async def test_v17_a_rotation_that_stopped_goes_on_where_it_was(vaults: Vaults, monkeypatch: Any) -> None:
    vault = await vaults.open()
    tokens = await stored(vaults, vault, 10)
    rewrap = LocalKms.rewrap
    calls = 0

    async def away(self: LocalKms, *arguments: Any) -> bytes:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise KeysUnavailableError("the key service gave no answer")
        return await rewrap(self, *arguments)

    monkeypatch.setattr(LocalKms, "rewrap", away)
    with pytest.raises(KeysUnavailableError):
        await change(vaults, vault, RECORDS, "card-2", chunk=3)
    left = await vault.store.read(lambda reader: rows_under(reader, RECORDS, "card-1"))
    assert left == 4
    await assert_all_open(vaults, vault, tokens)
    with pytest.raises(ConflictError) as caught:
        await change(vaults, vault, RECORDS, "card-3")
    assert caught.value.code == "vault.rotation_open"
    assert not (vaults.keys / "kek-card-3.key").exists()
    monkeypatch.setattr(LocalKms, "rewrap", rewrap)
    done = await resume(vault.store, vaults.kms, CUSTODIAN, RECORDS)
    assert done is not None
    assert (done.changed, done.is_finished) == (4, True)
    assert await resume(vault.store, vaults.kms, CUSTODIAN, RECORDS) is None


async def test_v17_a_record_that_does_not_open_keeps_the_old_key(vaults: Vaults) -> None:
    vault = await vaults.open()
    tokens = await stored(vaults, vault, 5)
    spoiled = tokens[2].payment_method_id
    vaults.sql("UPDATE vault_method SET customer_id = 'cus_eve' WHERE payment_method_id = :id", id=spoiled)
    done = await change(vaults, vault, RECORDS, "card-2")
    assert done.left == (spoiled,)
    assert (await register(vault))["card-1"].state is KeyState.RETIRING
    with pytest.raises(ConflictError):
        await destroy_key(vault.store, vaults.kms, CUSTODIAN, "card-1")
    done = await change(vaults, vault, FINGERPRINTS, "fingerprint-2")
    assert done.left == (spoiled,)
    vaults.sql(f"UPDATE vault_method SET customer_id = 'cus_002' WHERE payment_method_id = '{spoiled}'")
    for purpose in (RECORDS, FINGERPRINTS):
        finished = await resume(vault.store, vaults.kms, CUSTODIAN, purpose)
        assert finished is not None and finished.is_finished


async def test_v17_a_key_has_one_life_and_is_destroyed_only_when_asked(vaults: Vaults) -> None:
    vault = await vaults.open()
    await change(vaults, vault, RECORDS, "card-2")
    assert (vaults.keys / "kek-card-1.key").exists(), "retired is not destroyed"
    for used in ("card-1", "card-2", "fingerprint-1"):
        with pytest.raises(ConflictError) as caught:
            await change(vaults, vault, RECORDS, used)
        assert caught.value.code == "vault.key_known"
    for in_use in ("card-2", "fingerprint-1", "audit-1", "no-such"):
        with pytest.raises(ConflictError) as caught:
            await destroy_key(vault.store, vaults.kms, CUSTODIAN, in_use)
        assert caught.value.code == "vault.key_in_use"
    assert next_key_id(await vault.store.read(key_entries), RECORDS) == "card-3"


async def test_v17_a_fingerprint_key_stays_while_answers_to_agents_need_it(vaults: Vaults) -> None:
    vault = await vaults.open()
    agent = Agent(vault.delegated_payments(allow), vaults.clock)
    body = agent.body()
    first = await agent.post(body, Idempotency_Key="k")
    await change(vaults, vault, FINGERPRINTS, "fingerprint-2")
    with pytest.raises(ConflictError, match=r"vault\.key_in_use"):
        await destroy_key(vault.store, vaults.kms, CUSTODIAN, "fingerprint-1")
    assert (await agent.post(body, Idempotency_Key="k")).json() == first.json()
    await agent.client.aclose()


async def test_v17_a_missing_new_key_does_not_become_current(vaults: Vaults) -> None:
    vault = await vaults.open()
    with pytest.raises(KeyUseError):
        await rotate(vault.store, vaults.kms, CUSTODIAN, RECORDS, "card-2", maker=None)
    assert (await register(vault))["card-1"].state is KeyState.CURRENT


async def test_v17_fingerprint_rotation_keeps_recognizing_cards_in_its_window(
    vaults: Vaults, monkeypatch: Any
) -> None:
    vault = await vaults.open()
    tokens = await stored(vaults, vault, 6)
    open_record_ = open_record
    recognized: list[StoredMethod] = []
    window_is_open = False

    async def half_way(*arguments: Any) -> bytes:
        nonlocal window_is_open
        if not window_is_open:
            window_is_open = True
            # The window is open and nothing is backfilled yet: the same cards, and a new one.
            recognized.extend(await stored(vaults, vault, 7))
        return await open_record_(*arguments)

    monkeypatch.setattr(rotation_work, "open_record", half_way)
    done = await change(vaults, vault, FINGERPRINTS, "fingerprint-2")
    assert done.is_finished
    assert recognized[:6] == tokens
    assert vaults.sql("SELECT DISTINCT fingerprint_key_id FROM vault_method") == [("fingerprint-2",)]
    await destroy_key(vault.store, vaults.kms, CUSTODIAN, "fingerprint-1")
    assert await stored(vaults, vault, 7) == recognized, "and they are recognized afterwards"
    assert vaults.sql("SELECT count(*) FROM vault_method") == [(7,)]


async def test_v17_fingerprint_rotation_records_each_access_and_keeps_what_networks_count(
    vaults: Vaults,
) -> None:
    vault = await vaults.open()
    tokens = await stored(vaults, vault, 3)
    ((old,),) = vaults.sql("SELECT DISTINCT fingerprint FROM vault_method")
    await vault.store.write(lambda uow: uow.core(attempt.insert().values(attempt_of(old))))
    await change(vaults, vault, FINGERPRINTS, "fingerprint-2")
    read = vaults.sql("SELECT object_id FROM vault_audit WHERE action = 'method.read' ORDER BY object_id")
    assert [row[0] for row in read] == sorted(token.payment_method_id for token in tokens)
    ((new,),) = vaults.sql("SELECT DISTINCT fingerprint FROM vault_method")
    assert bytes(new) != bytes(old)
    assert [bytes(row[0]) for row in vaults.sql("SELECT fingerprint FROM vault_attempt")] == [bytes(new)]


def attempt_of(fingerprint: bytes) -> dict[str, Any]:
    return {
        **{column.name: "x" for column in attempt.columns},
        "fingerprint": bytes(fingerprint),
        "at_ms": 1,
        "counts": 1,
        "wait_until_ms": None,
    }


async def test_v17_a_new_audit_key_seals_and_the_old_one_still_verifies(vaults: Vaults) -> None:
    vault = await vaults.open()
    await vault.sealer.seal()
    done = await change(vaults, vault, KeyPurpose.AUDIT, "audit-2")
    assert done.is_finished
    # The running vault was not told.
    await vaults.shop(vault).authorized()
    await vault.sealer.seal()
    used = vaults.sql("SELECT mac_key_id FROM vault_audit_seal ORDER BY seal_no")
    assert used == [("audit-1",), ("audit-2",)]
    assert (await vaults.verdict(vault)).is_intact


async def test_v8_every_act_on_keys_is_on_the_audit_trail(vaults: Vaults) -> None:
    vault = await vaults.open()
    await stored(vaults, vault, 2)
    await change(vaults, vault, RECORDS, "card-2")
    await destroy_key(vault.store, vaults.kms, CUSTODIAN, "card-1")
    told = vaults.sql(
        "SELECT action, object_id, detail FROM vault_audit WHERE actor_id = 'kim' ORDER BY audit_id"
    )
    assert told == [
        ("key.register", "card-2", "records after card-1"),
        ("rotation.step", "card-1", "2 of vault_method to card-2"),
        ("key.retire", "card-1", "records"),
        ("key.destroy", "card-1", "records"),
    ]


async def test_v17_destroying_a_key_makes_old_copies_unreadable(vaults: Vaults) -> None:
    vault = await vaults.open()
    (token,) = await stored(vaults, vault, 1)
    values = {"payment_method_id": token.payment_method_id}
    backup = await vault.store.read(lambda reader: reader.row(methods.GET, values))
    await change(vaults, vault, RECORDS, "card-2")
    assert await open_record(vaults.kms, methods.place_of(backup), methods.record_of(backup))
    await destroy_key(vault.store, vaults.kms, CUSTODIAN, "card-1")
    with pytest.raises(RecordUnreadableError):
        await open_record(vaults.kms, methods.place_of(backup), methods.record_of(backup))
