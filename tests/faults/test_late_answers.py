"""Answers that come late, out of order, or after the world has changed: what was decided stays decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.kernel.money import Money
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.tasks.model import Task
from gateway.orders.mint_facts import MintFacts
from tests.support.buying import buy, ended, legs, show, told
from tests.support.challenges import decide
from tests.support.gateway import opened
from tests.support.seed import Seed
from wallets.minting.model import MintOutcome, OutcomeKind, SkipCode
from wallets.vault.port import OperationKind, OperationResult, OperationStatus


async def test_a_late_unknown_does_not_undo_a_challenge_that_is_open(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data") as shop:
        customer = await shop.customer("challenge")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "HALM-CHAIR:digital", card="challenge")
            asked = await headset.event("payment.action_required", order_id=order_id)
            (row,) = shop.evidence.rows("SELECT * FROM payment_operation")
            # A worker that had lost its lease gives up waiting and says that it does not know.
            stale = OperationResult(
                row["operation_id"],
                OperationKind.AUTHORIZE,
                OperationStatus.UNKNOWN,
                Money(row["amount_minor"], row["currency"]),
            )
            kind = shop.gateway.runner._kinds["payment.authorize"]
            task = Task("tsk_stale", kind.name, order_id, {}, 1, 1)
            await shop.gateway.context.store.write(lambda uow: kind.record(uow, task, stale))
            (row,) = shop.evidence.rows("SELECT state FROM payment_operation")
            assert row["state"] == "requires_action"
            await decide(shop.http, asked["body"]["url"])
            assert (await ended(headset, order_id))["type"] == "order.completed"
            assert told(headset, order_id)[:5] == [
                "order.placed",
                "payment.action_required",
                "payment.authenticated",
                "payment.authorized",
                "order.confirmed",
            ]
        await shop.check()
        assert shop.effects() == ["authorize", "capture"]


async def test_a_captured_mint_that_a_reorganization_lost_for_good_is_paid_back(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data") as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:digital")
            await ended(headset, order_id)
            (leg,) = shop.evidence.rows("SELECT * FROM leg")
            outcome = MintOutcome(
                leg["leg_id"], order_id, OutcomeKind.SKIPPED, 1, None, "0x0", 1, skip_reason=SkipCode.SOLD_OUT
            )
            facts: Any = MintFacts(shop.gateway.context.process)

            def again(uow: UnitOfWork) -> None:
                facts.record(uow, [outcome])

            for _ in range(2):  # told twice, done once
                await shop.gateway.context.store.write(again)
            await headset.event("order.refunded", order_id=order_id)
            assert legs(await show(headset, order_id))["mint"]["state"] == "returned"
            await shop.at_rest()
            assert shop.effects() == ["authorize", "capture", "refund"]
            assert "order.leg_failed" not in told(headset, order_id)
