"""Orders that are paid with a standing allowance, and with a token that was delegated to an agent."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import ECKey

from samples.headset.client import CommandError, Headset
from tests.support.buying import ended, quote, show
from tests.support.challenges import decide
from tests.support.gateway import Customer, OpenGateway
from tests.support.seed import ATELIER, HARBOUR
from tests.support.standing import (
    allowance_choice,
    buy_within,
    eur,
    grant,
    merchant_id,
    proof_by,
    with_allowance,
)
from wallets.vault.port import AllowanceId

LAMP = "KUPPEL-LAMP:digital"
PRICE = 1290


async def in_world(shop: OpenGateway, customer: Customer, world_id: str, **bound: str) -> str:
    """Return a token of the customer that a world's server was given."""
    issued = await shop.merchant(
        "POST",
        f"/customers/{customer.customer_id}/device-tokens",
        json={"world_id": world_id, **bound},
    )
    shop.secrets.add(issued["token"])
    return str(issued["token"])


async def declined(headset: Headset, order_id: str) -> Any:
    return (await headset.event("payment.declined", order_id=order_id))["body"]


async def test_v26_a_purchase_in_a_world_is_told_which_limit_it_hit_and_by_how_much(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("visa", "mastercard")
    allowance_id = await grant(
        shop,
        shop.gateway.vault,
        customer,
        world_id="wld_harbour",
        max_per_hour=eur(3_000),
        max_item=eur(2_000),
    )
    token = await in_world(shop, customer, "wld_harbour")
    async with shop.headset(customer, token=token) as headset:
        for _ in range(2):
            order_id = await buy_within(headset, allowance_id, LAMP)
            assert (await ended(headset, order_id))["type"] == "order.completed"
        order_id = await buy_within(headset, allowance_id, LAMP)
        told = await declined(headset, order_id)
        assert (told["code"], told["decline_class"]) == ("allowance.hour_exceeded", "soft_retry_later")
        assert told["message"] == "The allowance does not cover this much within an hour."
        limit = {
            "name": "max_per_hour",
            "unit": "EUR",
            "allowed": 3_000,
            "used": 2 * PRICE,
            "asked": PRICE,
            "over_by": 3 * PRICE - 3_000,
        }
        assert told["limit"] == limit and told["retry_at"]
        assert [way["kind"] for way in told["alternatives"]] == ["stored_method", "pay_link"]
        # The order says it too, over the socket and over HTTP, for as long as it waits.
        seen = (await show(headset, order_id))["payment"]["declined"]
        headers = {"Authorization": f"Bearer {token}"}
        over_http = (await shop.http.get(f"/v1/orders/{order_id}", headers=headers)).json()
        assert seen == over_http["payment"]["declined"]
        assert (seen["limit"], seen["code"]) == (limit, "allowance.hour_exceeded")
        # Whoever sells it need not know what its customer allows.
        theirs = await shop.merchant("GET", f"/orders/{order_id}")
        assert "declined" not in theirs["payment"]
        await headset.command(
            "order.pay", {"order_id": order_id, "payment_method_id": customer.methods["mastercard"]}
        )
        await ended(headset, order_id)
        assert "declined" not in (await show(headset, order_id))["payment"]
    found = await shop.gateway.vault.allowance(AllowanceId(allowance_id))
    assert found is not None and (found.used, found.used_count) == (eur(2 * PRICE), 2)
    await shop.check()
    assert shop.effects() == 3 * ["authorize", "capture"][:1] + 3 * ["capture"]


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ({"world_id": "wld_other"}, "allowance.world_mismatch"),
        ({"session_id": "play_other"}, "allowance.session_mismatch"),
        ({"place_id": "loft"}, "allowance.place_mismatch"),
        ({"device_id": "dev_other"}, "allowance.device_mismatch"),
        ({"device_key": "thumbprint"}, "allowance.device_key_mismatch"),
        ({"category": "ebooks"}, "allowance.category_mismatch"),
        ({"channel": "metaverse"}, "allowance.channel_mismatch"),
        ({"merchant": HARBOUR}, "allowance.merchant_mismatch"),
        ({"not_before_ms": 4_000_000_000_000, "expires_at_ms": 5_000_000_000_000}, "allowance.not_yet_valid"),
        ({"max_item": eur(1_000)}, "allowance.item_exceeded"),
        ({"max_amount": eur(1_000)}, "allowance.amount_exceeded"),
    ],
)
async def test_v26_what_does_not_fit_the_allowance_is_declined_and_another_method_pays(
    shop: OpenGateway, scope: dict[str, Any], code: str
) -> None:
    customer = await shop.customer("visa", "mastercard")
    allowance_id = await grant(shop, shop.gateway.vault, customer, **scope)
    token = await in_world(shop, customer, "wld_harbour", session_id="play_1")
    async with shop.headset(customer, token=token) as headset:
        order_id = await buy_within(headset, allowance_id, LAMP)
        told = await declined(headset, order_id)
        assert told["code"] == code
        if code.endswith("_exceeded"):
            assert told["limit"]["over_by"] == PRICE - 1_000
        else:
            assert "limit" not in told
        await headset.command(
            "order.pay", {"order_id": order_id, "payment_method_id": customer.methods["mastercard"]}
        )
        await ended(headset, order_id)
    await shop.check()


