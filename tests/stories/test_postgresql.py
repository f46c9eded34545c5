"""The whole gateway on PostgreSQL: repeats of a key sent at once, and a bundle bought end to end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.model import PaymentPolicy
from gateway.commands import customer as buying
from gateway.commands import merchant as commands
from gateway.commands import payments
from gateway.identity.model import MerchantPrincipal
from gateway.kernel.errors import ConflictError
from gateway.kernel.money import Money
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders import refunding
from gateway.orders.refunding import RefundWish
from gateway.payments.refunds_model import RefundWay
from gateway.protocol.messages import OrderCancel, OrderPlace, QuoteCreate
from gateway.settings import Settings
from samples.headset.client import CommandError
from tests.support.authenticator import SoftAuthenticator
from tests.support.buying import buy, ended, legs, order_body, quote, show
from tests.support.challenges import decide
from tests.support.gateway import CONSENT, QUICK, OpenGateway, address, free_port
from tests.support.postgres import PORT, require_server
from tests.support.seed import ATELIER, SAMPLES
from tests.support.standing import buy_within, eur, grant
from wallets.vault.port import CardEntry

ROUNDS = 15


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[OpenGateway]:
    """A gateway on an empty database, without workers, with the first sample merchant in it."""
    server = require_server()
    name = server.create_database()
    url = f"postgresql://vitrine@/{name}?host={server.folder}&port={PORT}"
    port = free_port()
    opened = OpenGateway(f"http://127.0.0.1:{port}", {}, tmp_path / "data")
    await opened.start(
        Settings(data_dir=opened.data_dir, database_url=url, port=port, workers=False, **QUICK)
    )
    try:
        context = opened.gateway.context
        await commands.import_catalog(context, SAMPLES / ATELIER)
        merchant = context.catalog.current.merchant_by_slug(ATELIER)
        opened.keys[ATELIER] = await commands.create_api_key(context, merchant.merchant_id, "tests")
        yield opened
    finally:
        await opened.http.aclose()
        await opened.stop()
        server.drop_database(name)


async def _at_once(send: Callable[[], Awaitable[Any]], apart_s: float) -> list[Any]:
    """Send a command three times, a moment apart; errors are answers too."""

    async def after(delay_s: float) -> Any:
        await asyncio.sleep(delay_s)
        return await send()

    return await asyncio.gather(*(after(turn * apart_s) for turn in range(3)), return_exceptions=True)


async def test_repeats_of_a_key_sent_at_once_all_get_the_first_ones_answer(shop: OpenGateway) -> None:
    context = shop.gateway.context
    merchant = context.catalog.current.merchant_by_slug(ATELIER)
    who = MerchantPrincipal(merchant.merchant_id)
    customer_id = await commands.register(context, who, "ada")
    device = (await commands.issue_token(context, who, customer_id, kind="headset", name="one")).device
    card = await commands.add_card(context, customer_id, CardEntry.typed("4242424242424242", 12, 2031, "123"))

    def message(kind: Any, type: str, key: str, body: dict[str, Any]) -> Any:
        return kind.model_validate({"v": 1, "id": "m", "type": type, "key": key, "body": body})

    for turn in range(ROUNDS):
        form, sku = ("physical", "FJORD-MUG") if turn % 2 else ("digital", "HALM-CHAIR")
        asked = {
            "merchant": ATELIER,
            "items": [{"sku": sku, "format": form}],
            "currency": "EUR",
            "country": "DE",
        }
        quoted = await buying.quote(
            context, device, message(QuoteCreate, "quote.create", f"quote-{turn}", asked)
        )
        body = {
            "quote_id": quoted["quote_id"],
            "payment_method_id": card["payment_method_id"],
            "consents": [CONSENT],
        }
        if form == "physical":
            body["ship_to"] = address()
        place = message(OrderPlace, "order.place", f"place-{turn}", body)
        apart_s = 0.0003 * (turn % 8)
        placed = await _at_once(lambda place=place: buying.place(context, device, place), apart_s)
        assert all(isinstance(answer, dict) for answer in placed), placed
        (order_id,) = {answer["order_id"] for answer in placed}
        assert sorted(answer["replayed"] for answer in placed) == [False, True, True]
        cancel = message(OrderCancel, "order.cancel", f"cancel-{turn}", {"order_id": order_id})
        canceled = await _at_once(lambda cancel=cancel: buying.cancel(context, device, cancel), apart_s)
        assert all(isinstance(answer, dict) for answer in canceled), canceled
        assert {(answer["order_id"], answer["state"]) for answer in canceled} == {(order_id, "canceled")}
        assert sorted(answer["replayed"] for answer in canceled) == [False, True, True]


async def test_orders_placed_at_once_leave_no_more_unpaid_than_allowed(shop: OpenGateway) -> None:
    await shop.restart(most_unpaid=2)
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        quotes = [await quote(headset, "HALM-CHAIR:digital") for _ in range(8)]
        bodies = [order_body(each, customer.methods["visa"]) for each in quotes]
        answers = await asyncio.gather(
            *(headset.command("order.place", body) for body in bodies), return_exceptions=True
        )
        refused = [each.code for each in answers if isinstance(each, CommandError)]
        assert refused == ["order.too_many_unpaid"] * 6


async def test_a_bundle_is_bought_and_given_back(shop: OpenGateway) -> None:
    await shop.restart(workers=True)
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
        last = await ended(headset, order_id)
        assert (last["type"], last["body"]["captured"]["amount_minor"]) == ("order.completed", 19600)
        await asyncio.gather(*(shop.refund(order_id, key="refund") for _ in range(3)))
        await headset.event("order.refunded", order_id=order_id)
        order = await show(headset, order_id)
        assert {kind: leg["state"] for kind, leg in legs(order).items()} == {
            "mint": "returned",
            "ship": "returned",
        }
        money = {account: amount for (account, unit), amount in (await shop.books()).items() if unit == "EUR"}
        assert money == {}
        seen = [event["seq"] for event in headset.events]
        assert seen == list(range(seen[0], seen[0] + len(seen)))


async def test_a_challenge_is_approved_at_the_bank_and_then_by_a_passkey(shop: OpenGateway) -> None:
    public = shop.base_url.replace("127.0.0.1", "localhost")
    await shop.restart(workers=True, delegated_authentication=True, public_url=public)
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        first = await buy(headset, customer, "HALM-CHAIR:digital", card="challenge")
        asked = (await headset.event("payment.action_required", order_id=first))["body"]
        found = await shop.http.post("/pay", data={"code": asked["user_code"]})
        assert found.headers["location"] == f"/pay/challenges/{asked['action_id']}"
        await decide(shop.http, asked["url"])
        await ended(headset, first)
        device, body = SoftAuthenticator(public), {"action_id": asked["action_id"]}
        options = (await headset.command("passkey.options", body))["options"]
        await headset.command("passkey.add", {**body, "credential": device.create(options)})
        for denied in (False, True):
            order_id = await buy(headset, customer, "HALM-CHAIR:digital", card="challenge")
            asked = (await headset.event("payment.action_required", order_id=order_id))["body"]
            body = {"action_id": asked["action_id"]}
            credential = device.get((await headset.command("payment.action", body))["passkey"])
            answering = [
                headset.command("payment.authenticate", {**body, "credential": credential}) for _ in range(3)
            ]
            denying = [shop.http.post(f"/pay/challenges/{asked['action_id']}/deny")] if denied else []
            answers = await asyncio.gather(*answering, *denying, return_exceptions=True)
            # Of decisions at once one wins: the passkey once, or the denial.
            passed = [one for one in answers if isinstance(one, dict)]
            assert len(passed) == 1 or (denied and not passed), answers
            if passed:
                assert (await ended(headset, order_id))["type"] == "order.completed"
            else:
                await headset.event("payment.declined", order_id=order_id)


async def test_a_guardians_words_at_once_have_one_result(shop: OpenGateway) -> None:
    await shop.restart(workers=True)
    customer, guardian = await shop.customer("visa", "mastercard"), await shop.customer()
    guarded = {"guardian_id": guardian.customer_id, "guardian_above": eur(500)}
    allowance_id = await grant(shop, shop.gateway.vault, customer, **guarded)
    async with shop.headset(customer) as headset, shop.headset(guardian) as phone:
        for words in (["approve"] * 3, ["approve", "decline"] * 2, ["decline"] * 3):
            order_id = await buy_within(headset, allowance_id, "HALM-CHAIR:digital")
            asked = (await phone.event("payment.guardian_required", order_id=order_id))["body"]
            body = {"approval_id": asked["approval_id"]}
            answers = await asyncio.gather(
                *(phone.command(f"guardian.{word}", body) for word in words), return_exceptions=True
            )
            given = [one for one in answers if isinstance(one, dict)]
            (state,) = {one["state"] for one in given}
            assert [one["replayed"] for one in given].count(False) == 1
            if state == "approved":
                assert (await ended(headset, order_id))["type"] == "order.completed"
            else:
                declined = (await headset.event("payment.declined", order_id=order_id))["body"]
                assert declined["code"] == "allowance.guardian_declined"
                paid = {"order_id": order_id, "payment_method_id": customer.methods["mastercard"]}
                await headset.command("order.pay", paid)
                await ended(headset, order_id)


async def test_a_question_whose_time_is_over_ends_in_a_decline(shop: OpenGateway) -> None:
    await shop.restart(workers=True, guardian_within_ms=300)
    customer, guardian = await shop.customer("visa"), await shop.customer()
    allowance_id = await grant(shop, shop.gateway.vault, customer, guardian_id=guardian.customer_id)
    async with shop.headset(customer) as headset, shop.headset(guardian) as phone:
        order_id = await buy_within(headset, allowance_id, "HALM-CHAIR:digital")
        declined = (await headset.event("payment.declined", order_id=order_id))["body"]
        assert declined["code"] == "allowance.guardian_expired"
        decided = await phone.event("payment.guardian_decided", order_id=order_id)
        assert decided["body"]["state"] == "expired"


async def test_what_a_day_allows_holds_for_two_approvals_at_once(
    shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests for two orders of one customer: neither order's lock keeps the other's decision waiting."""
    policy = PaymentPolicy(payout={"EUR": Money(500, "EUR")}, payout_cooling_hours=0, payouts_per_day=1)
    monkeypatch.setattr(refunding, "payment_policy_of", lambda *_: policy)
    context, customer = shop.gateway.context, await shop.customer("visa")
    merchant = MerchantPrincipal(context.catalog.current.merchant_by_slug(ATELIER).merchant_id)
    asked = []
    async with shop.headset(customer) as headset:
        for key in ("one", "other"):
            order_id = await buy(headset, customer, "HALM-CHAIR:digital")
            method_id = customer.methods["visa"]
            wish = RefundWish(
                merchant.merchant_id,
                order_id,
                key,
                "",
                RefundWay.PAYOUT,
                500,
                None,
                method_id,
                "late",
                "erin",
            )
            asked.append((await payments.ask_refund(context, wish))["refund_id"])
    checks, barrier = refunding._check_velocity, threading.Barrier(2)

    def check_together(uow: UnitOfWork, row: Any) -> None:
        checks(uow, row)
        # Both have looked before either has decided, unless one has to wait for the other.
        with suppress(threading.BrokenBarrierError):
            barrier.wait(timeout=1)

    monkeypatch.setattr(refunding, "_check_velocity", check_together)

    async def approve(refund_id: str, after_s: float) -> str:
        await asyncio.sleep(after_s)  # not in one batch
        try:
            decided = await payments.decide_refund(context, merchant, refund_id, "olga", approve=True)
        except ConflictError as refused:
            return refused.code
        return str(decided["state"])

    answers = await asyncio.gather(*(approve(one, 0.05 * turn) for turn, one in enumerate(asked)))
    assert sorted(answers) == ["approved", "payout.too_many"]
