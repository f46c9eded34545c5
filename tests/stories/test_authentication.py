"""Strong customer authentication in the session and at the door: passkeys, dynamic linking, step-up, codes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from gateway.http.challenge_limits import PER_ADDRESS
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders.tables import order
from gateway.payments.tables import payment_intent
from samples.headset.client import CommandError, Document, Headset
from tests.support.authenticating import action_of, answer, challenged, refused, with_passkey
from tests.support.buying import buy, ended, show, told, until
from tests.support.challenges import bank_page, decide
from tests.support.gateway import OpenGateway, opened
from tests.support.localhost import at_localhost
from tests.support.seed import HARBOUR, Seed


@pytest.fixture
async def shop(seed: Seed, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    async with at_localhost(seed, tmp_path, delegated_authentication=True) as found:
        yield found


async def test_p16_a_device_that_can_sign_approves_in_its_session(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer)
        asked = await challenged(headset, customer, "KUPPEL-LAMP:digital:2")
        action = await action_of(headset, asked)
        assert (action["payee"], action["state"]) == ("Atelier Nord GmbH", "pending")
        assert action["amount"] == {"amount_minor": 2580, "currency": "EUR"}
        assert action["items"] == [{"title": "Kuppel table lamp", "quantity": 2}]
        credential = device.get(action["passkey"])
        body = {"action_id": asked["action_id"], "credential": credential}
        first = await headset.command("payment.authenticate", body, key="answer")
        assert (first["state"], first["replayed"]) == ("authenticated", False)
        # A client that lost the reply asks again with its key.
        assert (await headset.command("payment.authenticate", body, key="answer"))["replayed"] is True
        assert (await ended(headset, asked["order_id"]))["type"] == "order.completed"
        assert told(headset, asked["order_id"])[1:4] == [
            "payment.action_required",
            "payment.authenticated",
            "payment.authorized",
        ]
        (listed,) = (await headset.command("passkey.list", {}))["passkeys"]
        assert listed["name"] == "Headset" and listed["last_used_at"] is not None
        await headset.command("passkey.remove", {"passkey_id": listed["passkey_id"]})
        assert (await headset.command("passkey.list", {}))["passkeys"] == []
    await shop.check()
    (row,) = shop.evidence.rows("SELECT sign_count, revoked_because FROM passkey")
    assert (row["sign_count"], row["revoked_because"]) == (1, "removed")


async def test_p13_a_session_that_resumes_is_shown_the_open_action(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    token = await shop.token(customer.customer_id)
    async with shop.headset(customer) as headset:
        asked = await challenged(headset, customer)
        await headset.drop()
        await shop.restart()
        waiting = (await show(headset, asked["order_id"]))["payment"]
        assert waiting["state"] == "requires_action"
        assert waiting["action"]["action_id"] == asked["action_id"]
        assert waiting["action"]["expires_at"] == asked["expires_at"]
        # Another device of the customer, which was told nothing, finds it too.
        async with shop.headset(customer, token=token) as other:
            assert (await action_of(other, asked))["url"] == asked["url"]
        await decide(shop.http, asked["url"])
        await ended(headset, asked["order_id"])
    await shop.check()


async def test_an_action_is_nobody_elses(shop: OpenGateway) -> None:
    customer, stranger = await shop.customer("challenge"), await shop.customer()
    async with shop.headset(customer) as headset, shop.headset(stranger) as other:
        device = await with_passkey(shop, headset, customer)
        asked = await challenged(headset, customer)
        request = (await action_of(headset, asked))["passkey"]
        for work in (action_of(other, asked), answer(other, asked, device.get(request))):
            with pytest.raises(CommandError) as error:
                await work
            assert error.value.code == "challenge.unknown"
        await headset.command("order.cancel", {"order_id": asked["order_id"]})
        await ended(headset, asked["order_id"])
    await shop.check()


async def test_p16_a_replayed_assertion_authenticates_nothing(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer, counts=False)
        first = await challenged(headset, customer)
        credential = device.get((await action_of(headset, first))["passkey"])
        await answer(headset, first, credential)
        # For the same action once more, under another key.
        assert await refused(headset, first, credential) == "challenge.decided"
        # For another payment of the same amount to the same payee.
        second = await challenged(headset, customer)
        assert await refused(headset, second, credential) == "passkey.refused"
        assert (await show(headset, second["order_id"]))["payment"]["state"] == "requires_action"
        await headset.command("order.cancel", {"order_id": second["order_id"]})
        for asked in (first, second):
            await ended(headset, asked["order_id"])
    await shop.check()


async def test_p16_without_user_verification_nothing_is_authenticated(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer)
        asked = await challenged(headset, customer)
        device.verified = False
        credential = device.get((await action_of(headset, asked))["passkey"])
        assert await refused(headset, asked, credential) == "passkey.refused"
        device.verified = True
        await answer(headset, asked, device.get((await action_of(headset, asked))["passkey"]))
        await ended(headset, asked["order_id"])
    await shop.check()


async def test_p16_a_passkey_that_seems_to_exist_twice_is_revoked(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer)
        first = await challenged(headset, customer)
        await answer(headset, first, device.get((await action_of(headset, first))["passkey"]))
        await ended(headset, first["order_id"])
        second = await challenged(headset, customer)
        device.count = 0
        credential = device.get((await action_of(headset, second))["passkey"])
        assert await refused(headset, second, credential) == "passkey.revoked"
        assert (await action_of(headset, second))["passkey"] is None
        await decide(shop.http, second["url"])
        await ended(headset, second["order_id"])
    await shop.check()
    (row,) = shop.evidence.rows("SELECT revoked_because FROM passkey")
    assert row["revoked_because"] == "clone_suspected"


async def test_without_an_agreement_no_passkey_is_offered(seed: Seed, tmp_path: Path) -> None:
    async with at_localhost(seed, tmp_path) as shop:
        customer = await shop.customer("challenge")
        async with shop.headset(customer) as headset:
            asked = await challenged(headset, customer)
            assert (await action_of(headset, asked))["passkey"] is None
            assert 'id="passkey"' not in (await shop.http.get(asked["url"])).text
            await decide(shop.http, asked["url"])
            await ended(headset, asked["order_id"])
            with pytest.raises(CommandError) as error:
                await headset.command("passkey.options", {"action_id": asked["action_id"]})
            assert error.value.code == "passkey.unavailable"
        await shop.check()


async def _reprice(shop: OpenGateway, order_id: str, **changes: Any) -> None:
    """Change what an order costs or who is paid, behind everybody's back."""

    def change(uow: UnitOfWork) -> None:
        uow.core(update(order).where(order.c.order_id == order_id).values(**changes))
        if "total_minor" in changes:
            raised = payment_intent.c.order_id == order_id
            uow.core(update(payment_intent).where(raised).values(amount_minor=changes["total_minor"]))

    await shop.gateway.context.store.write(change)


