from __future__ import annotations

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import InvalidError
from tests.wallets.vault.shop import Shop, eur
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import OperationResult, OperationStatus
from wallets.vault.providers import test_cards


@pytest.fixture
def deadline_ms() -> int:
    return 250


async def test_pages_list_every_operation_once_in_the_order_of_change(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    made = []
    for _ in range(7):
        made.append((await shop.authorized()).operation_id)
        clock.advance(10)
    clock.advance(1_000)
    seen: list[OperationResult] = []
    cursor = ""
    while (page := await vault.operations_since(cursor, 3)).operations:
        assert len(page.operations) <= 3
        seen += page.operations
        cursor = page.cursor
    assert page.cursor == cursor
    assert [each.operation_id for each in seen] == made
    assert seen[0] == await vault.operation(made[0])


async def test_many_changes_of_one_millisecond_are_paged_without_a_gap(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    made = {(await shop.authorized()).operation_id for _ in range(5)}
    clock.advance(1_000)
    seen = []
    cursor = ""
    while (page := await vault.operations_since(cursor, 2)).operations:
        seen += [each.operation_id for each in page.operations]
        cursor = page.cursor
    assert sorted(seen) == sorted(made)


async def test_what_is_committed_is_listed_at_once(vault: EmbeddedVault, shop: Shop) -> None:
    assert (await vault.operations_since("", 10)).operations == ()
    await shop.authorized()
    assert len((await vault.operations_since("", 10)).operations) == 1


async def test_an_operation_appears_again_after_it_changed(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    request = shop.request(shop.terms(await shop.method(test_cards.ANSWER_LOST), eur(1)), eur(1))
    await vault.authorize(request)
    clock.advance(1_000)
    page = await vault.operations_since("", 10)
    assert [each.status for each in page.operations] == [OperationStatus.UNKNOWN]
    await vault.operation(request.operation_id)
    clock.advance(1_000)
    page = await vault.operations_since(page.cursor, 10)
    assert [each.status for each in page.operations] == [OperationStatus.SUCCEEDED]


@pytest.mark.parametrize("cursor", ["x", "12", ".op", "1x.op_1", "-1.op"])
async def test_a_malformed_cursor_is_refused(vault: EmbeddedVault, cursor: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await vault.operations_since(cursor, 10)
    assert caught.value.code == "vault.cursor_malformed"
