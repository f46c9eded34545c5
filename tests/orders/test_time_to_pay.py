"""How long an order waits to be paid for: whoever has begun in time may finish, and nobody blocks the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.commands import pay_links
from gateway.kernel.errors import ConflictError
from gateway.orders.purchase import LONGEST_UNPAID_MS
from tests.support.invariants import violations
from tests.support.stepped_gateway import (
    HOUR,
    MINUTE,
    SECOND,
    SteppedGateway,
    stepped_gateway,
)
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME

MUG = "FJORD-MUG:physical"


@pytest.fixture
async def shop(plain_seed: Path, tmp_path: Path) -> AsyncIterator[SteppedGateway]:
    async with stepped_gateway(plain_seed, tmp_path) as found:
        yield found
        assert not violations(tmp_path / "data", at_rest=False)


async def with_link(shop: SteppedGateway) -> Any:
    return await shop.place(MUG, payment={"kind": "pay_link"})


async def without_its_link(shop: SteppedGateway) -> str:
    """Return an order of two hours ago that was to be paid by a link, which has been revoked."""
    placed = await with_link(shop)
    await shop.wait(2 * HOUR)
    await pay_links.revoke_link(shop.context, shop.merchant, placed["pay_link"]["pay_link_id"])
    order_id: str = placed["order_id"]
    return order_id


async def last_second(shop: SteppedGateway, order_id: str) -> None:
    """Let other cards be declined until the order has one second left to wait for another."""
    order = shop.order(order_id)
    end_ms = order["created_at_ms"] + LONGEST_UNPAID_MS
    while shop.clock.now_ms() < end_ms - SECOND:
        await shop.wait(min(14 * MINUTE, end_ms - SECOND - shop.clock.now_ms()))
        if shop.clock.now_ms() < end_ms - SECOND:
            await shop.pay(order_id, "insufficient_funds")
            await shop.finish_work(2)
    assert shop.order(order_id)["pay_until_ms"] == end_ms


async def test_an_accepted_attempt_has_its_time_however_old_the_order_is(shop: SteppedGateway) -> None:
    order_id = await without_its_link(shop)
    await shop.pay(order_id, "visa")
    await shop.wait(SECOND)
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "confirmed"


async def test_the_challenge_of_an_old_order_is_open_when_it_is_asked_for(shop: SteppedGateway) -> None:
    order_id = await without_its_link(shop)
    await shop.pay(order_id, "challenge")
    await shop.finish_work(2)
    (row,) = shop.rows("SELECT * FROM payment_authentication")
    assert row["expires_at_ms"] == shop.clock.now_ms() + 10 * MINUTE
    assert "Did you start this?" in (await shop.http.get(f"/pay/challenges/{row['action_id']}")).text


async def test_an_attempt_that_began_in_the_last_second_may_be_challenged_and_passed(
    shop: SteppedGateway,
) -> None:
    order_id = (await shop.place(MUG, card="insufficient_funds"))["order_id"]
    await shop.finish_work(2)
    await last_second(shop, order_id)
    await shop.pay(order_id, "challenge")
    await shop.finish_work(2)
    await shop.wait(9 * MINUTE)
    assert shop.order(order_id)["state"] == "placed"
    await shop.answer_challenge(order_id)
    await shop.wait(6 * SECOND)
    await shop.finish_work(2)
    assert shop.order(order_id)["state"] == "confirmed"


@pytest.mark.parametrize("denied", [False, True])
async def test_after_its_longest_time_an_order_ends_with_the_last_attempt(
    shop: SteppedGateway, denied: bool
) -> None:
    order_id = (await shop.place(MUG, card="insufficient_funds"))["order_id"]
    await shop.finish_work(2)
    await last_second(shop, order_id)
    if denied:
        await shop.pay(order_id, "challenge")
        await shop.finish_work(2)
        await shop.wait(5 * MINUTE)
        (row,) = shop.rows("SELECT * FROM payment_authentication")
        assert (await shop.http.post(f"/pay/challenges/{row['action_id']}/deny")).status_code == 303
    else:
        await shop.pay(order_id, "insufficient_funds")
        await shop.finish_work(2)
    order = shop.order(order_id)
    assert order["pay_until_ms"] == order["created_at_ms"] + LONGEST_UNPAID_MS
    await shop.wait(SECOND)
    assert shop.order(order_id)["state"] == "canceled"


async def test_no_attempt_begins_after_the_time_is_over(shop: SteppedGateway) -> None:
    order_id = (await shop.place(MUG, card="insufficient_funds"))["order_id"]
    await shop.finish_work(2)
    shop.clock.advance(shop.order(order_id)["pay_until_ms"] - shop.clock.now_ms())
    with pytest.raises(ConflictError) as refused:
        await shop.pay(order_id, "visa")
    assert refused.value.code == "order.not_payable"


async def test_an_abandoned_challenge_of_a_link_does_not_keep_others_from_paying(
    shop: SteppedGateway,
) -> None:
    placed = await with_link(shop)
    order_id, url = placed["order_id"], placed["pay_link"]["url"]
    card = {"number": TEST_CARDS_BY_NAME["challenge"].number, "expiry": "12/31", "code": "739"}
    assert (await shop.http.post(f"{url}/card-test", data=card)).status_code == 303
    await shop.finish_work(3)
    assert shop.intent(order_id)["state"] == "requires_action"
    await shop.wait(9 * MINUTE)
    await shop.finish_work(2)
    with pytest.raises(ConflictError) as refused:
        await shop.pay(order_id, "visa")
    assert refused.value.code == "order.not_payable"
    await shop.wait(MINUTE)
    await shop.finish_work(2)
    assert shop.events()[-1] == "payment.declined"
    await shop.pay(order_id, "visa")
    await shop.finish_work(3)
    assert shop.order(order_id)["state"] == "confirmed"
    # The abandoned one holds nothing.
    states = [each["state"] for each in shop.operations(order_id, "authorize")]
    assert sorted(states) == ["failed", "succeeded"]


async def test_an_abandoned_challenge_of_the_customer_leaves_the_rest_of_the_time(
    shop: SteppedGateway,
) -> None:
    order_id = (await shop.place(MUG, card="challenge"))["order_id"]
    await shop.finish_work(2)
    await shop.wait(10 * MINUTE)
    await shop.finish_work(2)
    assert shop.events()[-1] == "payment.declined"
    assert shop.rows("SELECT state FROM payment_authentication") == [{"state": "expired"}]
    await shop.pay(order_id, "visa")
    await shop.finish_work(3)
    assert shop.order(order_id)["state"] == "confirmed"


async def test_links_and_attempts_do_not_prolong_each_other(shop: SteppedGateway) -> None:
    placed = await with_link(shop)
    order_id, end_ms = placed["order_id"], shop.order(placed["order_id"])["pay_until_ms"]
    await shop.wait(end_ms - shop.clock.now_ms() - MINUTE)
    await shop.pay(order_id, "challenge")
    await shop.finish_work(2)
    assert shop.order(order_id)["pay_until_ms"] > end_ms
    await shop.pay_link(order_id)
    (row,) = shop.rows("SELECT action_id FROM payment_authentication")
    await shop.http.post(f"/pay/challenges/{row['action_id']}/deny")
    assert shop.order(order_id)["pay_until_ms"] == end_ms


async def test_no_link_is_made_while_only_an_attempt_keeps_the_order(shop: SteppedGateway) -> None:
    placed = await with_link(shop)
    order_id, end_ms = placed["order_id"], shop.order(placed["order_id"])["pay_until_ms"]
    await shop.wait(end_ms - shop.clock.now_ms() - MINUTE)
    await shop.pay(order_id, "challenge")
    await shop.finish_work(2)
    await shop.wait(2 * MINUTE)
    with pytest.raises(ConflictError) as refused:
        await shop.pay_link(order_id)
    assert refused.value.code == "order.not_payable"
