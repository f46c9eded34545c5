"""V14: payloads of Apple Pay and Google Pay are verified before they are passed on; every tampering is refused."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.wallets.vault.providers.payload_makers import RECIPIENT, Apple, Google
from wallets.vault.providers.apple_pay import check_apple_pay
from wallets.vault.providers.google_pay import RootKey, check_google_pay
from wallets.vault.providers.payloads import PayloadRefusedError

NOW_MS = 0
"""When the present test began: signatures are good for minutes only."""


@pytest.fixture(autouse=True)
def _now() -> None:
    global NOW_MS
    NOW_MS = int(time.time() * 1000)


DAY_MS = 86_400_000


def flipped(value: str) -> str:
    """Another base64 text of the same length: one bit of its content is different."""
    raw = bytearray(base64.b64decode(value))
    raw[len(raw) // 2] ^= 1
    return base64.b64encode(raw).decode()


def test_v14_a_google_payload_under_a_known_root_is_taken() -> None:
    google = Google()
    token = google.token(NOW_MS)
    identity = check_google_pay(token, roots=google.roots(), recipient=RECIPIENT, now_ms=NOW_MS)
    # White space makes no other payload of it.
    again = json.dumps(json.loads(token), indent=1)
    assert check_google_pay(again, roots=google.roots(), recipient=RECIPIENT, now_ms=NOW_MS) == identity


def google_change(path: tuple[str, ...], change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def spoil(token: dict[str, Any]) -> None:
        place = token
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = change(place[path[-1]])

    return spoil


def inside(name: str, change: Callable[[str], str]) -> Callable[[str], str]:
    def spoil(text: str) -> str:
        document = json.loads(text)
        document[name] = change(document[name])
        return json.dumps(document)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        google_change(("signature",), flipped),
        google_change(("signedMessage",), inside("encryptedMessage", flipped)),
        google_change(("signedMessage",), inside("tag", flipped)),
        google_change(("signedMessage",), lambda text: text + " "),
        google_change(
            ("intermediateSigningKey", "signedKey"), inside("keyExpiration", lambda _: "99999999999999")
        ),
        google_change(("intermediateSigningKey", "signedKey"), lambda text: text + " "),
        google_change(("intermediateSigningKey", "signatures"), lambda each: [flipped(each[0])]),
        google_change(("intermediateSigningKey", "signatures"), lambda _: []),
        google_change(("protocolVersion",), lambda _: "ECv1"),
        google_change(("protocolVersion",), lambda _: None),
    ],
)
def test_v14_a_changed_google_payload_is_refused(spoil: Callable[[dict[str, Any]], None]) -> None:
    google = Google()
    token = json.loads(google.token(NOW_MS))
    spoil(token)
    with pytest.raises(PayloadRefusedError):
        check_google_pay(json.dumps(token), roots=google.roots(), recipient=RECIPIENT, now_ms=NOW_MS)


def test_v14_a_google_key_pair_that_no_root_signed_is_refused() -> None:
    with pytest.raises(PayloadRefusedError, match="root"):
        check_google_pay(Google().token(NOW_MS), roots=Google().roots(), recipient=RECIPIENT, now_ms=NOW_MS)


def test_v14_google_expiries_and_the_recipient_are_checked() -> None:
    google = Google()
    token = google.token(NOW_MS, expires_in_ms=1_000)
    check = {"roots": google.roots(), "recipient": RECIPIENT}
    check_google_pay(token, **check, now_ms=NOW_MS + 999)
    with pytest.raises(PayloadRefusedError, match="expired"):
        check_google_pay(token, **check, now_ms=NOW_MS + 1_000)
    with pytest.raises(PayloadRefusedError, match="root"):
        check_google_pay(token, roots=google.roots(NOW_MS), recipient=RECIPIENT, now_ms=NOW_MS)
    with pytest.raises(PayloadRefusedError, match="message"):
        check_google_pay(token, roots=google.roots(), recipient="gateway:another", now_ms=NOW_MS)


def test_published_root_keys_of_other_protocols_are_left_out() -> None:
    key = base64.b64encode(b"der").decode()
    text = json.dumps(
        {
            "keys": [
                {"keyValue": key, "protocolVersion": "ECv1"},
                {"keyValue": key, "protocolVersion": "ECv2", "keyExpiration": "5"},
                {"keyValue": key, "protocolVersion": "ECv2SigningOnly"},
            ]
        }
    )
    assert RootKey.published(text) == (RootKey(b"der", 5),)


def test_v14_an_apple_payload_under_a_known_root_is_taken() -> None:
    apple = Apple()
    identity = check_apple_pay(apple.payment_data(), roots=[apple.root], now_ms=NOW_MS)
    again = json.dumps(json.loads(apple.payment_data()), indent=1)
    assert check_apple_pay(again, roots=[apple.root], now_ms=NOW_MS) == identity


@pytest.mark.parametrize(
    "spoil",
    [
        google_change(("data",), flipped),
        google_change(("signature",), flipped),
        google_change(("header", "ephemeralPublicKey"), flipped),
        google_change(("header", "transactionId"), lambda _: "0103"),
        google_change(("header", "transactionId"), lambda _: "zz"),
        google_change(("version",), lambda _: "EC_v2"),
        google_change(("signature",), lambda value: value[: len(value) // 2 // 4 * 4]),
        google_change(("signature",), lambda _: base64.b64encode(b"\x30\x84\xff\xff\xff\xff").decode()),
        lambda token: token["header"].update(applicationData="00"),
    ],
)
def test_v14_a_changed_apple_payload_is_refused(spoil: Callable[[dict[str, Any]], None]) -> None:
    apple = Apple()
    token = json.loads(apple.payment_data())
    spoil(token)
    with pytest.raises(PayloadRefusedError):
        check_apple_pay(json.dumps(token), roots=[apple.root], now_ms=NOW_MS)


def test_v14_every_flipped_byte_of_an_apple_signature_is_refused() -> None:
    """Names, keys, digests, times: nothing in the signature is there for nothing."""
    apple = Apple()
    token = json.loads(apple.payment_data())
    raw = base64.b64decode(token["signature"])
    taken = []
    for place in range(0, len(raw), 3):
        spoiled = bytearray(raw)
        spoiled[place] ^= 0x10
        token["signature"] = base64.b64encode(spoiled).decode()
        try:
            check_apple_pay(json.dumps(token), roots=[apple.root], now_ms=NOW_MS)
        except PayloadRefusedError:
            continue
        taken.append(place)
    # What the reader does not rely on: version numbers and the list of digests, which RFC 5652 leaves unsigned.
    assert len(taken) <= len(raw) // 3 * 0.05, taken


def test_v14_an_apple_chain_must_end_at_the_configured_root_and_be_valid_and_fresh() -> None:
    apple = Apple()
    payload = apple.payment_data()
    for roots in ([Apple().root], [], [apple.middle], [apple.leaf]):
        with pytest.raises(PayloadRefusedError, match="chain"):
            check_apple_pay(payload, roots=roots, now_ms=NOW_MS)
    with pytest.raises(PayloadRefusedError, match="long ago"):
        check_apple_pay(payload, roots=[apple.root], now_ms=NOW_MS + 600_000)
    with pytest.raises(PayloadRefusedError, match="not valid now"):
        check_apple_pay(payload, roots=[apple.root], now_ms=NOW_MS + 40 * DAY_MS)


@pytest.mark.parametrize("apple", [Apple(marked=False), Apple(authority=False)])
def test_v14_an_apple_chain_without_its_marks_is_refused(apple: Apple) -> None:
    with pytest.raises(PayloadRefusedError):
        check_apple_pay(apple.payment_data(), roots=[apple.root], now_ms=NOW_MS)