async def test_v26_all_scopes_that_fit_are_passed_to_the_vault(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    key = ECKey.generate_key("P-256")
    token = await in_world(shop, customer, "wld_harbour", session_id="play_1")
    async with shop.headset(customer, token=token) as headset:
        device_id = shop.evidence.rows("SELECT device_id FROM device ORDER BY created_at_ms DESC LIMIT 1")
        allowance_id = await grant(
            shop,
            shop.gateway.vault,
            customer,
            merchant=HARBOUR,
            world_id="wld_harbour",
            session_id="play_1",
            device_id=device_id[0]["device_id"],
            device_key=key.thumbprint(),
            category="ebooks",
            max_item=eur(2_000),
            max_per_hour=eur(5_000),
            max_uses=1,
        )
        quoted = await quote(headset, "KNOTS-BOOK:digital", merchant=HARBOUR)
        proof = proof_by(key, allowance_id, quoted["quote_id"])
        placed = await headset.command("order.place", with_allowance(quoted, allowance_id, proof))
        assert (await ended(headset, placed["order_id"]))["type"] == "order.completed"
    await shop.check()


async def test_a_proof_of_the_devices_key_is_for_one_payment_and_for_five_minutes(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    key = ECKey.generate_key("P-256")
    allowance_id = await grant(shop, shop.gateway.vault, customer, device_key=key.thumbprint())
    async with shop.headset(customer) as headset:
        quoted = await quote(headset, LAMP)
        good = proof_by(key, allowance_id, quoted["quote_id"])
        forged = f"{good[:-6]}AAAAAA"
        for proof in (
            proof_by(key, allowance_id, "quo_other"),
            proof_by(key, "alw_other", quoted["quote_id"]),
            proof_by(key, allowance_id, quoted["quote_id"], age_s=301),
            forged,
            "no proof",
        ):
            with pytest.raises(CommandError) as refused:
                await headset.command("order.place", with_allowance(quoted, allowance_id, proof))
            assert refused.value.code == "device_proof.invalid"
        placed = await headset.command("order.place", with_allowance(quoted, allowance_id, good))
        await ended(headset, placed["order_id"])
    await shop.check()


async def test_another_customers_allowance_is_not_there(shop: OpenGateway) -> None:
    customer, other = await shop.customer("visa"), await shop.customer("visa", "insufficient_funds")
    allowance_id = await grant(shop, shop.gateway.vault, customer)
    async with shop.headset(other) as headset:
        quoted = await quote(headset, LAMP)
        for named in (allowance_id, "alw_0000000000000000000000000", "nothing", f"vt_{'0' * 32}"):
            with pytest.raises(CommandError) as refused:
                await headset.command("order.place", with_allowance(quoted, named))
            assert (refused.value.code, refused.value.body["param"]) == (
                "allowance.unknown",
                "$.body.payment.allowance_id",
            )
        order_id = (
            await headset.command(
                "order.place",
                {
                    **with_allowance(quoted, ""),
                    "payment": {
                        "kind": "stored_method",
                        "payment_method_id": other.methods["insufficient_funds"],
                    },
                },
            )
        )["order_id"]
        await declined(headset, order_id)
        with pytest.raises(CommandError) as refused:
            await headset.command(
                "order.pay", {"order_id": order_id, "payment": allowance_choice(allowance_id)}
            )
        assert refused.value.code == "allowance.unknown"
        # One of their own pays for it.
        own = await grant(shop, shop.gateway.vault, other)
        await headset.command("order.pay", {"order_id": order_id, "payment": allowance_choice(own)})
        await ended(headset, order_id)
    await shop.check()


async def test_a_repeated_key_has_its_answer_also_when_the_allowance_is_gone(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    allowance_id = await grant(shop, shop.gateway.vault, customer, max_uses=1)
    async with shop.headset(customer) as headset:
        quoted = await quote(headset, LAMP)
        body = with_allowance(quoted, allowance_id)
        first = await headset.command("order.place", body, key="one")
        await ended(headset, first["order_id"])
        await shop.gateway.vault.revoke(AllowanceId(allowance_id))
        again = await headset.command("order.place", body, key="one")
        assert (again["order_id"], again["replayed"]) == (first["order_id"], True)
        order_id = await buy_within(headset, allowance_id, LAMP)
        assert (await declined(headset, order_id))["code"] == "allowance.revoked"
    await shop.check()


@pytest.mark.parametrize("card", ["challenge", "needs_sca"])
async def test_a_challenge_goes_on_under_the_same_allowance(shop: OpenGateway, card: str) -> None:
    """Also where the issuer declines first and is asked once more: one use, once."""
    customer = await shop.customer(card)
    allowance_id = await grant(shop, shop.gateway.vault, customer, card=card, max_uses=1)
    async with shop.headset(customer) as headset:
        order_id = await buy_within(headset, allowance_id, LAMP)
        page = (await headset.event("payment.action_required", order_id=order_id))["body"]["url"]
        await decide(shop.http, page)
        assert (await ended(headset, order_id))["type"] == "order.completed"
    used = shop.evidence.rows("SELECT DISTINCT allowance_id FROM vault_operation", database="vault")
    assert [row["allowance_id"] for row in used if row["allowance_id"]] == [allowance_id]
    found = await shop.gateway.vault.allowance(AllowanceId(allowance_id))
    assert found is not None and (found.used, found.used_count) == (eur(PRICE), 1)
    await shop.check()


async def test_an_allowance_of_another_merchant_is_the_customers_own_to_name(shop: OpenGateway) -> None:
    """The vault says what is wrong with it; nobody else's allowance can be told apart from none."""
    customer = await shop.customer("visa", "mastercard")
    allowance_id = await grant(shop, shop.gateway.vault, customer, merchant=HARBOUR)
    assert await merchant_id(shop, ATELIER) != await merchant_id(shop, HARBOUR)
    async with shop.headset(customer) as headset:
        order_id = await buy_within(headset, allowance_id, LAMP)
        assert (await declined(headset, order_id))["code"] == "allowance.merchant_mismatch"
    await shop.check()
