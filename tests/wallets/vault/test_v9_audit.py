"""V9: every access is on the audit trail, and the trail shows when somebody touched it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from gateway.kernel.errors import InvalidError
from tests.wallets.vault.own_databases import CUSTODIAN, Vaults, vaults
from tests.wallets.vault.shop import CUSTOMER, MERCHANT, card, eur, refused
from wallets.vault import audit_sealing
from wallets.vault.audit import Action, Actor, acting_as, note
from wallets.vault.audit_chain import Head
from wallets.vault.audit_keeping import RETENTION_MS, export_audit, purge_audit
from wallets.vault.audit_sealing import AuditSealer
from wallets.vault.audit_verifying import Verdict
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.keys import KeyPurpose
from wallets.vault.kms_local import LocalKms
from wallets.vault.port import OperationStatus, Payout, StoredMethod
from wallets.vault.providers import test_cards
from wallets.vault.rotation import rotate

__all__ = ["vaults"]


def trail(vaults: Vaults) -> list[tuple[str, ...]]:
    return vaults.sql(
        "SELECT actor_role, actor_id, action, outcome, object_id, detail FROM vault_audit ORDER BY audit_id"
    )


async def filled(vaults: Vaults, sales: int = 5) -> EmbeddedVault:
    """A vault with some sealed rows on its trail."""
    vault = await vaults.open()
    shop = vaults.shop(vault)
    for _ in range(sales):
        await shop.authorized()
    await vault.sealer.seal()
    return vault


async def last_head(vaults: Vaults) -> Head:
    (row,) = vaults.sql(
        "SELECT seal_no, last_id, head, mac FROM vault_audit_seal ORDER BY seal_no DESC LIMIT 1"
    )
    return Head(*row)


async def test_v9_each_access_has_its_row_with_who_what_outcome_and_object(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    gateway = Actor("gateway", "eu-1", "10.0.0.7")
    with acting_as(gateway):
        method = await shop.method()
        paid = shop.request(shop.terms(method, eur(5)), eur(5))
        assert (await vault.authorize(paid)).status is OperationStatus.SUCCEEDED
        await vault.authorize(paid)  # a repeat opens nothing
        await shop.capture(paid.operation_id, eur(5))  # nor does a capture
        alien = shop.request(shop.terms(method, eur(5), customer_id="cus_eve"), eur(5), customer_id="cus_eve")
        assert refused(await vault.authorize(alien)) == "vault.method_unknown"
        await vault.revoke(paid.allowance.allowance_id)
        with pytest.raises(InvalidError):
            await vault.tokenize(CUSTOMER, card(test_cards.WRONG_SECURITY_CODE))
        assert await vault.remove_method(CUSTOMER, method.payment_method_id)
        assert not await vault.remove_method(CUSTOMER, method.payment_method_id)
    mine = [row[2:] for row in trail(vaults) if row[:2] == ("gateway", "eu-1")]
    token = method.payment_method_id
    assert mine == [
        ("method.store", "ok", token, ""),
        ("method.use", "ok", token, paid.operation_id),
        ("method.use", "vault.method_unknown", token, alien.operation_id),
        ("allowance.revoke", "ok", paid.allowance.allowance_id, ""),
        ("method.store", "card.declined", "", CUSTOMER),
        ("method.remove", "ok", token, CUSTOMER),
        ("method.remove", "vault.method_unknown", token, CUSTOMER),
    ]
    assert vaults.sql("SELECT DISTINCT origin FROM vault_audit WHERE actor_id = 'eu-1'") == [("10.0.0.7",)]
    now_ms = time.time_ns() // 1_000_000
    ((oldest, newest),) = vaults.sql("SELECT min(at_ms), max(at_ms) FROM vault_audit")
    assert now_ms - 60_000 < oldest <= newest <= now_ms + 1_000


async def test_v9_no_record_is_opened_without_its_row(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at the keys, which no path leads around."""
    vault = await vaults.open()
    shop = vaults.shop(vault)
    unwrap, opened = LocalKms.unwrap, 0

    async def counted(self: LocalKms, *arguments: Any) -> bytes:
        nonlocal opened
        opened += 1
        return await unwrap(self, *arguments)

    monkeypatch.setattr(LocalKms, "unwrap", counted)
    method = await shop.method()
    for _ in range(3):
        paid = shop.request(shop.terms(method, eur(5)), eur(5))
        await vault.authorize(paid)
        await vault.authorize(paid)
        await shop.capture(paid.operation_id, eur(3))
    sent = Payout(shop.op(), method.payment_method_id, CUSTOMER, MERCHANT, "ord_1", eur(2))
    assert (await vault.payout(sent)).status is OperationStatus.SUCCEEDED
    assert opened == 4
    kms = LocalKms(vaults.keys)
    await rotate(vault.store, kms, CUSTODIAN, KeyPurpose.FINGERPRINTS, "fingerprint-2", maker=kms)
    assert opened == 5
    rows = vaults.sql(
        "SELECT count(*) FROM vault_audit WHERE action IN ('method.use', 'method.read') AND object_id = :id",
        id=method.payment_method_id,
    )
    assert rows == [(opened,)]


