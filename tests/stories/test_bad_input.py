"""Bad input gets a stable code, and leaves nothing behind: the rows of every database are counted."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from samples.headset.client import CommandError
from tests.support.buying import buy, ended, order_body, quote
from tests.support.evidence import Evidence
from tests.support.gateway import CONSENT, OpenGateway, address, opened
from tests.support.seed import HARBOUR, SAMPLES, Seed
from tests.support.wire import wired

LAMP = {"sku": "KUPPEL-LAMP", "format": "digital"}


def asking(*items: Any, **changes: Any) -> dict[str, Any]:
    """Return the body of a quote."""
    return {"merchant": "atelier-nord", "items": list(items), "currency": "EUR", "country": "DE"} | changes


def envelope(type: str, body: Any, **more: Any) -> str:
    return json.dumps({"v": 1, "id": "bad", "type": type, "body": body} | more)


def quoting(*items: Any, **changes: Any) -> str:
    return envelope("quote.create", asking(*items, **changes), key=str(uuid.uuid4()))


UNREADABLE = {
    "not JSON": ("{", "message.malformed"),
    "empty": ("", "message.malformed"),
    "not a number": ('{"v":1,"id":"bad","type":"order.list","body":{"limit":NaN}}', "message.invalid"),
    "not an object": ("[1]", "message.malformed"),
    "text": ('"order.get"', "message.malformed"),
    "no type": ('{"v":1,"id":"bad","body":{}}', "message.invalid"),
    "type is a number": ('{"v":1,"id":"bad","type":7,"body":{}}', "message.invalid"),
    "no id": ('{"v":1,"type":"order.list","body":{}}', "message.invalid"),
    "another version": ('{"v":2,"id":"bad","type":"order.list","body":{}}', "message.invalid"),
    "too deep": ('{"v":1,"id":"bad","type":"order.list","body":' + "[" * 40 + "]" * 40 + "}", "message.too_deep"),
    "over the limit": (envelope("order.get", {"order_id": "x", "pad": "p" * 65_536}), "message.too_large"),
    "unknown command": (envelope("order.explode", {}), "command.unknown"),
    "body is a list": (envelope("order.get", []), "message.invalid"),
    "id of another type": (envelope("order.get", {"order_id": 5}), "message.invalid"),
    "no body": ('{"v":1,"id":"bad","type":"order.get"}', "message.invalid"),
    "no key": (envelope("quote.create", asking(LAMP)), "idempotency.key_required"),
    "empty key": (envelope("quote.create", asking(LAMP), key=""), "message.invalid"),
    "key of another type": (envelope("quote.create", asking(LAMP), key=7), "message.invalid"),
    "unprintable key": (envelope("quote.create", asking(LAMP), key="a\nb"), "message.invalid"),
    "long key": (envelope("quote.create", asking(LAMP), key="k" * 256), "message.invalid"),
    "no items": (quoting(), "message.invalid"),
    "too many items": (quoting(*[LAMP] * 51), "message.invalid"),
    "zero": (quoting(LAMP | {"quantity": 0}), "message.invalid"),
    "negative": (quoting(LAMP | {"quantity": -1}), "message.invalid"),
    "huge": (quoting(LAMP | {"quantity": 10**30}), "message.invalid"),
    "above the most": (quoting(LAMP | {"quantity": 101}), "message.invalid"),
    "half a lamp": (quoting(LAMP | {"quantity": 1.5}), "message.invalid"),
    "quantity as text": (quoting(LAMP | {"quantity": "1"}), "message.invalid"),
    "true as quantity": (quoting(LAMP | {"quantity": True}), "message.invalid"),
    "price of an item": (quoting(LAMP | {"price": 1}), "price.client_sent"),
    "total of a quote": (quoting(LAMP, total={"amount_minor": 1, "currency": "EUR"}), "price.client_sent"),
    "discount": (quoting(LAMP | {"discount": 99}), "price.client_sent"),
    "unknown format": (quoting(LAMP | {"format": "rented"}), "message.invalid"),
    "format not sold": (quoting({"sku": "DAWN-ORIGINAL", "format": "digital"}), "format.not_offered"),
    "unknown article": (quoting({"sku": "NO-SUCH", "format": "digital"}), "sku.not_found"),
    "another merchant's article": (quoting({"sku": "LAGOON-HAT", "format": "digital"}), "sku.not_found"),
    "unknown merchant": (quoting(LAMP, merchant="nobody"), "merchant.not_found"),
    "unknown place": (quoting(LAMP, place="moon"), "place.not_found"),
    "currency without a price": (quoting(LAMP, currency="KWD"), "price.not_offered"),
    "currency in small letters": (quoting(LAMP, currency="eur"), "message.invalid"),
    "country without shipping": (quoting({"sku": "FJORD-MUG", "format": "physical"}, country="GB"), "shipping.not_offered"),
    "country without a tax rate": (quoting(LAMP, country="AQ"), "tax.rate_unknown"),
    "more than there is": (quoting({"sku": "HALM-CHAIR", "format": "physical", "quantity": 8}), "stock.sold_out"),
    "more copies than there are": (quoting({"sku": "DUSK-PRINT", "format": "digital", "quantity": 26}), "edition.sold_out"),
    "more than one account may hold": (quoting({"sku": "FJORD-MUG", "format": "physical", "quantity": 21}), "hold.limit_account"),
    "unknown product": (envelope("catalog.get", {"product_id": "prd_none"}), "product.not_found"),
    "no product named": (envelope("catalog.get", {}), "message.invalid"),
    "unknown order": (envelope("order.get", {"order_id": "ord_none"}), "order.not_found"),
    "unknown order canceled": (envelope("order.cancel", {"order_id": "ord_none"}, key="k1"), "order.not_found"),
    "unknown quote": (envelope("order.place", {"quote_id": "quo_none", "payment_method_id": "pm_none"}, key="k2"), "quote.not_found"),
    "price of an order": (envelope("order.place", {"quote_id": "q", "payment_method_id": "p", "amount_minor": 1}, key="k3"), "price.client_sent"),
}  # fmt: skip


async def test_every_bad_message_gets_its_code_and_changes_nothing(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    wrong: dict[str, Any] = {}
    async with wired(shop.base_url, customer.token) as wire:
        # The account that tokens go to is made by the first quote that names one.
        assert (await wire.ask("quote.create", asking(LAMP), key="first"))["type"] == "ok"
        before = shop.evidence.sizes()
        for name, (raw, code) in UNREADABLE.items():
            await wire.send(raw)
            reply = await wire.reply()
            while reply["body"].get("code") == "command.rate_limited":
                await asyncio.sleep(reply["body"]["retry_after_ms"] / 1000)
                await wire.send(raw)
                reply = await wire.reply()
            body = reply["body"]
            explained = body.get("message") and body.get("class") in ("fix", "fatal", "retry")
            if reply["type"] != "error" or body["code"] != code or not explained:
                wrong[name] = body
            if shop.evidence.sizes() != before:
                wrong[name] = "rows were written"
        assert wrong == {}
        # The connection is as good as before.
        assert (await wire.ask("order.list"))["body"]["orders"] == []
    await shop.check()


async def test_a_field_is_named_where_it_is_wrong(shop: OpenGateway) -> None:
    customer = await shop.customer()
    async with wired(shop.base_url, customer.token) as wire:
        reply = await wire.ask("quote.create", asking(LAMP, LAMP | {"quantity": 0}), key="k")
        assert reply["body"]["param"].endswith("items[1].quantity")


async def test_a_message_far_over_the_limit_closes_the_connection(shop: OpenGateway) -> None:
    customer = await shop.customer()
    async with wired(shop.base_url, customer.token) as wire:
        await wire.send("x" * 300_000)
        assert await wire.closed() == 1009


async def test_binary_messages_and_commands_before_sign_in_close_the_connection(shop: OpenGateway) -> None:
    customer = await shop.customer()
    async with wired(shop.base_url, customer.token) as wire:
        await wire.send(b"\x00\x01")
        assert await wire.closed() == 4502
    async with wired(shop.base_url) as wire:
        await wire.send(envelope("order.list", {}))
        assert await wire.closed() == 4502
    async with wired(shop.base_url, customer.token) as wire:
        await wire.send(envelope("auth", {"token": customer.token}))
        assert await wire.closed() == 4502


async def test_tokens_that_are_wrong_expired_or_of_another_kind_are_refused(shop: OpenGateway) -> None:
    customer = await shop.customer()
    expired = await shop.customer()
    clock_ms = int(time.time() * 1000)

    def expire(uow: Any) -> None:
        from gateway.identity.tables import device_token

        uow.core(
            device_token.update()
            .where(device_token.c.customer_id == expired.customer_id)
            .values(expires_at_ms=clock_ms - 1)
        )

    await shop.gateway.context.store.write(expire)
    for token, code, close in (
        ("vdt_nobody", "auth.invalid_token", 4501),
        (customer.token + "x", "auth.invalid_token", 4501),
        (shop.keys["atelier-nord"], "auth.invalid_token", 4501),
        (expired.token, "auth.expired_token", 4500),
    ):
        async with wired(shop.base_url) as wire:
            refused = await wire.sign_in(token)
            assert (refused["type"], refused["body"]["code"]) == ("error", code)
            assert await wire.closed() == close
        reply = await shop.http.get("/v1/orders", headers={"Authorization": f"Bearer {token}"})
        assert (reply.status_code, reply.json()["code"]) == (401, code)
    for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer"}):
        reply = await shop.http.get("/v1/orders", headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (401, "auth.required")
    reply = await shop.http.get("/v1/merchant/orders", headers={"Authorization": f"Bearer {customer.token}"})
    assert (reply.status_code, reply.json()["code"]) == (401, "auth.invalid_token")


async def test_an_order_without_what_it_needs_is_refused_whole(shop: OpenGateway) -> None:
    customer, other = await shop.customer("visa"), await shop.customer("visa")
    async with shop.headset(customer) as headset:
        quoted = await quote(headset, "KUPPEL-LAMP:bundle")
        good = order_body(quoted, customer.methods["visa"])
        cases: dict[str, tuple[dict[str, Any], str]] = {
            "no consent": (good | {"consents": []}, "consent.missing"),
            "another consent": (good | {"consents": [CONSENT | {"kind": "anything"}]}, "message.invalid"),
            "no address": ({k: v for k, v in good.items() if k != "ship_to"}, "ship_to.required"),
            "address elsewhere": (good | {"ship_to": address("FR")}, "ship_to.country_mismatch"),
            "another's method": (
                good | {"payment_method_id": other.methods["visa"]},
                "payment_method.not_found",
            ),
            "no such method": (good | {"payment_method_id": "pm_none"}, "payment_method.not_found"),
        }
        before = shop.evidence.sizes()
        for name, (body, code) in cases.items():
            with pytest.raises(CommandError) as refused:
                await headset.command("order.place", body)
            assert refused.value.code == code, name
            assert shop.evidence.sizes() == before, name
        # What was refused can be sent again, mended.
        placed = await headset.command("order.place", good)
        await ended(headset, placed["order_id"])
        with pytest.raises(CommandError) as twice:
            await headset.command("order.place", good)
        assert twice.value.code == "quote.ordered"
    await shop.check()


async def test_a_key_used_with_another_body_is_refused(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with wired(shop.base_url, customer.token) as wire:
        first = await wire.ask("quote.create", asking(LAMP), key="q")
        other = await wire.ask("quote.create", asking(LAMP | {"quantity": 2}), key="q")
        assert other["body"]["code"] == "idempotency.conflict"
        # An integral float and another order of fields are the same body.
        same = await wire.ask("quote.create", asking({"quantity": 1.0, **LAMP}), key="q")
        assert same["body"]["quote_id"] == first["body"]["quote_id"]
        order = order_body(first["body"], customer.methods["visa"])
        placed = await wire.ask("order.place", order, key="q")
        before = shop.evidence.count("customer_order")
        conflict = await wire.ask(
            "order.place", order | {"consents": [CONSENT | {"locale": "de-DE"}]}, key="q"
        )
        assert conflict["body"]["code"] == "idempotency.conflict"
        again = await wire.ask("order.place", order, key="q")
        # The same order, as it stands now.
        assert again["body"] == placed["body"] | {"replayed": True, "state": again["body"]["state"]}
        assert again["body"]["state"] in ("placed", "confirmed", "completed")
        assert shop.evidence.count("customer_order") == before == 1
    await shop.check()


async def test_an_expired_quote_cannot_be_ordered(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", quote_valid_ms=50) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            quoted = await quote(headset, "FJORD-MUG:physical")
            await asyncio.sleep(0.06)
            with pytest.raises(CommandError) as refused:
                await headset.command("order.place", order_body(quoted, customer.methods["visa"]))
            assert refused.value.code == "quote.expired"
            assert await headset.command("order.list") == {"orders": [], "next": None}
        await shop.check()


async def test_nobody_sees_or_changes_what_is_anothers(shop: OpenGateway) -> None:
    customer, stranger = await shop.customer("insufficient_funds"), await shop.customer("visa")
    async with shop.headset(customer) as mine, shop.headset(stranger) as theirs:
        order_id = await buy(mine, customer, "KUPPEL-LAMP:digital", card="insufficient_funds")
        await mine.event("payment.declined", order_id=order_id)
        quoted = await quote(mine, "FJORD-MUG:physical")
        before = shop.evidence.sizes()
        for type, body, code in (
            ("order.get", {"order_id": order_id}, "order.not_found"),
            ("order.cancel", {"order_id": order_id}, "order.not_found"),
            (
                "order.pay",
                {"order_id": order_id, "payment_method_id": stranger.methods["visa"]},
                "order.not_found",
            ),
            ("order.place", order_body(quoted, stranger.methods["visa"]), "quote.not_found"),
        ):
            with pytest.raises(CommandError) as refused:
                await theirs.command(type, body)
            assert refused.value.code == code
        with pytest.raises(CommandError) as refused:
            await mine.command(
                "order.pay", {"order_id": order_id, "payment_method_id": stranger.methods["visa"]}
            )
        assert refused.value.code == "payment_method.not_found"
        assert (await theirs.command("order.list"))["orders"] == []
        assert (await theirs.command("wallet.list"))["items"] == []
        assert len((await theirs.command("payment.methods"))["methods"]) == 1
        assert theirs.events == []
        assert shop.evidence.sizes() == before
        headers = {"Authorization": f"Bearer {stranger.token}"}
        reply = await shop.http.get(f"/v1/orders/{order_id}", headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (404, "order.not_found")
        # A merchant that did not register the customer cannot act for them.
        for path, body in (
            ("device-tokens", {}),
            (
                "payment-methods",
                {
                    "number": "4242424242424242",
                    "expiry_month": 1,
                    "expiry_year": 2031,
                    "security_code": "123",
                },
            ),
        ):
            reply = await shop.http.post(
                f"/v1/merchant/customers/{customer.customer_id}/{path}",
                headers={"Authorization": f"Bearer {shop.keys[HARBOUR]}"},
                json=body,
            )
            assert (reply.status_code, reply.json()["code"]) == (404, "customer.not_found")
        reply = await shop.http.post(
            f"/v1/merchant/orders/{order_id}/refund",
            headers={"Authorization": f"Bearer {shop.keys[HARBOUR]}", "Idempotency-Key": "k"},
        )
        assert (reply.status_code, reply.json()["code"]) == (404, "order.not_found")
        assert shop.evidence.sizes() == before
    await shop.check()


async def test_cards_that_are_real_wrong_or_refused_are_kept_nowhere(shop: OpenGateway) -> None:
    customer = await shop.customer()
    before = shop.evidence.sizes()
    good = {"number": "4242424242424242", "expiry_month": 12, "expiry_year": 2031, "security_code": "739"}
    cases: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("a real number", {"number": "4929420573595709"}, "vault.live_card_refused"),
        ("a wrong check digit", {"number": "4242424242424241"}, "card.invalid"),
        ("letters", {"number": "4242-4242-oooo"}, "card.invalid"),
        ("month 13", {"expiry_month": 13}, "card.invalid"),
        ("expired", {"expiry_year": 2020}, "card.invalid"),
        ("short security code", {"security_code": "7"}, "card.invalid"),
        ("refused by the issuer", {"number": "4000000000000101"}, "card.declined"),
        ("no number", {"number": None}, "message.invalid"),
        ("a field too many", {"cvv2": "739"}, "message.invalid"),
    )
    for name, change, code in cases:
        reply = await shop.http.post(
            f"/v1/merchant/customers/{customer.customer_id}/payment-methods",
            headers={"Authorization": f"Bearer {shop.keys['atelier-nord']}"},
            json=good | change,
        )
        found = reply.json()
        assert found["code"] == code, name
        assert reply.headers["content-type"] == "application/problem+json"
        assert found["type"] == f"urn:vitrine:error:{code}" and found["status"] == reply.status_code
        if isinstance(change.get("number"), str):
            assert change["number"] not in reply.text
        assert "739" not in reply.text
        assert shop.evidence.sizes() == before, name
    shop.secrets |= {"4929420573595709", "4242424242424241", "4000000000000101"}
    await shop.check()


async def test_a_model_that_is_no_glb_and_a_product_with_two_errors_change_nothing(shop: OpenGateway) -> None:
    headers = {"Authorization": f"Bearer {shop.keys['atelier-nord']}"}
    before = shop.evidence.sizes()
    files = sorted((shop.data_dir / "assets").iterdir())
    good = (SAMPLES / "atelier-nord" / "models" / "lamp.glb").read_bytes()
    for data in (b"", b"not a model", b"glTF" + b"\0" * 100, good[: len(good) // 2]):
        reply = await shop.http.post("/v1/merchant/models", headers=headers, content=data)
        assert reply.status_code in (400, 422), reply.text
        assert reply.json()["code"].startswith("model."), reply.text
    product = {
        "title": {"en": "Lamp"},
        "tax": {"digital": "digital_standard"},
        "variants": [
            {
                "sku": "BAD LAMP",
                "offers": {"digital": {"prices": {"EUR": "12.901"}}},
                "digital": {"delivery": "token", "edition": {"kind": "open"}},
            }
        ],
    }
    reply = await shop.http.put("/v1/merchant/products/bad-lamp", headers=headers, json=product)
    assert (reply.status_code, reply.json()["code"]) == (422, "catalog.invalid")
    fields = [problem["field"] for problem in reply.json()["problems"]]
    assert any("sku" in field for field in fields) and any("EUR" in field for field in fields), fields
    assert shop.evidence.sizes() == before
    assert sorted((shop.data_dir / "assets").iterdir()) == files


def test_the_command_line_lists_every_error_of_a_product_file_and_imports_nothing(
    seed: Seed, tmp_path: Path
) -> None:
    data = seed.copy(tmp_path / "data")
    catalog = tmp_path / "atelier-nord"
    shutil.copytree(SAMPLES / "atelier-nord", catalog)
    product = catalog / "products" / "kuppel-lamp.yaml"
    text = (
        product.read_text()
        .replace('EUR: "12.90"', 'EUR: "12.901"')
        .replace("weight_g: 2600", "weight_g: heavy")
    )
    product.write_text(text)
    before = Evidence(data).sizes()
    command = [
        sys.executable,
        "-c",
        "from gateway.cli import main; main()",
        "products",
        "import",
        str(catalog),
    ]
    done = subprocess.run([*command, "--data-dir", str(data)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "prices.EUR" in said and "weight_g" in said and said.count("kuppel-lamp.yaml:") == 2, said
    assert Evidence(data).sizes() == before


async def test_a_refund_without_a_key_is_refused(shop: OpenGateway) -> None:
    reply = await shop.http.post(
        "/v1/merchant/orders/ord_none/refund",
        headers={"Authorization": f"Bearer {shop.keys['atelier-nord']}"},
    )
    assert (reply.status_code, reply.json()["code"]) == (400, "idempotency.key_required")


async def test_too_many_commands_are_slowed_down_and_too_many_connections_refused(shop: OpenGateway) -> None:
    customer = await shop.customer()
    async with wired(shop.base_url, customer.token) as wire:
        for number in range(80):
            await wire.send(json.dumps({"v": 1, "id": f"r{number}", "type": "order.list", "body": {}}))
        replies = [await wire.reply() for _ in range(80)]
        codes = {reply["body"]["code"] for reply in replies if reply["type"] == "error"}
        assert codes and codes <= {"command.rate_limited", "command.too_many_in_flight"}
        assert {reply["re"] for reply in replies} == {f"r{number}" for number in range(80)}
        assert all(
            reply["body"]["class"] == "retry" and reply["body"]["retry_after_ms"] > 0
            for reply in replies
            if reply["type"] == "error"
        )
    async with AsyncExitStack() as connections:
        for _ in range(5):
            await connections.enter_async_context(wired(shop.base_url, customer.token))
        async with wired(shop.base_url) as one_more:
            refused = await one_more.sign_in(customer.token)
            assert refused["body"]["code"] == "auth.too_many_connections"
            assert await one_more.closed() == 4429