async def _asked_again(headset: Headset, before: Document) -> Document:
    """Wait until the session is asked about another action for the same order."""

    async def asked() -> Document | None:
        for event in headset.events:
            body: Document = event["body"]
            mine = event["type"] == "payment.action_required" and body["order_id"] == before["order_id"]
            if mine and body["action_id"] != before["action_id"]:
                return body
        return None

    found: Document = await until(asked)
    return found


@pytest.mark.parametrize("way", ["passkey", "bank"])
async def test_p14_an_amount_that_changes_after_the_challenge_voids_it(shop: OpenGateway, way: str) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer)
        asked = await challenged(headset, customer)
        before = (await action_of(headset, asked))["amount"]["amount_minor"]
        request = (await action_of(headset, asked))["passkey"]
        await _reprice(shop, asked["order_id"], total_minor=before + 500)
        if way == "passkey":
            assert await refused(headset, asked, device.get(request)) == "challenge.voided"
        else:
            await decide(shop.http, asked["url"])
        again = await _asked_again(headset, asked)
        assert (await action_of(headset, again))["amount"]["amount_minor"] == before + 500
        assert (await action_of(headset, asked))["state"] == "expired"
        assert "payment.authorized" not in told(headset, asked["order_id"])
        await headset.command("order.cancel", {"order_id": asked["order_id"]})
        await ended(headset, asked["order_id"])
        await shop.at_rest()
    effects = shop.effects()
    # What the bank approved for the old amount was released.
    assert effects.count("authorize") - effects.count("capture") <= effects.count("void")
    (row,) = shop.evidence.rows(
        "SELECT state, reason FROM payment_authentication WHERE action_id = ?", asked["action_id"]
    )
    assert (row["state"], row["reason"]) == ("expired", "amount_changed")