async def test_v9_the_trail_says_when_it_starts_and_stops(vaults: Vaults) -> None:
    await vaults.close(await vaults.open())
    vault = await vaults.open()
    assert [row[2] for row in trail(vaults)] == ["audit.start", "audit.stop", "audit.start"]
    await vault.sealer.seal()
    verdict = await vaults.verdict(vault)
    assert verdict.is_intact
    assert verdict.rows == 3


async def test_v9_a_record_that_does_not_open_is_a_failed_access(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    method = await shop.method()
    vaults.sql("UPDATE vault_method SET customer_id = 'cus_eve'")
    request = shop.request(shop.terms(method, eur(5), customer_id="cus_eve"), eur(5), customer_id="cus_eve")
    assert (await vault.authorize(request)).refusal == "vault.record_unreadable"
    assert [row[3] for row in trail(vaults) if row[2] == "method.use"] == ["ok", "vault.record_unreadable"]


async def test_v9_an_untouched_trail_verifies(vaults: Vaults) -> None:
    vault = await filled(vaults, 30)
    verdict = await vaults.verdict(vault, await last_head(vaults))
    assert verdict.broken is None
    assert verdict.rows == vaults.sql("SELECT count(*) FROM vault_audit")[0][0]
    assert verdict.unsealed == 0
    await vaults.shop(vault).authorized()
    assert (await vaults.verdict(vault)).unsealed >= 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE vault_audit SET actor_id = 'somebody' WHERE audit_id = 4",
        "UPDATE vault_audit SET outcome = 'refused' WHERE audit_id = 4",
        "UPDATE vault_audit SET at_ms = at_ms - 1 WHERE audit_id = 4",
        "UPDATE vault_audit SET object_id = 'pm_other' WHERE audit_id = 4",
        "DELETE FROM vault_audit WHERE audit_id = 4",
    ],
)
async def test_v9_a_changed_or_deleted_row_is_caught_and_named(vaults: Vaults, change: str) -> None:
    vault = await filled(vaults)
    vaults.past_the_triggers(change)
    assert named(await vaults.verdict(vault)) == 4


async def test_v9_two_rows_that_changed_places_are_caught(vaults: Vaults) -> None:
    vault = await filled(vaults)
    vaults.past_the_triggers("UPDATE vault_audit SET audit_id = -1 WHERE audit_id = 3")
    vaults.past_the_triggers("UPDATE vault_audit SET audit_id = 3 WHERE audit_id = 5")
    vaults.past_the_triggers("UPDATE vault_audit SET audit_id = 5 WHERE audit_id = -1")
    assert named(await vaults.verdict(vault)) == 3


async def test_v9_a_row_that_was_put_in_is_caught(vaults: Vaults) -> None:
    vault = await filled(vaults)
    vaults.past_the_triggers("DELETE FROM vault_audit WHERE audit_id = 4")
    vaults.past_the_triggers("UPDATE vault_audit SET audit_id = 4 WHERE audit_id = 5")
    assert named(await vaults.verdict(vault)) == 4


async def test_v9_a_cut_tail_of_sealed_rows_is_caught(vaults: Vaults) -> None:
    vault = await filled(vaults)
    ((last,),) = vaults.sql("SELECT max(audit_id) FROM vault_audit")
    vaults.past_the_triggers(f"DELETE FROM vault_audit WHERE audit_id = {last}")
    assert named(await vaults.verdict(vault)) == last


async def test_v9_a_tail_that_is_cut_with_its_seals_is_caught_by_the_anchor(vaults: Vaults) -> None:
    vault = await filled(vaults)
    kept = await last_head(vaults)
    await vaults.shop(vault).authorized()
    await vault.sealer.finish()
    anchor = await vault.sealer.anchor.last()
    assert anchor is not None and anchor.seal_no > kept.seal_no
    vaults.past_the_triggers(f"DELETE FROM vault_audit_seal WHERE seal_no > {kept.seal_no}")
    vaults.past_the_triggers(f"DELETE FROM vault_audit WHERE audit_id > {kept.last_id}")
    assert (await vaults.verdict(vault)).is_intact, "without the anchor the shorter chain is a chain"
    assert named(await vaults.verdict(vault, anchor)) == kept.last_id + 1


