"""Limits that count a customer's other orders hold for orders that are placed at the same moment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.errors import ConflictError
from tests.support.stepped_gateway import SteppedGateway, stepped_gateway

CHAIR = "HALM-CHAIR:digital"


async def at_once(shop: SteppedGateway, number: int) -> list[Any]:
    """Place so many orders together; a refusal is an answer too."""
    quotes = [await shop.quote(CHAIR) for _ in range(number)]
    await shop.method("visa")
    return await asyncio.gather(*(shop.place_quoted(each) for each in quotes), return_exceptions=True)


async def test_no_more_orders_wait_for_their_payment_than_allowed(plain_seed: Path, tmp_path: Path) -> None:
    async with stepped_gateway(plain_seed, tmp_path, most_unpaid=2) as shop:
        answers = await at_once(shop, 8)
        refused = [each for each in answers if isinstance(each, ConflictError)]
        assert len(answers) - len(refused) == 2
        assert {each.code for each in refused} == {"order.too_many_unpaid"}
        await shop.finish_work(3)
        assert await shop.place(CHAIR), "paid orders make room for others"


@pytest.mark.parametrize("together", [False, True])
async def test_p15_an_exemption_counts_from_when_it_is_asked_for(
    plain_seed: Path, tmp_path: Path, together: bool
) -> None:
    async with stepped_gateway(plain_seed, tmp_path, sca_exemptions="low_value") as shop:
        if together:
            await at_once(shop, 14)
        else:
            for _ in range(14):
                await shop.place(CHAIR)
        rows = shop.rows(
            "SELECT i.amount_minor FROM payment_attempt a JOIN payment_intent i USING (order_id) "
            "WHERE a.exemption IS NOT NULL"
        )
        used = [row["amount_minor"] for row in rows]
        # The issuer counts one of the two, and whichever it is has not been passed.
        assert 0 < len(used) < 14
        assert len(used) <= 5 or sum(used) <= 100_00
        await shop.finish_work()
        assert shop.rows("SELECT count(*) AS n FROM customer_order WHERE state = 'placed'") == [{"n": 0}]
