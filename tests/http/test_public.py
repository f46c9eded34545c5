"""What anybody may fetch."""

from __future__ import annotations

import hashlib
import json

from gateway.protocol import generate
from tests.http.conftest import CATALOG, Api


async def test_health_and_readiness_answer(api: Api) -> None:
    assert (await api.http.get("/healthz")).json() == {"status": "ok"}
    ready = (await api.http.get("/readyz")).json()
    assert ready["status"] == "ready" and ready["parked_tasks"] == 0


async def test_the_served_documents_are_the_committed_ones(api: Api) -> None:
    served = (await api.http.get("/v1/asyncapi.json")).json()
    assert served == json.loads(generate.DOCUMENT.read_text(encoding="utf-8"))
    names = (await api.http.get("/v1/schemas")).json()["schemas"]
    assert {"order.place", "order.place.ok", "order.placed", "server.hello"} <= set(names)
    schema = await api.http.get("/v1/schemas/order.place.json")
    assert schema.headers["content-type"] == "application/schema+json"
    assert schema.json()["properties"]["type"]["const"] == "order.place"
    assert (await api.http.get("/v1/schemas/nothing.json")).status_code == 404


async def test_openapi_describes_the_merchant_api(api: Api) -> None:
    paths = (await api.http.get("/v1/openapi.json")).json()["paths"]
    assert "/v1/merchant/products/{handle}" in paths and "/v1/orders/{order_id}" in paths


async def test_a_model_is_served_under_the_hash_of_its_content(api: Api) -> None:
    model = next(CATALOG.glob("*/models/*.glb")).read_bytes()
    name = hashlib.sha256(model).hexdigest()
    answer = await api.http.get(f"/v1/assets/{name}.glb")
    assert answer.content == model
    assert answer.headers["content-type"] == "model/gltf-binary"
    assert "immutable" in answer.headers["cache-control"]


async def test_unknown_and_hostile_asset_names_are_not_found(api: Api) -> None:
    for name in ("0" * 64 + ".glb", "..%2f..%2fgateway.db", "gateway.db", "x.glb"):
        answer = await api.http.get(f"/v1/assets/{name}")
        assert answer.status_code == 404, name


async def test_a_token_that_was_never_minted_has_no_metadata(api: Api) -> None:
    variant = next(
        variant
        for product in api.gateway.context.catalog.current.products.values()
        for variant in product.variants
        if variant.digital is not None and variant.digital.edition.value == "numbered"
    )
    assert variant.digital is not None and variant.digital.token_number is not None
    for token_id in (1 << 255 | variant.digital.token_number << 64 | 3, variant.digital.token_number, 999):
        answer = await api.http.get(f"/v1/tokens/{token_id:064x}.json")
        assert (answer.status_code, answer.json()["code"]) == (404, "token.not_found")
    assert (await api.http.get("/v1/tokens/xyz.json")).status_code == 404


async def test_a_model_has_a_picture_under_the_hash_of_its_content(api: Api) -> None:
    snapshot = api.gateway.context.catalog.current
    variants = [variant for product in snapshot.products.values() for variant in product.variants]
    for asset in [snapshot.asset(variant.asset_id) for variant in variants if variant.asset_id]:
        assert asset.picture_id and asset.picture_url
        answer = await api.http.get(asset.picture_url)
        assert hashlib.sha256(answer.content).hexdigest() == asset.picture_id
        assert answer.headers["content-type"] == "image/png"
        assert "immutable" in answer.headers["cache-control"]


async def test_an_unknown_challenge_is_a_page_for_people_and_a_problem_document_for_scripts(
    api: Api,
) -> None:
    page = await api.http.get("/pay/challenges/nothing")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    answer = await api.http.get("/pay/challenges/nothing/state")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "challenge.unknown"