async def test_v9_a_missing_beginning_or_middle_is_caught(vaults: Vaults) -> None:
    vault = await filled(vaults)
    await vaults.shop(vault).authorized()
    await vault.sealer.seal()
    vaults.past_the_triggers("DELETE FROM vault_audit_seal WHERE seal_no = 1")
    assert named(await vaults.verdict(vault)) == 1
    vaults.past_the_triggers("DELETE FROM vault_audit WHERE audit_id <= 6")
    assert named(await vaults.verdict(vault)) == 1


async def test_v9_a_chain_made_anew_without_the_key_is_caught(vaults: Vaults) -> None:
    """Somebody who may write everything in the database, and knows how, still has no key."""
    vault = await filled(vaults)
    vaults.past_the_triggers("UPDATE vault_audit SET outcome = 'forged' WHERE audit_id = 2")
    vaults.past_the_triggers("DELETE FROM vault_audit_seal")
    forger = AuditSealer(vault.store, OtherKeys(), vault.ring, None, CUSTODIAN)
    await forger.seal()
    broken = (await vaults.verdict(vault)).broken
    assert broken is not None
    assert "not ours" in str(broken)


class OtherKeys:
    async def mac(self, key_id: str, data: bytes) -> bytes:
        return b"forged" * 5 + b"!!"


async def test_v9_the_database_itself_refuses_changes(vaults: Vaults) -> None:
    await filled(vaults)
    for statement in (
        "UPDATE vault_audit SET outcome = 'x' WHERE audit_id = 1",
        "DELETE FROM vault_audit WHERE audit_id = 1",
        "UPDATE vault_audit_seal SET row_count = 1",
        "DELETE FROM vault_audit_seal",
        *(["TRUNCATE vault_audit", "TRUNCATE vault_audit_seal"] if vaults.url else []),
    ):
        with pytest.raises(DBAPIError, match="append only"):
            vaults.sql(statement)


async def test_v9_rows_are_sealed_by_themselves_and_anchored(vaults: Vaults) -> None:
    vault = await vaults.open()
    await vaults.shop(vault).authorized()
    deadline = time.monotonic() + 10
    while (await vaults.verdict(vault)).unsealed:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    while (head := await vault.sealer.anchor.last()) is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert head.mac == (await last_head(vaults)).mac


async def test_v9_the_last_seal_is_anchored_in_time_when_nothing_more_happens(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sealing, "_ANCHOR_EVERY_S", 1.5)
    vault = await vaults.open()
    deadline = time.monotonic() + 10
    while await vault.sealer.anchor.last() is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    # Sealed before the next anchor is due, and then silence.
    await vaults.shop(vault).authorized()
    while (await vault.sealer.anchor.last()) != await last_head(vaults) or (
        (await vaults.verdict(vault)).unsealed
    ):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_v9_concurrent_writers_and_sealers_make_one_chain(vaults: Vaults) -> None:
    vault = await vaults.open()
    sealers = [AuditSealer(vault.store, vaults.kms, vault.ring, None, CUSTODIAN) for _ in range(3)]
    writing = asyncio.gather(
        *(
            vault.store.write(lambda uow, number=number: note(uow, CUSTODIAN, Action.ACCESS, str(number)))
            for number in range(600)
        )
    )
    while not writing.done():
        await asyncio.gather(*(sealer.seal() for sealer in sealers))
    await asyncio.gather(*(sealer.seal() for sealer in sealers))
    verdict = await vaults.verdict(vault)
    assert verdict.broken is None
    assert (verdict.rows, verdict.unsealed) == (601, 0)


