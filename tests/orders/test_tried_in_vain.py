"""What was tried in vain, and told as stuck, does not keep anybody from what can be done later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.errors import UnavailableError
from gateway.kernel.subjects import OperationId
from tests.support.invariants import violations
from tests.support.stepped_gateway import SECOND, SteppedGateway, stepped_gateway
from wallets.vault.port import OperationKind, OperationResult, OperationStatus, Refund, Void

MUG = "FJORD-MUG:physical"


async def test_an_approval_that_comes_after_a_lost_void_is_released(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The customer denies on our page, the void is lost each time, and the bank approves all the same."""
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        order_id = (await shop.place(MUG, card="challenge"))["order_id"]
        await shop.finish_work(2)
        void: Callable[[Void], Any] = shop.gateway.vault.void

        async def lost(request: Void) -> OperationResult:
            return OperationResult(
                request.operation_id, OperationKind.VOID, OperationStatus.FAILED, request.amount
            )

        monkeypatch.setattr(shop.gateway.vault, "void", lost)
        (asked,) = shop.rows("SELECT action_id FROM payment_authentication")
        assert (await shop.http.post(f"/pay/challenges/{asked['action_id']}/deny")).status_code == 303
        await shop.finish_work()
        assert "payment.stuck" in shop.events()
        monkeypatch.setattr(shop.gateway.vault, "void", void)
        await shop.answer_challenge(order_id)
        for _ in range(4):
            await shop.wait(6 * SECOND)
            await shop.finish_work(3)
        (authorization,) = shop.operations(order_id, "authorize")
        assert authorization["state"] == "succeeded"
        voids = [row["state"] for row in shop.operations(order_id, "void")]
        assert voids == ["failed", "failed", "failed", "succeeded"]
        vault = shop.gateway.embedded_vault
        assert vault is not None
        assert [effect.kind for effect in await vault.acquirer.effects()] == ["authorize", "void"]


async def test_a_return_goes_on_when_the_request_it_waits_for_fails(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        order_id = await _delivered(shop)
        _answer_last(shop, monkeypatch, order_id, (await _first_refund(shop, order_id)))
        await shop.take_back(order_id)
        await _days(shop)
        told = shop.events()
        assert "refund.failed" in told and "order.refunded" in told
        intent = shop.intent(order_id)
        assert intent["refunded_minor"] == intent["captured_minor"]
        assert [row["state"] for row in shop.operations(order_id, "refund")] == [
            "failed",
            "succeeded",
            "succeeded",
        ]
        await shop.finish_work()
    assert not violations(tmp_path / "data", at_rest=False)


async def _delivered(shop: SteppedGateway) -> str:
    order_id: str = (await shop.place(MUG))["order_id"]
    await shop.deliver()
    assert shop.order(order_id)["state"] == "completed"
    return order_id


async def _first_refund(shop: SteppedGateway, order_id: str) -> OperationId:
    """Have staff ask for a part of the money; returns the operation that will give it back."""
    await shop.ask_refund(order_id, 100)
    (asked,) = shop.operations(order_id, "refund")
    return OperationId(asked["operation_id"])


def _answer_last(shop: SteppedGateway, patch: pytest.MonkeyPatch, order_id: str, first: OperationId) -> None:
    """Let the vault answer the first refund only when another has succeeded, and then refuse it."""
    refund: Callable[[Refund], Any] = shop.gateway.vault.refund

    async def answer(request: Refund) -> OperationResult:
        if request.operation_id == first:
            if all(row["state"] != "succeeded" for row in shop.operations(order_id, "refund")):
                raise UnavailableError("payment.unknown", "later")
            request = replace(request, capture_id=OperationId("op_none"))
        answered: OperationResult = await refund(request)
        return answered

    patch.setattr(shop.gateway.vault, "refund", answer)


async def _days(shop: SteppedGateway) -> None:
    for _ in range(6):
        await shop.finish_work(3)
        await shop.wait(5 * SECOND)
