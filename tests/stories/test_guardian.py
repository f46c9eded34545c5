"""Purchases above what a customer may spend alone: asked, approved, declined, forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.payments.guardians_model import MOST_REQUESTS
from samples.headset.client import CommandError, Headset
from tests.support.buying import ended, quote, show, told, until
from tests.support.gateway import Customer, OpenGateway, opened
from tests.support.seed import Seed
from tests.support.standing import allowance_choice, buy_within, eur, grant, with_allowance

LAMP = "KUPPEL-LAMP:digital"
PRICE = 1290
ALONE = 500


@dataclass
class Family:
    """A minor with a headset, their guardian with a telephone, and the allowance between them."""

    shop: OpenGateway
    minor: Customer
    guardian: Customer
    headset: Headset
    phone: Headset
    allowance_id: str

    async def buys(self, *items: str) -> str:
        return await buy_within(self.headset, self.allowance_id, *(items or (LAMP,)))

    async def asked(self, order_id: str) -> str:
        """Wait until the guardian is asked; returns the name of the question."""
        event = await self.phone.event("payment.guardian_required", order_id=order_id)
        return str(event["body"]["approval_id"])

    async def answers(self, approval_id: str, word: str, key: str | None = None) -> Any:
        return await self.phone.command(f"guardian.{word}", {"approval_id": approval_id}, key=key)

    async def refused(self, approval_id: str, word: str) -> tuple[str, str | None]:
        with pytest.raises(CommandError) as refused:
            await self.answers(approval_id, word)
        return refused.value.code, refused.value.body.get("data", {}).get("state")


@asynccontextmanager
async def family(shop: OpenGateway, **terms: Any) -> AsyncIterator[Family]:
    minor, guardian = await shop.customer("visa", "mastercard"), await shop.customer()
    allowance_id = await grant(
        shop,
        shop.gateway.vault,
        minor,
        guardian_id=guardian.customer_id,
        **{"guardian_above": eur(ALONE), **terms},
    )
    async with shop.headset(minor) as headset, shop.headset(guardian) as phone:
        yield Family(shop, minor, guardian, headset, phone, allowance_id)


def authorizations(shop: OpenGateway) -> list[dict[str, Any]]:
    return shop.evidence.rows(
        "SELECT operation_id, allowance_id, state FROM vault_operation WHERE kind = 'authorize' "
        "ORDER BY operation_id",
        database="vault",
    )


async def test_a_guardian_approves_and_the_payment_goes_on_once_under_the_same_allowance(
    shop: OpenGateway,
) -> None:
    async with family(shop) as home:
        order_id = await home.buys()
        approval_id = await home.asked(order_id)
        (question,) = (await home.phone.command("guardian.list"))["requests"]
        assert question["approval_id"] == approval_id
        assert (question["customer_id"], question["merchant"]) == (home.minor.customer_id, "atelier-nord")
        assert question["amount"] == {"amount_minor": PRICE, "currency": "EUR"}
        assert question["may_spend_alone"] == {"amount_minor": ALONE, "currency": "EUR"}
        assert [item["quantity"] for item in question["items"]] == [1]
        # The buyer is told as well, and what else would work; the order waits and is not declined.
        event = (await home.headset.event("payment.guardian_required", order_id=order_id))["body"]
        assert event["guardian_id"] == home.guardian.customer_id
        assert [way["kind"] for way in event["alternatives"]] == ["stored_method", "pay_link"]
        order = await show(home.headset, order_id)
        assert (order["state"], order["payment"]["state"]) == ("placed", "requires_payment_method")
        assert order["payment"]["guardian"]["approval_id"] == approval_id

        first = await home.answers(approval_id, "approve", key="yes")
        assert (first["state"], first["order_id"], first["replayed"]) == ("approved", order_id, False)
        for key in ("yes", None):
            again = await home.answers(approval_id, "approve", key=key)
            assert (again["state"], again["replayed"]) == ("approved", True)
        assert await home.refused(approval_id, "decline") == ("guardian.decided", "approved")
        assert (await ended(home.headset, order_id))["type"] == "order.completed"
        assert told(home.headset, order_id)[:5] == [
            "order.placed",
            "payment.guardian_required",
            "payment.guardian_decided",
            "payment.authorized",
            "order.confirmed",
        ]
        assert told(home.phone, order_id) == ["payment.guardian_required", "payment.guardian_decided"]
        assert (await home.phone.command("guardian.list"))["requests"] == []
    asked, paid = authorizations(shop)
    assert (asked["state"], paid["state"]) == ("refused", "succeeded")
    assert asked["allowance_id"] == paid["allowance_id"] == home.allowance_id
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_what_the_minor_may_spend_alone_asks_nobody(shop: OpenGateway) -> None:
    async with family(shop, guardian_above=eur(PRICE)) as home:
        assert (await ended(home.headset, await home.buys()))["type"] == "order.completed"
        assert (await home.phone.command("guardian.list"))["requests"] == []
    await shop.check()


async def test_a_guardian_who_says_no_ends_in_a_decline_with_alternatives(shop: OpenGateway) -> None:
    async with family(shop) as home:
        order_id = await home.buys()
        approval_id = await home.asked(order_id)
        assert (await home.answers(approval_id, "decline"))["state"] == "declined"
        assert (await home.answers(approval_id, "decline"))["replayed"]
        assert await home.refused(approval_id, "approve") == ("guardian.decided", "declined")
        declined = (await home.headset.event("payment.declined", order_id=order_id))["body"]
        assert (declined["code"], declined["decline_class"]) == ("allowance.guardian_declined", "hard_never")
        assert declined["limit"]["name"] == "guardian_above"
        assert declined["limit"]["over_by"] == PRICE - ALONE
        assert [way["kind"] for way in declined["alternatives"]] == ["stored_method", "pay_link"]
        seen = (await show(home.headset, order_id))["payment"]["declined"]
        assert seen["code"] == "allowance.guardian_declined"
        # The vault has heard of it too: the same allowance does not ask again.
        await shop.at_rest()
        again = {"order_id": order_id, "payment": allowance_choice(home.allowance_id)}
        await home.headset.command("order.pay", again)

        async def declined_twice() -> bool:
            return told(home.headset, order_id).count("payment.declined") == 2

        await until(declined_twice)
        assert home.headset.events[-1]["body"]["code"] == "allowance.guardian_declined"
        other = {"order_id": order_id, "payment_method_id": home.minor.methods["mastercard"]}
        await home.headset.command("order.pay", other)
        await ended(home.headset, order_id)
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_a_guardian_who_does_not_answer_in_time_is_a_decline_and_may_be_asked_again(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", guardian_within_ms=400) as shop, family(shop) as home:
        order_id = await home.buys()
        approval_id = await home.asked(order_id)
        await asyncio.sleep(0.5)
        # Whether or not anybody has noticed yet that the time is over.
        assert await home.refused(approval_id, "approve") == ("guardian.decided", "expired")
        declined = (await home.headset.event("payment.declined", order_id=order_id))["body"]
        assert (declined["code"], declined["decline_class"]) == (
            "allowance.guardian_expired",
            "soft_retry_later",
        )
        assert await home.refused(approval_id, "decline") == ("guardian.decided", "expired")
        assert told(home.phone, order_id) == ["payment.guardian_required", "payment.guardian_decided"]
        again = {"order_id": order_id, "payment": allowance_choice(home.allowance_id)}
        await home.headset.command("order.pay", again)

        async def second() -> str | None:
            asked = [event["body"] for event in home.phone.events if "amount" in event["body"]]
            return str(asked[1]["approval_id"]) if len(asked) == 2 else None

        await home.answers(await until(second), "approve")
        assert (await ended(home.headset, order_id))["type"] == "order.completed"
        await shop.check()
        assert shop.effects() == ["authorize", "capture"]


async def test_words_at_the_same_moment_have_one_result(shop: OpenGateway) -> None:
    async with family(shop) as home:
        for words in (["approve"] * 4, ["approve", "decline"] * 3):
            order_id = await home.buys()
            approval_id = await home.asked(order_id)
            answers = await asyncio.gather(
                *(home.answers(approval_id, word) for word in words), return_exceptions=True
            )
            states = {one["state"] for one in answers if isinstance(one, dict)}
            (state,) = states
            assert sum(isinstance(one, dict) and not one["replayed"] for one in answers) == 1
            refused = [one for one in answers if isinstance(one, CommandError)]
            assert {one.code for one in refused} <= {"guardian.decided"}
            if state == "approved":
                assert (await ended(home.headset, order_id))["type"] == "order.completed"
            else:
                await home.headset.event("payment.declined", order_id=order_id)
            rows = shop.evidence.rows("SELECT * FROM payment_attempt WHERE order_id = ?", order_id)
            assert len(rows) == (2 if state == "approved" else 1)
    await shop.check()


async def test_nobody_else_sees_or_answers_the_question(shop: OpenGateway) -> None:
    async with family(shop) as home:
        order_id = await home.buys()
        approval_id = await home.asked(order_id)
        stranger = await shop.customer()
        headers = {"Authorization": f"Bearer {stranger.token}", "Idempotency-Key": "one"}
        async with shop.headset(stranger) as other:
            for headset in (other, home.headset):
                assert (await headset.command("guardian.list"))["requests"] == []
                for word in ("approve", "decline"):
                    with pytest.raises(CommandError) as refused:
                        await headset.command(f"guardian.{word}", {"approval_id": approval_id})
                    assert refused.value.code == "guardian.not_found"
        answer = await shop.http.post(f"/v1/guardian/requests/{approval_id}/approve", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "guardian.not_found")
        assert (await show(home.headset, order_id))["payment"]["guardian"]["approval_id"] == approval_id
        await home.answers(approval_id, "decline")
    await shop.check()


async def test_a_guardian_answers_over_http_as_well(shop: OpenGateway) -> None:
    async with family(shop) as home:
        headers = {"Authorization": f"Bearer {home.guardian.token}"}
        for word in ("decline", "approve"):
            order_id = await home.buys()
            approval_id = await home.asked(order_id)
            (question,) = (await shop.http.get("/v1/guardian/requests", headers=headers)).json()["requests"]
            assert question["approval_id"] == approval_id
            path = f"/v1/guardian/requests/{approval_id}/{word}"
            missing = await shop.http.post(path, headers=headers)
            assert (missing.status_code, missing.json()["code"]) == (400, "idempotency.key_required")
            answer = await shop.http.post(path, headers={**headers, "Idempotency-Key": order_id})
            assert answer.json()["order_id"] == order_id and not answer.json()["replayed"]
        assert (await ended(home.headset, order_id))["type"] == "order.completed"
    await shop.check()


async def test_an_order_that_is_paid_another_way_or_canceled_needs_no_guardian(shop: OpenGateway) -> None:
    async with family(shop) as home:
        paid, canceled = await home.buys(), await home.buys()
        questions = [await home.asked(order_id) for order_id in (paid, canceled)]
        other = {"order_id": paid, "payment_method_id": home.minor.methods["mastercard"]}
        await home.headset.command("order.pay", other)
        assert (await ended(home.headset, paid))["type"] == "order.completed"
        await home.headset.command("order.cancel", {"order_id": canceled})
        assert (await ended(home.headset, canceled))["type"] == "order.canceled"
        for approval_id in questions:
            assert await home.refused(approval_id, "approve") == ("guardian.decided", "ended")
        for order_id in (paid, canceled):
            event = await home.phone.event("payment.guardian_decided", order_id=order_id)
            assert event["body"]["state"] == "ended"
            assert "payment.declined" not in told(home.headset, order_id)
        assert (await home.phone.command("guardian.list"))["requests"] == []
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_trying_again_while_the_guardian_is_asked_asks_the_same_question(shop: OpenGateway) -> None:
    async with family(shop) as home:
        order_id = await home.buys()
        approval_id = await home.asked(order_id)
        again = {"order_id": order_id, "payment": allowance_choice(home.allowance_id)}
        await home.headset.command("order.pay", again)

        async def twice() -> bool:
            return told(home.headset, order_id).count("payment.guardian_required") == 2

        await until(twice)
        assert home.headset.events[-1]["body"]["approval_id"] == approval_id
        assert told(home.phone, order_id) == ["payment.guardian_required"]
        await home.answers(approval_id, "approve")
        assert (await ended(home.headset, order_id))["type"] == "order.completed"
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_a_question_with_another_allowance_takes_the_place_of_the_first_and_five_are_enough(
    shop: OpenGateway,
) -> None:
    async with family(shop) as home:
        guarded = {"guardian_id": home.guardian.customer_id, "guardian_above": eur(ALONE)}
        other = await grant(shop, shop.gateway.vault, home.minor, card="mastercard", **guarded)
        order_id = await home.buys()
        questions = [await home.asked(order_id)]
        for turn in range(1, MOST_REQUESTS):
            named = other if turn % 2 else home.allowance_id
            body = {"order_id": order_id, "payment": allowance_choice(named)}
            await home.headset.command("order.pay", body)

            async def next_question() -> str | None:
                rows = (await home.phone.command("guardian.list"))["requests"]
                return rows[0]["approval_id"] if rows and rows[0]["approval_id"] not in questions else None

            questions.append(await until(next_question))
            assert await home.refused(questions[-2], "approve") == ("guardian.decided", "ended")
        body = {"order_id": order_id, "payment": allowance_choice(other)}
        await home.headset.command("order.pay", body)
        declined = (await home.headset.event("payment.declined", order_id=order_id))["body"]
        assert declined["code"] == "allowance.guardian_approval_required"
        assert declined["limit"]["name"] == "guardian_above"
        # The open question is still good.
        await home.answers(questions[-1], "approve")
        assert (await ended(home.headset, order_id))["type"] == "order.completed"
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_an_issuers_no_after_the_guardians_yes_is_a_decline_and_the_yes_stays_for_one_more_try(
    shop: OpenGateway,
) -> None:
    minor, guardian = await shop.customer("insufficient_funds", "visa"), await shop.customer()
    guarded = {"guardian_id": guardian.customer_id, "guardian_above": eur(ALONE)}
    vault = shop.gateway.vault
    allowance_id = await grant(shop, vault, minor, card="insufficient_funds", **guarded)
    async with shop.headset(minor) as headset, shop.headset(guardian) as phone:
        quoted = await quote(headset, LAMP)
        placed = await headset.command("order.place", with_allowance(quoted, allowance_id))
        order_id = placed["order_id"]
        question = await phone.event("payment.guardian_required", order_id=order_id)
        approval_id = question["body"]["approval_id"]
        await phone.command("guardian.approve", {"approval_id": approval_id})
        declined = (await headset.event("payment.declined", order_id=order_id))["body"]
        assert declined["code"] == "51"
        assert declined["alternatives"][0]["payment_method_id"] == minor.methods["visa"]
        await shop.at_rest()
        rows = shop.evidence.rows("SELECT state FROM vault_guardian_approval", database="vault")
        assert [row["state"] for row in rows] == ["approved"]
        await headset.command("order.pay", {"order_id": order_id, "payment_method_id": minor.methods["visa"]})
        await ended(headset, order_id)
    await shop.check()
