"""Request bodies are bounded before anybody is asked who they are; models up to a bound of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
import structlog

from gateway.http import merchant_api
from gateway.http.limits import MOST_BODY_BYTES
from tests.http.conftest import Api

CHUNK = 64 * 1024


class Body:
    """A body without a declared length that counts what was taken of it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.taken < self._size:
            self.taken += CHUNK
            yield b"a" * CHUNK


async def test_a_body_that_says_it_is_too_large_is_refused_unread(api: Api) -> None:
    answer = await api.http.post("/v1/merchant/customers", content=b"a" * (MOST_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "message.too_large")


@pytest.mark.parametrize("path", ["/v1/merchant/customers", "/v1/merchant/products/plain-mug"])
async def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_large(path: str, api: Api) -> None:
    body = Body(20 * MOST_BODY_BYTES)
    method = "PUT" if "products" in path else "POST"
    answer = await api.http.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "message.too_large")
    assert body.taken <= MOST_BODY_BYTES + CHUNK


async def test_a_body_within_the_bound_is_read_and_its_sender_asked_for_a_key(api: Api) -> None:
    answer = await api.http.post("/v1/merchant/customers", json={"reference": "a" * (MOST_BODY_BYTES // 2)})
    assert answer.status_code == 401


async def test_a_model_has_its_own_bound_and_is_not_read_for_strangers(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merchant_api, "MAX_MODEL_BYTES", 3 * MOST_BODY_BYTES)
    stranger = Body(20 * MOST_BODY_BYTES)
    answer = await api.http.post("/v1/merchant/models", content=stranger)
    assert answer.status_code == 401 and stranger.taken <= CHUNK
    large = Body(2 * MOST_BODY_BYTES)
    answer = await api.http.post("/v1/merchant/models", content=large, headers=api.as_merchant())
    assert answer.json()["code"] != "message.too_large" and large.taken == 2 * MOST_BODY_BYTES
    huge = Body(20 * MOST_BODY_BYTES)
    answer = await api.http.post("/v1/merchant/models", content=huge, headers=api.as_merchant())
    assert (answer.status_code, answer.json()["code"]) == (413, "message.too_large")
    assert huge.taken <= 3 * MOST_BODY_BYTES + CHUNK


async def test_a_caller_who_leaves_in_the_middle_of_a_body_is_no_failure_of_ours(api: Api) -> None:
    left = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    answered: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return left.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        answered.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/pay",
        "raw_path": b"/pay",
        "query_string": b"",
        "headers": [(b"content-type", b"application/x-www-form-urlencoded")],
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    with structlog.testing.capture_logs() as lines:
        await api.gateway.asgi(scope, receive, send)
    assert not [line for line in lines if line["event"] == "http.failed"]
    assert [message.get("status") for message in answered][:1] == [400]


@pytest.mark.parametrize("path", ["/v1/orders/ord_%00", "/v1/orders?after=%00", "/v1/tokens/%00.json"])
async def test_nul_in_an_address_is_refused_before_anybody_reads_it(path: str, api: Api) -> None:
    answer = await api.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "message.invalid")


@pytest.mark.parametrize(
    "parts", [[b'{"reference": "a\\u0000"}'], [b'{"reference": "a\\u0', b'000"}'], [b"a=%00"]]
)
async def test_nul_in_a_body_is_refused_also_where_it_is_cut_in_two(parts: list[bytes], api: Api) -> None:
    async def body() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    headers = {**api.as_merchant(), "Content-Type": "application/json", "Idempotency-Key": "k"}
    answer = await api.http.post("/v1/merchant/customers", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "message.invalid")
    assert "NUL" in answer.json()["detail"]


async def test_a_picture_may_hold_nul_bytes_and_nothing_else_may_whatever_type_it_names(api: Api) -> None:
    for headers in (api.as_merchant(), {**api.as_merchant(), "Content-Type": "image/png"}):
        picture = await api.http.post("/v1/merchant/pictures", content=b"\0\\u0000%00", headers=headers)
        assert (picture.status_code, picture.json()["code"]) == (422, "picture.invalid")
    for kind in ("image/png", "model/gltf-binary", "application/octet-stream"):
        for path in ("/pay", "/v1/merchant/customers"):
            headers = {**api.as_merchant(), "Content-Type": kind}
            answer = await api.http.post(path, content=b"code=%00", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (400, "message.invalid")