@pytest.mark.parametrize("vaults", ["postgresql"], indirect=True)
async def test_v9_a_slow_batch_with_smaller_numbers_is_waited_for(vaults: Vaults) -> None:
    """On PostgreSQL rows may be committed out of the order of their numbers; none may be passed over."""
    vault = await vaults.open()
    from sqlalchemy import create_engine, text

    engine = create_engine(vaults.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as slow:
        slow.execute(text("SELECT pg_current_xact_id()"))
        slow.execute(
            text(
                "INSERT INTO vault_audit (at_ms, actor_role, actor_id, origin, action, outcome, object_id, detail)"
                " VALUES (1, 'a', 'b', 'c', 'd', 'e', 'f', 'g')"
            )
        )
        await vault.store.write(lambda uow: note(uow, CUSTODIAN, Action.ACCESS, "later"))
        sealing = asyncio.create_task(vault.sealer.seal())
        await asyncio.sleep(0.2)
        assert not sealing.done()
        slow.commit()
    await sealing
    engine.dispose()
    verdict = await vaults.verdict(vault)
    assert (verdict.rows, verdict.unsealed) == (3, 0)


async def test_v9_the_export_is_json_lines_and_reading_it_is_recorded(vaults: Vaults) -> None:
    vault = await filled(vaults)
    rows = [row async for row in export_audit(vault.store, CUSTODIAN)]
    assert [row["audit_id"] for row in rows] == sorted(row["audit_id"] for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    assert rows[-1]["action"] == "audit.read"
    assert (rows[-1]["actor_role"], rows[-1]["actor_id"], rows[-1]["origin"]) == (
        "custodian",
        "kim",
        "desk-7",
    )
    assert rows[0]["at"].endswith("Z")
    assert Counter(row["action"] for row in rows)["method.use"] == 5
    early = [row async for row in export_audit(vault.store, CUSTODIAN, 0, rows[0]["at_ms"])]
    assert early == []


async def test_v9_twelve_months_are_kept_and_what_is_older_can_be_let_go(vaults: Vaults) -> None:
    vault = await filled(vaults)
    now_ms = vaults.clock.now_ms()
    with pytest.raises(InvalidError, match="audit_kept"):
        await purge_audit(vault.store, vaults.kms, vault.ring, CUSTODIAN, now_ms - RETENTION_MS + 1, now_ms)
    # As if it were fourteen months later: the present seals and their rows are that old.
    age_ms = RETENTION_MS + 30 * 24 * 3_600_000
    head = await last_head(vaults)
    vaults.past_the_triggers(f"UPDATE vault_audit SET at_ms = at_ms - {age_ms}")
    vaults.past_the_triggers("DELETE FROM vault_audit_seal")
    await vault.sealer.seal()
    vaults.past_the_triggers(f"UPDATE vault_audit_seal SET sealed_at_ms = sealed_at_ms - {age_ms}")
    await vaults.shop(vault).authorized()
    await vault.sealer.seal()
    gone = await purge_audit(vault.store, vaults.kms, vault.ring, CUSTODIAN, now_ms - RETENTION_MS, now_ms)
    assert gone == head.last_id
    await vault.sealer.seal()
    verdict = await vaults.verdict(vault)
    assert verdict.broken is None
    assert vaults.sql("SELECT min(audit_id) FROM vault_audit") == [(gone + 1,)]
    # A purge that nobody with the key wrote down is none.
    vaults.past_the_triggers("UPDATE vault_audit SET detail = '00' WHERE action = 'audit.purge'")
    assert not (await vaults.verdict(vault)).is_intact


async def test_v9_no_row_of_the_trail_holds_card_data(vaults: Vaults) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    for number in (test_cards.VISA, test_cards.AMEX, test_cards.LOST_CARD, test_cards.WRONG_SECURITY_CODE):
        method: StoredMethod | None = None
        try:
            method = await shop.method(number)
        except InvalidError:
            continue
        await vault.authorize(shop.request(shop.terms(method, eur(5)), eur(5)))
    told = json.dumps([row async for row in export_audit(vault.store, CUSTODIAN)])
    for canary in (test_cards.VISA, test_cards.AMEX[6:], test_cards.LOST_CARD[6:], "Lovelace"):
        assert canary not in told


def named(verdict: Verdict) -> int | None:
    """The row that the verifier names."""
    assert verdict.broken is not None, "the verifier saw nothing"
    return verdict.broken.audit_id


async def test_v9_grants_approvals_and_card_keys_are_on_the_trail(vaults: Vaults) -> None:
    """PCI DSS 10.2.1.5 and 10.2.1.7: what changes who may spend, and keys that are made."""
    vault = await vaults.open()
    shop = vaults.shop(vault)
    terms = shop.terms(await shop.method(), eur(100))
    await vault.grant(terms)
    key = await vault.card_key()
    found = {(row[2], row[4]) for row in trail(vaults)}
    assert ("allowance.grant", terms.allowance_id) in found
    assert ("key.card_key", key.key_id) in found
