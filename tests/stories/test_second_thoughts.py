"""After the purchase: canceling before, during and after the point of no return, refunds, parts that fail."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from fulfillment.backends.port import BackendOrder, BackendReceipt, BackendRefusedError
from samples.headset.client import CommandError
from tests.support.buying import buy, ended, legs, show, told, until
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed


async def _parcel(shop: OpenGateway, order_id: str) -> str:
    """Wait until the backend has the order's parcel and return its reference."""

    async def there() -> str | None:
        rows = shop.evidence.rows(
            "SELECT fulfillment_order_id AS id FROM fulfillment_order WHERE order_id = ? AND state = 'accepted'",
            order_id,
        )
        return rows[0]["id"] if rows else None

    return str(await until(there))


# --- Canceling --------------------------------------------------------------------------------------


async def test_an_order_canceled_before_anything_started_costs_nothing(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", workers=False) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
            reply = await headset.command("order.cancel", {"order_id": order_id, "reason": "too dear"})
            assert reply["state"] == "canceled"
            last = await ended(headset, order_id)
            assert last["body"]["reason"] == "too dear"
            assert shop.available("KUPPEL-LAMP") == 43
            with pytest.raises(CommandError) as again:
                await headset.command("order.cancel", {"order_id": order_id})
            assert again.value.code == "order.not_cancelable"
        # The authorization that was never sent must stay unsent, or be released.
        await shop.restart(workers=True)
        await shop.check()
        assert shop.effects() in ([], ["authorize", "void"])


async def test_a_canceled_parcel_that_nobody_picked_is_free_again(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "FJORD-MUG:physical")
            await _parcel(shop, order_id)
            await headset.command("order.cancel", {"order_id": order_id})
            last = await ended(headset, order_id)
            assert last["type"] == "order.canceled"
            await headset.event("payment.voided", order_id=order_id)
            assert shop.available("FJORD-MUG") == 132
        await shop.check()
        assert shop.effects() == ["authorize", "void"]


async def test_a_parcel_that_was_picked_cannot_be_canceled_and_is_delivered(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "FJORD-MUG:physical")
            parcel = await _parcel(shop, order_id)
            await shop.gateway.backend.pick(parcel)
            await headset.command("order.cancel", {"order_id": order_id})
            await headset.event("order.cancel_refused", order_id=order_id)
            await shop.gateway.backend.dispatch(parcel)
            last = await ended(headset, order_id)
            assert last["type"] == "order.completed"
        await shop.check()
        assert shop.effects() == ["authorize", "capture"]


async def test_canceling_races_minting_and_exactly_one_of_them_wins(seed: Seed, tmp_path: Path) -> None:
    chance = random.Random(7)
    async with opened(seed, tmp_path / "data", mint_window_ms=40) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:

            async def race(delay_s: float) -> tuple[str, str]:
                order_id = await buy(headset, customer, "KUPPEL-LAMP:digital")
                await asyncio.sleep(delay_s)
                try:
                    await headset.command("order.cancel", {"order_id": order_id})
                    answer = "canceled"
                except CommandError as refused:
                    assert refused.code == "order.not_cancelable"
                    answer = "completed"
                last = await ended(headset, order_id)
                return answer, last["type"]

            races = []
            for _ in range(4):
                races += await asyncio.gather(*(race(chance.uniform(0, 0.15)) for _ in range(6)))
            assert all(kind == f"order.{answer}" for answer, kind in races), races
            assert len({answer for answer, _ in races}) == 2, "nobody raced"
        await shop.check()


async def test_a_bundle_canceled_while_its_parcel_waits_gives_everything_back(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "HALM-CHAIR:bundle")
            await _parcel(shop, order_id)
            await headset.command("order.cancel", {"order_id": order_id})
            last = await ended(headset, order_id)
            # The entitlement was granted and paid for: a cancel stops the parcel, the rest is a return.
            assert last["type"] == "order.completed"
            states = {kind: leg["state"] for kind, leg in legs(await show(headset, order_id)).items()}
            assert states == {"entitle": "captured", "ship": "canceled"}
            await headset.event("payment.voided", order_id=order_id)
        await shop.check()


async def test_canceling_the_parcel_of_a_bundle_that_is_all_or_nothing_takes_its_token_back(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "DAWN-ORIGINAL:bundle")
            await headset.event("payment.captured", order_id=order_id)
            await headset.command("order.cancel", {"order_id": order_id})
            last = await ended(headset, order_id)
            assert last["type"] == "order.refunded"
            states = {kind: leg["state"] for kind, leg in legs(await show(headset, order_id)).items()}
            assert states == {"mint": "returned", "ship": "canceled"}
            assert shop.available("DAWN-ORIGINAL") == 1
        await shop.check()
        assert shop.effects() == ["authorize", "capture", "refund", "void"]


async def test_a_bundle_whose_parcel_has_gone_keeps_its_token_when_canceled(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000, mint_window_ms=1_500) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
            parcel = await _parcel(shop, order_id)
            await shop.gateway.backend.pick(parcel)
            # The token still waits in the mint queue; the parcel decides about it.
            await headset.command("order.cancel", {"order_id": order_id})
            await headset.event("order.cancel_refused", order_id=order_id)
            await shop.gateway.backend.dispatch(parcel)
            last = await ended(headset, order_id)
            assert last["type"] == "order.completed"
            assert last["body"]["captured"]["amount_minor"] == 19600
        await shop.check()


# --- Refunds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", ["KUPPEL-LAMP:bundle", "HALM-CHAIR:digital", "DUSK-PRINT:digital:2"])
async def test_a_refunded_order_gives_back_tokens_entitlements_and_every_cent(
    shop: OpenGateway, item: str
) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, item)
        await ended(headset, order_id)
        captures = told(headset, order_id).count("payment.captured")
        first = await shop.refund(order_id, key="refund-1")
        assert first["replayed"] is False
        await headset.event("order.refunded", order_id=order_id)
        types = told(headset, order_id)
        assert types.count("payment.refunded") == captures
        assert types.count("token.returned") == types.count("token.minted")
        assert types.count("entitlement.revoked") == types.count("entitlement.granted")
        order = await show(headset, order_id)
        assert (
            order["payment"]["refunded_minor"]
            == order["payment"]["captured_minor"]
            == order["total"]["amount_minor"]
        )
        assert (await shop.refund(order_id, key="refund-1"))["replayed"] is True
        again = await shop.http.post(
            f"/v1/merchant/orders/{order_id}/refund",
            headers={"Authorization": f"Bearer {shop.keys['atelier-nord']}", "Idempotency-Key": "refund-2"},
        )
        assert (again.status_code, again.json()["code"]) == (409, "order.not_refundable")
        money = {account: amount for (account, unit), amount in (await shop.books()).items() if unit == "EUR"}
        assert money == {}, "the books are back where they were"
    await shop.check()
    assert shop.effects().count("refund") == captures


