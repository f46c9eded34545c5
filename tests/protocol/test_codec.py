"""Bytes to messages: what is taken, and which code everything else gets."""

from __future__ import annotations

import json

import pytest

from gateway.kernel.errors import VitrineError
from gateway.kernel.events.model import RecordedEvent
from gateway.protocol.codec import UnreadableError, decode, encode_event, encode_message, error_body
from gateway.protocol.messages import MESSAGE_BYTES, Auth, OrderGet, OrderPlace, QuoteCreate


def quote(**changes: object) -> dict[str, object]:
    body: dict[str, object] = {
        "merchant": "m",
        "items": [{"sku": "LAMP", "format": "digital", "quantity": 1}],
        "currency": "EUR",
        "country": "DE",
    }
    return {"v": 1, "id": "c1", "type": "quote.create", "key": "k", "body": body | changes}


def code_of(raw: bytes | str) -> tuple[str, str | None, str | None]:
    with pytest.raises(UnreadableError) as caught:
        decode(raw)
    return caught.value.code, caught.value.re, caught.value.param


def test_a_command_is_read_into_its_type() -> None:
    message = decode(json.dumps(quote()))
    assert isinstance(message, QuoteCreate)
    assert message.body.items[0].quantity == 1


def test_integral_floats_are_integers_because_engines_write_them() -> None:
    raw = json.dumps(quote(items=[{"sku": "A", "format": "digital", "quantity": 3.0}])).replace(
        '"v": 1', '"v": 1.0'
    )
    message = decode(raw)
    assert isinstance(message, QuoteCreate)
    assert message.body.items[0].quantity == 3


def test_unknown_fields_are_ignored() -> None:
    message = decode('{"id":"a","type":"order.get","new":[1],"body":{"order_id":"ord_1","later":true}}')
    assert isinstance(message, OrderGet)


def test_sign_in_needs_no_key() -> None:
    assert isinstance(decode('{"id":"a","type":"auth","body":{"token":"t"}}'), Auth)


@pytest.mark.parametrize("raw", [b"{", b"", b"\xff\xfe", b"[]", b"1", b'"x"', b'{"id":"x",}'])
def test_what_is_not_a_json_object_is_malformed(raw: bytes) -> None:
    assert code_of(raw)[0] == "message.malformed"


def test_an_unknown_command_keeps_its_id() -> None:
    assert code_of('{"id":"c7","type":"order.steal","body":{}}') == ("command.unknown", "c7", "$.type")


@pytest.mark.parametrize("quantity", [0, -1, 101, 10**30, 1.5, "2", None, True, [1]])
def test_impossible_quantities_are_invalid(quantity: object) -> None:
    code, re, param = code_of(
        json.dumps(quote(items=[{"sku": "A", "format": "digital", "quantity": quantity}]))
    )
    assert (code, re, param) == ("message.invalid", "c1", "$.body.items[0].quantity")


@pytest.mark.parametrize(
    "name", ["price", "amount", "amount_minor", "total", "unit_price", "discount", "tax"]
)
def test_a_client_sent_price_is_refused(name: str) -> None:
    item = {"sku": "A", "format": "digital", "quantity": 1, name: 1}
    assert code_of(json.dumps(quote(items=[item])))[0] == "price.client_sent"
    assert code_of(json.dumps(quote(**{name: 1})))[0] == "price.client_sent"


def test_each_kind_of_consent_is_given_once() -> None:
    consent = {
        "kind": "digital_content_start",
        "text_version": "v1",
        "locale": "de",
        "at": "2026-11-22T10:00:00Z",
    }
    body = {"quote_id": "quo_1", "payment_method_id": "pm_1", "consents": [consent]}
    place = {"id": "c1", "type": "order.place", "key": "k", "body": body}
    assert isinstance(decode(json.dumps(place)), OrderPlace)
    twice = {**place, "body": {**body, "consents": [consent, {**consent, "locale": "en"}]}}
    assert code_of(json.dumps(twice)) == ("message.invalid", "c1", "$.body")


def test_a_changing_command_needs_a_key() -> None:
    without = quote()
    del without["key"]
    assert code_of(json.dumps(without)) == ("idempotency.key_required", "c1", "$.key")
    assert code_of(json.dumps(quote() | {"key": ""}))[0] == "message.invalid"
    assert code_of(json.dumps(quote() | {"key": "x" * 256}))[0] == "message.invalid"
    assert code_of(json.dumps(quote() | {"key": "line\nbreak"}))[0] == "message.invalid"


def test_a_message_over_the_limit_is_refused() -> None:
    assert code_of(b'{"id":"a","pad":"' + b"x" * MESSAGE_BYTES + b'"}')[0] == "message.too_large"


def test_depth_is_bounded_and_brackets_in_text_do_not_count() -> None:
    deep = '{"id":"a","type":"order.get","body":{"order_id":"o","x":' + "[" * 40 + "]" * 40 + "}}"
    assert code_of(deep)[0] == "message.too_deep"
    flat = '{"id":"a","type":"order.get","body":{"order_id":"o","x":"' + "[" * 400 + '"}}'
    assert isinstance(decode(flat), OrderGet)


def test_ids_are_at_most_64_characters() -> None:
    assert code_of(json.dumps(quote() | {"id": "x" * 65}))[0] == "message.invalid"


def test_replies_are_raw_utf8() -> None:
    raw = encode_message("s1", "ok", 0, {"title": "Lämpchen 🥽"}, re="c1")
    assert "🥽".encode() in raw
    assert json.loads(raw)["ts"] == "1970-01-01T00:00:00.000Z"


def test_an_event_carries_its_place_and_its_stored_body() -> None:
    recorded = RecordedEvent("evt_1", "cus_1", "epoch_1", 7, "order.placed", '{"order_id":"ord_1"}', 1000)
    document = json.loads(encode_event(recorded))
    assert (document["stream"], document["epoch"], document["seq"]) == ("cus_1", "epoch_1", 7)
    assert document["body"] == {"order_id": "ord_1"}


def test_a_code_outside_of_the_closed_list_is_answered_as_internal() -> None:
    assert error_body(VitrineError("secret.detail", "do not tell"))["code"] == "internal"
