"""A token whose block was lost in a reorganization and that cannot be minted again: nobody pays for it.

The chain of these stories is not reorganized; the lane's facts are recorded as if it had been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from gateway.kernel.store.unit import UnitOfWork
from gateway.orders.mint_facts import MintFacts
from gateway.orders.purchase import known_purchase
from samples.headset.client import Document, Headset
from tests.support import money_promises, order_promises
from tests.support.buying import buy, ended, legs, show, told
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed
from wallets.minting.model import MintOutcome, OutcomeKind, SkipCode
from wallets.minting.tables import mint
from wallets.vault.port import Capture, OperationResult

LAMP = "KUPPEL-LAMP:digital"


async def test_a_mint_that_is_lost_while_its_capture_is_under_way_is_paid_back(
    seed: Seed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(seed, tmp_path / "data", confirmations=50) as shop:
        customer = await shop.customer("visa")
        lost = asyncio.Event()
        _capture_after(lost, shop, monkeypatch)
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, LAMP)
            await headset.event("token.minted", order_id=order_id)
            await _lose(shop)
            lost.set()
            await headset.event("order.refunded", order_id=order_id)
            assert "order.completed" not in told(headset, order_id)
            await _costs_nothing(shop, headset, order_id)
        assert shop.effects() == ["authorize", "capture", "refund"]
        await _check(shop)


async def test_a_mint_that_is_lost_while_its_capture_fails_costs_nothing(
    seed: Seed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(seed, tmp_path / "data", confirmations=50) as shop:
        customer = await shop.customer("capture_declined")
        lost = asyncio.Event()
        _capture_after(lost, shop, monkeypatch)
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, LAMP, card="capture_declined")
            await headset.event("token.minted", order_id=order_id)
            await _lose(shop)
            lost.set()
            await ended(headset, order_id)
            assert told(headset, order_id)[-1] == "order.canceled"
            await _costs_nothing(shop, headset, order_id)
        await _check(shop)
        assert shop.effects() == ["authorize", "void"]


async def test_a_mint_that_is_lost_while_its_order_is_held_costs_nothing(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", confirmations=50, mint_window_ms=500) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, LAMP)
            await headset.event("order.confirmed", order_id=order_id)
            # Nothing is captured while the order waits for another authorization.
            await shop.gateway.context.store.write(
                lambda uow: known_purchase(uow, order_id).hold(uow.now_ms + 3_600_000)
            )
            await headset.event("token.minted", order_id=order_id)
            await _lose(shop)
            assert (await ended(headset, order_id))["type"] == "order.canceled"
            await _costs_nothing(shop, headset, order_id)
        await _check(shop)
        assert shop.effects() == ["authorize", "void"]


async def test_a_mint_that_is_lost_while_it_is_returned_is_paid_back(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", confirmations=50) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, LAMP)
            await ended(headset, order_id)
            await shop.refund(order_id)
            # Before the token is final it cannot be sent back.
            assert legs(await show(headset, order_id))["mint"]["state"] == "returning"
            await _lose(shop)
            await headset.event("order.refunded", order_id=order_id)
            await _costs_nothing(shop, headset, order_id)
        assert shop.effects() == ["authorize", "capture", "refund"]
        await _check(shop)


async def test_a_return_that_waits_for_a_lost_token_is_resumed_by_asking_again(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", confirmations=50) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, LAMP)
            await ended(headset, order_id)
            await shop.refund(order_id)
            # The lane's fact was recorded by a version that did not look at a token on its way back.
            await shop.gateway.context.store.write(_skipped)
            await shop.refund(order_id)
            await headset.event("order.refunded", order_id=order_id)
        assert shop.effects() == ["authorize", "capture", "refund"]


async def test_a_captured_token_that_is_lost_is_in_nobodys_books_and_in_no_wallet(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", confirmations=50) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, LAMP)
            await ended(headset, order_id)
            await _lose(shop)
            await headset.event("order.refunded", order_id=order_id)
            await _costs_nothing(shop, headset, order_id)
        await _check(shop)


def _skipped(uow: UnitOfWork) -> None:
    """The lane's own row, once the contract has refused the second try."""
    uow.core(update(mint).values(state="skipped", skip_reason="sold_out"))


async def _lose(shop: OpenGateway) -> None:
    """Record what a lane records when the block is gone and the contract refuses the second try, twice."""
    (leg,) = shop.evidence.rows("SELECT * FROM leg")
    facts: Any = MintFacts(shop.gateway.context.process)

    def told_by_lane(kind: OutcomeKind, reason: SkipCode | None = None) -> MintOutcome:
        return MintOutcome(leg["leg_id"], leg["order_id"], kind, 1, None, "0x0", 1, skip_reason=reason)

    def record(uow: UnitOfWork) -> None:
        _skipped(uow)
        facts.record(
            uow, [told_by_lane(OutcomeKind.REOPENED), told_by_lane(OutcomeKind.SKIPPED, SkipCode.SOLD_OUT)]
        )

    for _ in range(2):
        await shop.gateway.context.store.write(record)


def _capture_after(event: asyncio.Event, shop: OpenGateway, patch: pytest.MonkeyPatch) -> None:
    """Let captures wait for the event."""
    capture: Callable[[Capture], Any] = shop.gateway.vault.capture

    async def slow(request: Capture) -> OperationResult:
        await event.wait()
        result: OperationResult = await capture(request)
        return result

    patch.setattr(shop.gateway.vault, "capture", slow)


async def _costs_nothing(shop: OpenGateway, headset: Headset, order_id: str) -> None:
    order: Document = await show(headset, order_id)
    assert order["payment"]["captured_minor"] == order["payment"]["refunded_minor"]
    mine = legs(order)["mint"]
    assert mine["state"] == "returned" and "token" not in mine
    assert (await headset.command("wallet.list"))["items"] == []
    await shop.at_rest()
    left = {account for account, unit in await shop.books() if not unit.startswith("sku:")}
    assert not left


async def _check(shop: OpenGateway) -> None:
    """The promises, but for those of the chain, which has the token."""
    await shop.at_rest()
    checks = (
        money_promises.intents,
        money_promises.operations,
        money_promises.ledger,
        order_promises.amounts,
        order_promises.ends,
        order_promises.facts_and_events,
    )
    found = [broken for check in checks for broken in check(shop.evidence, True)]
    assert not found, "\n".join(map(str, found))
