"""A wallet shows the newest items first, and all of them page by page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import insert

from gateway.commands import customer as customers
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders.tables import entitlement
from gateway.protocol.messages import WalletList, WalletListBody
from tests.support.stepped_gateway import SteppedGateway, stepped_gateway

MANY = 230


def wanted(**body: Any) -> WalletList:
    return WalletList(id="1", type="wallet.list", body=WalletListBody(**body))


async def filled(stepped: SteppedGateway) -> list[str]:
    """A wallet with many items; returns their leg ids, oldest first."""
    placed = await stepped.place("HALM-CHAIR:digital")
    await stepped.finish_work()
    (own,) = stepped.rows("SELECT * FROM entitlement")
    assert own["order_id"] == placed["order_id"]
    older = [{**own, "leg_id": f"leg_{number:028x}"} for number in range(MANY - 1)]

    def add(uow: UnitOfWork) -> None:
        uow.core(insert(entitlement).values(older))

    await stepped.store.write(add)
    return [*(row["leg_id"] for row in older), own["leg_id"]]


async def test_a_wallet_shows_all_its_items_page_by_page_newest_first(
    plain_seed: Path, tmp_path: Path
) -> None:
    async with stepped_gateway(plain_seed, tmp_path) as stepped:
        expected = await filled(stepped)
        found: list[str] = []
        after = None
        for _ in range(MANY):
            page = await customers.wallet(stepped.context, stepped.who, wanted(after=after))
            assert len(page["items"]) <= 50
            found += [item["leg_id"] for item in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert found == expected[::-1]


async def test_a_page_that_is_just_full_is_the_last(plain_seed: Path, tmp_path: Path) -> None:
    async with stepped_gateway(plain_seed, tmp_path) as stepped:
        await stepped.place("HALM-CHAIR:digital")
        await stepped.finish_work()
        page = await customers.wallet(stepped.context, stepped.who, wanted(limit=1))
        assert len(page["items"]) == 1 and page["next"] is None


def test_a_page_above_the_limit_is_refused() -> None:
    with pytest.raises(ValidationError):
        WalletListBody(limit=51)
