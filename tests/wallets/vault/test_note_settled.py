"""P9: what no query can tell any more is settled by the provider's settlement file, and only what is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from tests.wallets.vault.apart import apart
from tests.wallets.vault.shop import CUSTOMER, Shop, eur, sql
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import Capture, MethodKind, OperationResult, OperationStatus, PassedMethod
from wallets.vault.providers import test_cards
from wallets.vault.secret import Secret

S = OperationStatus


@pytest.fixture
def deadline_ms() -> int:
    return 200


async def unknown_capture(shop: Shop) -> OperationResult:
    request = await shop.authorized(test_cards.CAPTURE_ANSWER_LOST)
    capture = Capture(shop.op(), request.operation_id, eur(400))
    result = await shop.vault.capture(capture)
    assert result.status is S.UNKNOWN
    return result


async def test_p9_an_unknown_capture_is_settled_by_what_the_file_says_and_listed(
    vault: EmbeddedVault, shop: Shop
) -> None:
    capture = await unknown_capture(shop)
    cursor = (await vault.operations_since("", 100)).cursor
    settled = await vault.note_settled(capture.operation_id, "simulated", "sim_of_file")
    assert settled is not None
    assert (settled.status, settled.provider_reference) == (S.SUCCEEDED, "sim_of_file")
    page = await vault.operations_since(cursor, 100)
    assert [(one.operation_id, one.status) for one in page.operations] == [
        (capture.operation_id, S.SUCCEEDED)
    ]
    # Again, and with another name: it is decided.
    again = await vault.note_settled(capture.operation_id, "simulated", "sim_other")
    assert again is not None
    assert again.provider_reference == "sim_of_file"


async def test_p9_what_is_decided_or_never_seen_stays_as_it_is(vault: EmbeddedVault, shop: Shop) -> None:
    assert await vault.note_settled(shop.op(), "simulated", "sim_x") is None
    request = await shop.authorized(test_cards.CAPTURE_DECLINED)
    declined = await shop.capture(request.operation_id, eur(400))
    assert declined.status is S.DECLINED
    told = await vault.note_settled(declined.operation_id, "simulated", "sim_x")
    assert told is not None
    assert told.status is S.DECLINED


async def test_p9_an_authorization_is_in_no_settlement_file(vault: EmbeddedVault, shop: Shop) -> None:
    method = await shop.method(test_cards.NEVER_ARRIVES)
    request = shop.request(shop.terms(method, eur(5)), eur(5))
    assert (await vault.authorize(request)).status is S.UNKNOWN
    told = await vault.note_settled(request.operation_id, "simulated", "sim_x")
    assert told is not None
    assert told.status is S.UNKNOWN


async def test_p9_the_file_of_another_provider_settles_nothing(vault: EmbeddedVault, shop: Shop) -> None:
    capture = await unknown_capture(shop)
    assert await vault.note_settled(capture.operation_id, "stripe", "py_of_file") is None
    still = await vault.operations_since("", 100)
    assert {one.status for one in still.operations if one.operation_id == capture.operation_id} == {S.UNKNOWN}


async def test_p9_what_people_decide_is_settled_by_no_file(
    own_vault: EmbeddedVault, clock: ManualClock, ids: TimeSortedIds
) -> None:
    shop = Shop(own_vault, clock, ids)
    method = await own_vault.store_method(CUSTOMER, PassedMethod(MethodKind.CASH, Secret("")))
    request = shop.request(shop.terms(method, eur(1_000)), eur(1_000))
    assert (await own_vault.authorize(request)).status is S.SUCCEEDED
    capture = await shop.capture(request.operation_id, eur(400))
    assert capture.status is S.UNKNOWN
    for name in ("simulated", "cash"):
        assert await own_vault.note_settled(capture.operation_id, name, "sim_of_file") is None
    found = await own_vault.operation(capture.operation_id)
    assert found is not None
    assert found.status is S.UNKNOWN


async def test_v9_who_settled_by_a_file_is_on_the_audit_trail(
    own_vault: EmbeddedVault, clock: ManualClock, ids: TimeSortedIds, tmp_path: Path
) -> None:
    capture = await unknown_capture(Shop(own_vault, clock, ids))
    async with apart(own_vault, clock) as remote:
        for _ in range(2):
            await remote.note_settled(capture.operation_id, "simulated", "sim_of_file")
    rows = sql(
        tmp_path / "vault" / "vault.db",
        "SELECT actor_role, actor_id, object_id FROM vault_audit WHERE action = 'operation.settle'",
    )
    assert rows == [("gateway", "tests", capture.operation_id)]
