"""The merchant API: keys, products with all errors at once, customers, cards, other merchants' things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.catalog import pictures
from tests.http.conftest import CATALOG, Api
from wallets.vault.providers import test_cards

PRODUCT: dict[str, Any] = {
    "title": {"en": "Plain mug"},
    "description": {"en": "A mug."},
    "failure_policy": "either",
    "tax": {"physical": "goods_standard"},
    "variants": [
        {
            "sku": "PLAIN-MUG",
            "offers": {"physical": {"prices": {"EUR": "12.00"}}},
            "physical": {"weight_g": 300, "size_mm": [100, 80, 80], "stock": {"berlin": 5}},
        }
    ],
}


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer vmk_wrong"}, {"Authorization": "Basic eDp5"}]
)
async def test_without_a_good_key_nothing_is_answered(api: Api, header: dict[str, str]) -> None:
    for path in ("/v1/merchant/products", "/v1/merchant/orders", "/v1/merchant/books"):
        answer = await api.http.get(path, headers=header)
        assert answer.status_code == 401
        assert answer.json()["code"] in ("auth.required", "auth.invalid_token")


async def test_a_product_is_created_changed_and_read_back(api: Api) -> None:
    made = await api.http.put("/v1/merchant/products/plain-mug", json=PRODUCT, headers=api.as_merchant())
    assert made.status_code == 200, made.text
    read = (await api.http.get("/v1/merchant/products/plain-mug", headers=api.as_merchant())).json()
    assert read["variants"][0]["sku"] == "PLAIN-MUG"
    other = await api.http.get(
        "/v1/merchant/products/plain-mug", headers=api.as_merchant("harbour-and-thread")
    )
    assert other.status_code == 404


async def test_all_errors_of_a_product_are_listed_with_their_fields(api: Api) -> None:
    wrong = PRODUCT | {
        "failure_policy": "whatever",
        "variants": [{**PRODUCT["variants"][0], "offers": {"physical": {"prices": {"USD": "12.00"}}}}],
    }
    answer = await api.http.put("/v1/merchant/products/plain-mug", json=wrong, headers=api.as_merchant())
    assert answer.status_code == 422
    assert answer.json()["code"] == "catalog.invalid"
    fields = " ".join(problem["field"] for problem in answer.json()["problems"])
    assert "failure_policy" in fields and "prices" in fields
    missing = await api.http.get("/v1/merchant/products/plain-mug", headers=api.as_merchant())
    assert missing.status_code == 404


async def test_what_is_not_a_glb_is_refused_and_a_glb_is_measured(api: Api) -> None:
    answer = await api.http.post("/v1/merchant/models", content=b"<html>", headers=api.as_merchant())
    assert answer.status_code == 422
    assert answer.json()["code"] == "model.not_glb"
    model = next(CATALOG.glob("*/models/*.glb")).read_bytes()
    good = await api.http.post("/v1/merchant/models", content=model, headers=api.as_merchant())
    assert good.status_code == 201
    assert len(good.json()["extents_m"]) == 3


async def customer(api: Api, slug: str = "atelier-nord") -> str:
    answer = await api.http.post(
        "/v1/merchant/customers", json={"reference": "ada"}, headers=api.as_merchant(slug)
    )
    assert answer.status_code == 201
    return str(answer.json()["customer_id"])


def card(number: str) -> dict[str, Any]:
    return {"number": number, "expiry_month": 12, "expiry_year": 2030, "security_code": "737", "holder": "A"}


async def test_a_picture_is_uploaded_and_shown(api: Api) -> None:
    drawn = next(CATALOG.glob("*/models/*.glb")).read_bytes()
    for wrong in (b"", b"\xff\xd8\xff", drawn[:2000], b"\x89PNG\r\n\x1a\n" + bytes(40)):
        refused = await api.http.post("/v1/merchant/pictures", content=wrong, headers=api.as_merchant())
        assert (refused.status_code, refused.json()["code"]) == (422, "picture.invalid")
    picture = pictures._png(np.zeros((8, 8, 4), np.uint8))
    made = (await api.http.post("/v1/merchant/pictures", content=picture, headers=api.as_merchant())).json()
    assert (await api.http.get(made["url"])).content == picture
    variant = {**PRODUCT["variants"][0], "picture": made["picture_id"]}
    sent = PRODUCT | {"variants": [variant]}
    answer = await api.http.put("/v1/merchant/products/plain-mug", json=sent, headers=api.as_merchant())
    assert answer.status_code == 200, answer.text
    read = (await api.http.get("/v1/merchant/products/plain-mug", headers=api.as_merchant())).json()
    assert read["variants"][0]["picture_url"] == made["url"]
    unknown = PRODUCT | {"variants": [{**variant, "picture": "0" * 64}]}
    answer = await api.http.put("/v1/merchant/products/plain-mug", json=unknown, headers=api.as_merchant())
    assert (answer.status_code, answer.json()["code"]) == (422, "catalog.invalid")


async def test_a_customer_is_registered_once(api: Api) -> None:
    assert await customer(api) == await customer(api)


async def test_a_test_card_is_stored_once_and_shown_by_its_last_digits(api: Api) -> None:
    path = f"/v1/merchant/customers/{await customer(api)}/payment-methods"
    first = await api.http.post(path, json=card(test_cards.VISA), headers=api.as_merchant())
    again = await api.http.post(path, json=card(test_cards.VISA), headers=api.as_merchant())
    assert first.status_code == 201, first.text
    assert first.json() == again.json()
    assert first.json()["last4"] == "4242"
    assert test_cards.VISA not in first.text


async def test_a_real_card_number_is_refused_and_kept_nowhere(api: Api, tmp_path: Path) -> None:
    number = "4539578763621486"  # Luhn-valid, of nobody
    path = f"/v1/merchant/customers/{await customer(api)}/payment-methods"
    answer = await api.http.post(path, json=card(number), headers=api.as_merchant())
    assert answer.status_code == 400
    assert answer.json()["code"] == "vault.live_card_refused"
    assert number not in answer.text
    await api.gateway.close()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert number.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": "4242424242424241"},
        {"number": "12"},
        {"expiry_month": 13},
        {"expiry_year": 2020},
        {"security_code": "1"},
    ],
)
async def test_a_malformed_card_names_the_field_and_never_the_number(api: Api, wrong: dict[str, Any]) -> None:
    path = f"/v1/merchant/customers/{await customer(api)}/payment-methods"
    answer = await api.http.post(path, json=card(test_cards.VISA) | wrong, headers=api.as_merchant())
    assert answer.status_code == 400
    assert answer.json()["code"] == "card.invalid"
    assert test_cards.VISA not in answer.text and "4242424242424241" not in answer.text


async def test_a_malformed_request_does_not_echo_what_was_sent(api: Api) -> None:
    path = f"/v1/merchant/customers/{await customer(api)}/payment-methods"
    answer = await api.http.post(
        path, json=card(test_cards.VISA) | {"unknown": "4242424242424242"}, headers=api.as_merchant()
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "message.invalid"
    assert "4242424242424242" not in answer.text


async def test_another_merchants_customer_looks_like_none(api: Api) -> None:
    customer_id = await customer(api)
    other = api.as_merchant("harbour-and-thread")
    token = await api.http.post(f"/v1/merchant/customers/{customer_id}/device-tokens", json={}, headers=other)
    assert token.status_code == 404 and token.json()["code"] == "customer.not_found"
    method = await api.http.post(
        f"/v1/merchant/customers/{customer_id}/payment-methods", json=card(test_cards.VISA), headers=other
    )
    assert method.status_code == 404


async def test_a_refund_needs_a_key_and_an_order_of_ones_own(api: Api) -> None:
    path = "/v1/merchant/orders/ord_0000000000000000000000000000/refund"
    without = await api.http.post(path, headers=api.as_merchant())
    assert without.status_code == 400 and without.json()["code"] == "idempotency.key_required"
    unknown = await api.http.post(path, headers=api.as_merchant() | {"Idempotency-Key": "k"})
    assert unknown.status_code == 404 and unknown.json()["code"] == "order.not_found"


async def test_a_device_token_reads_its_own_customers_things_only(api: Api) -> None:
    customer_id = await customer(api)
    issued = await api.http.post(
        f"/v1/merchant/customers/{customer_id}/device-tokens",
        json={"kind": "glasses"},
        headers=api.as_merchant(),
    )
    assert issued.status_code == 201
    device = {"Authorization": f"Bearer {issued.json()['token']}"}
    assert (await api.http.get("/v1/orders", headers=device)).json() == {"orders": [], "next": None}
    assert (await api.http.get("/v1/payment-methods", headers=device)).json() == {"methods": []}
    empty = {"address": None, "items": [], "next": None}
    assert (await api.http.get("/v1/wallet", headers=device)).json() == empty
    # A word of any length is no server error.
    for path in ("/v1/wallet", "/v1/orders"):
        odd = await api.http.get(path, params={"after": "x" * 5000}, headers=device)
        assert odd.status_code < 500
    assert len((await api.http.get("/v1/catalog?limit=3", headers=device)).json()["products"]) == 3
    # A merchant's key is no device token and the other way round.
    assert (await api.http.get("/v1/orders", headers=api.as_merchant())).status_code == 401
    assert (await api.http.get("/v1/merchant/orders", headers=device)).status_code == 401