@pytest.mark.parametrize("way", ["passkey", "bank"])
@pytest.mark.parametrize("changed", ["currency", "payee"])
async def test_p14_another_currency_or_payee_voids_the_authentication_and_asks_anew(
    shop: OpenGateway, changed: str, way: str
) -> None:
    customer = await shop.customer("challenge")
    (other,) = shop.evidence.rows("SELECT merchant_id, name FROM merchant WHERE slug = ?", HARBOUR)
    change = {"currency": "USD"} if changed == "currency" else {"merchant_id": other["merchant_id"]}
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer)
        asked = await challenged(headset, customer)
        before = await action_of(headset, asked)
        await _reprice(shop, asked["order_id"], **change)
        if way == "passkey":
            assert await refused(headset, asked, device.get(before["passkey"])) == "challenge.voided"
        else:
            await decide(shop.http, asked["url"])
        again = await action_of(headset, await _asked_again(headset, asked))
        assert again["state"] == "pending"
        assert (await action_of(headset, asked))["state"] == "expired"
        if changed == "currency":
            assert again["amount"] == {**before["amount"], "currency": "USD"}
        else:
            assert again["payee"] == other["name"] != before["payee"]
        assert "payment.authorized" not in told(headset, asked["order_id"])
        # Nothing of what was approved for the other payment is held on.
        await until_released(shop, asked["action_id"])
    (row,) = shop.evidence.rows(
        "SELECT state, reason FROM payment_authentication WHERE action_id = ?", asked["action_id"]
    )
    assert (row["state"], row["reason"]) == ("expired", f"{changed}_changed")


async def until_released(shop: OpenGateway, action_id: str) -> None:
    """Wait until the acquirer holds nothing for the authorization that this action belonged to."""
    (row,) = shop.evidence.rows(
        "SELECT operation_id FROM payment_authentication WHERE action_id = ?", action_id
    )

    async def released() -> bool:
        effects = await shop.gateway.vault.acquirer.effects()
        mine = [each for each in effects if row["operation_id"] in (each.operation_id, each.parent_id)]
        # Called off before the bank had approved it, or voided after.
        return [each.kind for each in mine if each.kind != "authorize"] == ["void"]

    await until(released)


@pytest.mark.parametrize("card", ["needs_sca", "mastercard_needs_sca"])
async def test_p11_a_soft_decline_is_stepped_up_once_by_itself(shop: OpenGateway, card: str) -> None:
    customer = await shop.customer(card)
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card=card)
        asked = (await headset.event("payment.action_required", order_id=order_id))["body"]
        assert told(headset, order_id) == ["order.placed", "payment.action_required"]
        await decide(shop.http, asked["url"])
        await ended(headset, order_id)
    await shop.check()
    attempts = shop.evidence.rows("SELECT state, liability FROM payment_attempt ORDER BY attempt_id")
    assert [row["state"] for row in attempts] == ["declined", "authorized"]
    assert attempts[1]["liability"] == "issuer"
    assert shop.effects() == ["authorize", "capture"]


async def test_p11_a_step_up_that_is_refused_is_not_stepped_up_again(shop: OpenGateway) -> None:
    customer = await shop.customer("needs_sca")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="needs_sca")
        asked = (await headset.event("payment.action_required", order_id=order_id))["body"]
        await decide(shop.http, asked["url"], "deny")
        await headset.event("payment.declined", order_id=order_id)
        assert len(shop.evidence.rows("SELECT 1 FROM payment_attempt")) == 2
        # Chosen once more by the customer, it is challenged at once.
        await headset.command(
            "order.pay", {"order_id": order_id, "payment_method_id": customer.methods["needs_sca"]}
        )
        again = await _asked_again(headset, asked)
        assert len(shop.evidence.rows("SELECT 1 FROM payment_attempt")) == 3
        await decide(shop.http, again["url"])
        await ended(headset, order_id)
    await shop.check()