async def test_a_refund_whose_answer_is_lost_pays_back_once(shop: OpenGateway) -> None:
    customer = await shop.customer("refund_answer_lost")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="refund_answer_lost")
        await ended(headset, order_id)
        await shop.refund(order_id)
        await headset.event("order.refunded", order_id=order_id)
    await shop.check()
    assert shop.effects() == ["authorize", "capture", "refund"]


async def test_a_refund_the_acquirer_declines_is_told_and_waits_for_a_person(shop: OpenGateway) -> None:
    customer = await shop.customer("refund_declined")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "HALM-CHAIR:digital", card="refund_declined")
        await ended(headset, order_id)
        await shop.refund(order_id)
        stuck = await headset.event("payment.stuck", order_id=order_id)
        assert stuck["body"]["task"] == "payment.refund"
    await shop.check(at_rest=False)
    assert shop.effects() == ["authorize", "capture"]


# --- Parts that fail --------------------------------------------------------------------------------


def _refuse_everything(shop: OpenGateway) -> None:
    """Let the order backend refuse every new order for good, as one does that does not serve an address."""

    async def create(order: BackendOrder) -> BackendReceipt:
        raise BackendRefusedError("fulfillment.refused", "We do not ship there.")

    shop.gateway.backend.create = create


@pytest.mark.parametrize(
    ("item", "end", "states"),
    [
        ("KUPPEL-LAMP:bundle", "order.canceled", {"mint": "canceled", "ship": "failed"}),
        ("FJORD-MUG:bundle", "order.completed", {"entitle": "captured", "ship": "failed"}),
        ("HALM-CHAIR:bundle", "order.completed", {"entitle": "captured", "ship": "failed"}),
        ("FJORD-MUG:physical", "order.canceled", {"ship": "failed"}),
    ],
    ids=["all or nothing", "either", "digital first", "alone"],
)
async def test_when_the_backend_refuses_the_policy_decides_about_the_rest(
    shop: OpenGateway, item: str, end: str, states: dict[str, str]
) -> None:
    _refuse_everything(shop)
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, item)
        last = await ended(headset, order_id)
        assert last["type"] == end
        assert {kind: leg["state"] for kind, leg in legs(await show(headset, order_id)).items()} == states
        failed = await headset.event("order.leg_failed", order_id=order_id)
        assert failed["body"]["reason"] == "We do not ship there."
        await headset.event("payment.voided", order_id=order_id)
        assert "token.minted" not in told(headset, order_id)
        sku = item.partition(":")[0]
        assert shop.available(sku) == {"KUPPEL-LAMP": 43, "FJORD-MUG": 132, "HALM-CHAIR": 7}[sku]
    await shop.check()


async def test_a_parcel_refused_after_its_token_was_minted_takes_the_token_back(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
            parcel = await _parcel(shop, order_id)
            await headset.event("payment.captured", order_id=order_id)
            await shop.gateway.backend.refuse(parcel, "Broken on the shelf.")
            last = await ended(headset, order_id)
            assert last["type"] == "order.refunded"
            assert last["body"]["refunded"]["amount_minor"] == 1176
            assert {k: leg["state"] for k, leg in legs(await show(headset, order_id)).items()} == {
                "mint": "returned",
                "ship": "failed",
            }
        await shop.check()
        assert shop.effects() == ["authorize", "capture", "refund", "void"]