async def test_p15_an_exemption_is_asked_for_and_the_merchant_bears_the_liability(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", sca_exemptions="low_value") as shop:
        customer = await shop.customer("visa", "needs_sca")
        async with shop.headset(customer) as headset:
            low = await buy(headset, customer, "KUPPEL-LAMP:digital")
            high = await buy(headset, customer, "KUPPEL-LAMP:digital:3")
            for order_id in (low, high):
                await ended(headset, order_id)
            soft = await buy(headset, customer, "KUPPEL-LAMP:digital", card="needs_sca")
            asked = (await headset.event("payment.action_required", order_id=soft))["body"]
            await decide(shop.http, asked["url"])
            await ended(headset, soft)
        await shop.check()
        rows = {
            (row["order_id"], row["state"]): (row["exemption"], row["liability"])
            for row in shop.evidence.rows("SELECT * FROM payment_attempt")
        }
        assert rows[low, "authorized"] == ("low_value", "merchant")
        assert rows[high, "authorized"][0] is None
        # The refused exemption was answered with exactly one challenge, without an exemption.
        assert rows[soft, "declined"][0] == "low_value"
        assert rows[soft, "authorized"] == (None, "issuer")


async def test_p15_running_limits_hold_until_the_next_authentication(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", sca_exemptions="low_value") as shop:
        customer = await shop.customer("challenge")

        async def lamp() -> str | None:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="challenge")
            (row,) = shop.evidence.rows("SELECT exemption FROM payment_attempt WHERE order_id = ?", order_id)
            if row["exemption"] is None:
                asked = await headset.event("payment.action_required", order_id=order_id)
                await decide(shop.http, asked["body"]["url"])
            await ended(headset, order_id)
            return None if row["exemption"] is None else str(row["exemption"])

        async with shop.headset(customer) as headset:
            # Seven lamps are 90.30 EUR; the eighth is over 100 EUR and over five in a row.
            asked_for = [await lamp() for _ in range(9)]
        assert asked_for == ["low_value"] * 7 + [None, "low_value"]
        await shop.check()


async def test_p15_only_executed_payments_count(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", sca_exemptions="low_value") as shop:
        customer = await shop.customer("insufficient_funds")
        async with shop.headset(customer) as headset:
            for _ in range(9):
                order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="insufficient_funds")
                await headset.event("payment.declined", order_id=order_id)
        rows = shop.evidence.rows("SELECT exemption FROM payment_attempt")
        assert [row["exemption"] for row in rows] == ["low_value"] * 9


async def test_p13_short_codes_cannot_be_guessed(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        asked = await challenged(headset, customer)
        good = await shop.http.post("/pay", data={"code": asked["user_code"].lower()})
        assert (good.status_code, good.headers["location"]) == (
            303,
            f"/pay/challenges/{asked['action_id']}",
        )
        for _ in range(PER_ADDRESS):
            wrong = await shop.http.post("/pay", data={"code": "BCDF-GHJK"})
            assert wrong.status_code == 404 and "not valid" in wrong.text
        # Now even the right one has to wait: otherwise the limit would tell which guess is right.
        late = await shop.http.post("/pay", data={"code": asked["user_code"]})
        assert late.status_code == 429 and int(late.headers["retry-after"]) > 0
        # Only a digest of it is kept where actions are looked up.
        (row,) = shop.evidence.rows("SELECT user_code_digest FROM payment_authentication")
        assert len(row["user_code_digest"]) == 64
        await decide(shop.http, asked["url"])
        await ended(headset, asked["order_id"])
        (row,) = shop.evidence.rows("SELECT user_code_digest FROM payment_authentication")
        assert row["user_code_digest"] is None
    await shop.check()


async def test_p13_an_action_whose_time_is_over_says_so_and_cannot_be_approved(
    seed: Seed, tmp_path: Path
) -> None:
    async with at_localhost(seed, tmp_path, delegated_authentication=True, pay_within_ms=3_000) as shop:
        customer = await shop.customer("challenge")
        async with shop.headset(customer) as headset:
            asked = await challenged(headset, customer)
            bank = await bank_page(shop.http, asked["url"])
            await ended(headset, asked["order_id"])
            page = await shop.http.get(asked["url"])
            assert "Not finished" in page.text and bank not in page.text
            denied = await shop.http.post(f"{asked['url']}/deny", follow_redirects=True)
            assert "Not finished" in denied.text
            gone = await shop.http.post(f"{asked['url']}/passkey/options", json={})
            assert (gone.status_code, gone.json()["code"]) == (409, "challenge.decided")
            code = await shop.http.post("/pay", data={"code": asked["user_code"]})
            assert code.status_code == 404
        await shop.check()


async def test_the_hosted_page_keeps_strangers_out(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        asked = await challenged(headset, customer)
        page = await shop.http.get(asked["url"])
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and page.headers["x-frame-options"] == "DENY"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        assert "<style" not in page.text and "onclick" not in page.text
        picture = await shop.http.get(asked["qr_url"])
        assert picture.headers["content-type"].startswith("image/svg+xml") and "<svg" in picture.text
        await headset.command("order.cancel", {"order_id": asked["order_id"]})
        await ended(headset, asked["order_id"])
    await shop.check()


async def test_over_http_a_device_approves_as_over_the_socket(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    headers = {"Authorization": f"Bearer {customer.token}", "Idempotency-Key": "k"}
    async with shop.headset(customer) as headset:
        device = await with_passkey(shop, headset, customer)
        asked = await challenged(headset, customer)
        action_id = asked["action_id"]
        action = (await shop.http.get(f"/v1/payment-actions/{action_id}", headers=headers)).json()
        body = {"action_id": action_id, "credential": device.get(action["passkey"])}
        done = await shop.http.post("/v1/payment-actions/authenticate", json=body, headers=headers)
        assert done.json() == {"action_id": action_id, "state": "authenticated", "replayed": False}
        await ended(headset, asked["order_id"])
        listed = (await shop.http.get("/v1/passkeys", headers=headers)).json()["passkeys"]
        gone = await shop.http.delete(f"/v1/passkeys/{listed[0]['passkey_id']}", headers=headers)
        assert gone.json()["replayed"] is False
    await shop.check()
