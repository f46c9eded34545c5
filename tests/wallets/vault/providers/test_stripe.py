"""The Stripe-compatible adapter against a real localstripe process, and what localstripe leaves to us."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money
from tests.wallets.vault.providers.recorded import Recorded
from tests.wallets.vault.providers.stands import SERVERS, Parts, parts, stripe_settings
from tests.wallets.vault.shop import CUSTOMER, Shop, card, eur, refused
from wallets.vault.port import Authorize, Capture, DeclineClass, OperationKind, OperationStatus, Refund
from wallets.vault.providers import test_cards
from wallets.vault.providers.port import Lookup, NoAnswerError, NotAuthenticError, Outcome
from wallets.vault.providers.signatures import stripe_header
from wallets.vault.providers.stripe import TEST_NUMBERS, StripeProvider
from wallets.vault.providers.stripe_currencies import NotRepresentableError, from_provider, to_provider
from wallets.vault.providers.stripe_words import (
    authorization_answer,
    capture_answer,
    decline_of,
    refund_answer,
    void_answer,
)
from wallets.vault.secret import Secret

S = OperationStatus
KEY = {"Authorization": "Bearer sk_test_12345"}
CHARGE_DECLINED, NEEDS_3DS = "4000000000000341", "4000002500003155"


class Wire(httpx.AsyncHTTPTransport):
    """Writes requests down, and loses the replies to those whose path holds ``lose``."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, bytes]] = []
        self.lose = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append((request.url.path, request.content))
        response = await super().handle_async_request(request)
        if self.lose and self.lose in request.url.path:
            await response.aclose()
            raise httpx.ReadError("lost")
        return response


class StripeShop(Shop):
    def __init__(self, given: Parts, url: str) -> None:
        self.url = url
        self.provider = StripeProvider(stripe_settings(url))
        self.wire = Wire()
        http = self.provider._calls._http
        self.provider._calls._http = httpx.AsyncClient(
            base_url=url, headers=http.headers, transport=self.wire, timeout=5
        )
        self.service = given.open(self.provider)
        super().__init__(self.service, given.clock, given.ids)
        self.manual_clock: ManualClock = given.clock

    async def asked(self, number: str, amount: Money) -> Authorize:
        method = await self.service.tokenize(CUSTOMER, card(number))
        return self.request(self.terms(method, amount), amount)

    def get(self, path: str, **query: Any) -> Any:
        return httpx.get(self.url + path, headers=KEY, params=query).raise_for_status().json()

    def intents(self) -> list[Any]:
        found: list[Any] = self.get("/v1/payment_intents", limit=100)["data"]
        return found


@pytest.fixture
async def stripe(tmp_path: Path) -> AsyncIterator[StripeShop]:
    url = SERVERS.stripe()
    async with parts(tmp_path, ManualClock(int(time.time() * 1000))) as given:
        shop = StripeShop(given, url)
        yield shop
        await shop.provider.close()


async def test_the_card_number_goes_to_the_token_endpoint_only(stripe: StripeShop) -> None:
    placed = await stripe.authorized()
    captured = await stripe.capture(placed.operation_id, eur(1000))
    await stripe.refund(captured.operation_id, eur(10))
    with_number = {path for path, body in stripe.wire.sent if b"4242424242424242" in body}
    assert with_number == {"/v1/payment_methods"}
    assert {"/v1/payment_intents", "/v1/refunds"} <= {path for path, _ in stripe.wire.sent}


async def test_a_declined_charge_is_a_decline_with_its_class(stripe: StripeShop) -> None:
    request = await stripe.asked(CHARGE_DECLINED, eur(700))
    result = await stripe.vault.authorize(request)
    assert result.status is S.DECLINED
    assert result.decline is not None
    assert result.decline.decline_class is DeclineClass.HARD_NEVER
    assert result.decline.code == "stripe:card_declined"


@pytest.mark.parametrize(("success", "status"), [(True, S.SUCCEEDED), (False, S.DECLINED)])
async def test_3ds_asks_for_an_action_and_the_result_comes_from_the_provider(
    stripe: StripeShop, success: bool, status: OperationStatus
) -> None:
    request = await stripe.asked(NEEDS_3DS, eur(900))
    waiting = await stripe.vault.authorize(request)
    assert waiting.status is S.REQUIRES_ACTION
    assert waiting.action is not None
    intent = stripe.get(f"/v1/payment_intents/{waiting.action.action_id}")
    decided = httpx.post(
        f"{stripe.url}/v1/payment_intents/{intent['id']}/_authenticate",
        headers=KEY,
        data={"client_secret": intent["client_secret"], "success": str(success).lower()},
    )
    assert decided.status_code == 200
    found = await stripe.vault.operation(request.operation_id)
    assert found is not None
    assert found.status is status
    if not success:
        assert found.decline is not None
        assert found.decline.code == "3DS:N"


async def test_a_3ds_authorization_can_be_voided_while_it_waits(stripe: StripeShop) -> None:
    request = await stripe.asked(NEEDS_3DS, eur(900))
    await stripe.vault.authorize(request)
    assert (await stripe.void(request.operation_id)).status is S.SUCCEEDED
    assert stripe.intents()[0]["status"] == "canceled"


@pytest.mark.parametrize("step", ["authorize", "capture", "void", "refund"])
async def test_p9_a_lost_reply_is_found_by_a_query_and_never_sent_again(
    stripe: StripeShop, step: str
) -> None:
    """localstripe ignores idempotency keys: whatever is sent twice happens twice. We send once."""
    if step == "authorize":
        request = await stripe.asked("4242424242424242", eur(500))
        stripe.wire.lose = "payment_intents"
        assert (await stripe.vault.authorize(request)).status is S.UNKNOWN
        operation_id, again = request.operation_id, stripe.vault.authorize(request)
    else:
        placed = await stripe.authorized()
        if step == "refund":
            taken = await stripe.capture(placed.operation_id, eur(1000))
            follow: Any = Refund(stripe.op(), taken.operation_id, eur(400))
            stripe.wire.lose = "refunds"
            call = stripe.vault.refund
        elif step == "capture":
            follow = Capture(stripe.op(), placed.operation_id, eur(1000))
            stripe.wire.lose, call = "/capture", stripe.vault.capture
        else:
            from wallets.vault.port import Void

            follow = Void(stripe.op(), placed.operation_id)
            stripe.wire.lose, call = "/cancel", stripe.vault.void
        assert (await call(follow)).status is S.UNKNOWN
        operation_id, again = follow.operation_id, call(follow)
    stripe.wire.lose = ""
    stripe.manual_clock.advance(2 * 86_400_000)  # its window for idempotency keys is over
    stripe.wire.sent.clear()
    assert (await again).status is S.SUCCEEDED
    found = await stripe.vault.operation(operation_id)
    assert found is not None
    assert found.status is S.SUCCEEDED
    assert found.provider_reference is not None
    # Asked by GET; nothing was posted.
    assert all(body == b"" for _, body in stripe.wire.sent)
    assert len(stripe.intents()) == 1
    assert len(stripe.get("/v1/refunds", limit=100)["data"]) == (1 if step == "refund" else 0)


async def test_an_operation_that_never_arrived_is_failed_only_after_its_time(stripe: StripeShop) -> None:
    request = await stripe.asked("4242424242424242", eur(500))

    async def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("down")

    real = stripe.wire.handle_async_request
    stripe.wire.handle_async_request = refuse
    assert (await stripe.vault.authorize(request)).status is S.UNKNOWN
    stripe.wire.handle_async_request = real
    early = await stripe.vault.operation(request.operation_id)
    assert early is not None
    assert early.status is S.UNKNOWN
    stripe.manual_clock.advance(600_000)
    late = await stripe.vault.operation(request.operation_id)
    assert late is not None
    assert (late.status, late.refusal) == (S.FAILED, "provider.never_received")
    assert stripe.intents() == []


async def test_gap_one_id_is_one_intent_though_keys_are_ignored(stripe: StripeShop) -> None:
    request = await stripe.asked("4242424242424242", eur(500))
    results = await asyncio.gather(*(stripe.vault.authorize(request) for _ in range(10)))
    assert {each.status for each in results} == {S.SUCCEEDED}
    assert len(stripe.intents()) == 1


async def test_gap_refunds_stop_at_the_capture_though_the_provider_has_no_limit(stripe: StripeShop) -> None:
    placed = await stripe.authorized()
    taken = await stripe.capture(placed.operation_id, eur(1000))
    results = await asyncio.gather(*(stripe.refund(taken.operation_id, eur(300)) for _ in range(8)))
    assert sorted(each.status for each in results) == [S.REFUSED] * 5 + [S.SUCCEEDED] * 3
    assert sum(each["amount"] for each in stripe.get("/v1/refunds", limit=100)["data"]) == 900


async def test_gap_nothing_is_captured_after_a_void_though_the_provider_would(stripe: StripeShop) -> None:
    placed = await stripe.authorized()
    await stripe.void(placed.operation_id)
    stripe.wire.sent.clear()
    assert refused(await stripe.capture(placed.operation_id, eur(1000))) == "vault.nothing_open"
    assert stripe.wire.sent == []


async def test_balance_transactions_are_settlement_lines(stripe: StripeShop) -> None:
    placed = await stripe.authorized(amount=eur(5000))
    taken = await stripe.capture(placed.operation_id, eur(5000))
    refund = await stripe.refund(taken.operation_id, eur(1200))
    lines = [line async for line in stripe.provider.settlement_lines(batch="2026-11-22/EUR")]
    by_type = {line.type: line for line in lines}
    assert len(lines) == 2
    charge, back = by_type["charge"], by_type["refund"]
    assert (charge.gross_minor, charge.currency, charge.provider_reference) == (
        5000,
        "EUR",
        taken.provider_reference,
    )
    assert (back.gross_minor, back.operation_id, back.provider_reference) == (
        -1200,
        refund.operation_id,
        refund.provider_reference,
    )
    assert all(line.net_minor == line.gross_minor - line.fee_minor for line in lines)


async def test_h3_its_own_webhook_is_authentic_and_names_our_operation(stripe: StripeShop) -> None:
    arrived: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        arrived.put_nowait((headers, body))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hook = {"url": f"http://127.0.0.1:{port}/", "secret": "whsec_localstripe"}
    httpx.post(f"{stripe.url}/_config/webhooks/w1", json=hook).raise_for_status()
    try:
        placed = await stripe.authorized()
        await stripe.capture(placed.operation_id, eur(1000))
        # It sends a second late, so events of earlier tests may come first.
        body = b""
        while placed.operation_id.encode() not in body:
            headers, body = await asyncio.wait_for(arrived.get(), 20)
    finally:
        httpx.post(f"{stripe.url}/_config/webhooks/w1", json={**hook, "events": ["none"]})
        server.close()
    receipt = await stripe.service.receive_webhook("stripe", headers, body)
    assert receipt.event_id == json.loads(body)["id"]
    assert await stripe.service.process_webhooks() == 1
    notice = stripe.provider.notice(headers, body, int(time.time() * 1000))
    assert (notice.type, notice.operation_id) == ("payment_intent.succeeded", placed.operation_id)
    with pytest.raises(NotAuthenticError):
        stripe.provider.notice(headers, body + b" ", int(time.time() * 1000))
    with pytest.raises(NotAuthenticError):
        stripe.provider.notice(headers, body, int(time.time() * 1000) + 301_000)
    with pytest.raises(NotAuthenticError):
        wrong = {"stripe-signature": stripe_header(Secret("another"), body, int(time.time() * 1000))}
        stripe.provider.notice(wrong, body, int(time.time() * 1000))


async def test_an_amount_that_stripe_cannot_say_fails_and_leaves_the_rest_open(stripe: StripeShop) -> None:
    """Nothing was sent, so nothing is held back for it."""
    placed = await stripe.authorized(amount=Money(1_000, "KWD"))
    part = Money(505, "KWD")
    failed = await stripe.capture(placed.operation_id, part)
    assert (failed.status, failed.refusal) == (S.FAILED, "provider.amount_not_representable")
    for kind in (OperationKind.CAPTURE, OperationKind.REFUND):
        found = await stripe.provider.find(Lookup(stripe.op(), kind, part, 0, "pi_1"))
        assert found is not None
        assert (found.outcome, found.failure) == (Outcome.FAILED, "provider.amount_not_representable")
    captured = await stripe.capture(placed.operation_id, Money(1_000, "KWD"))
    assert captured.status is S.SUCCEEDED
    assert (await stripe.refund(captured.operation_id, part)).status is S.FAILED
    assert (await stripe.refund(captured.operation_id, Money(1_000, "KWD"))).status is S.SUCCEEDED


def test_an_unknown_status_is_no_answer() -> None:
    for status in ("requires_confirmation", "something_new", "", None):
        with pytest.raises(NoAnswerError):
            authorization_answer({"id": "pi_1", "status": status}, "/")
        with pytest.raises(NoAnswerError):
            capture_answer({"id": "pi_1", "status": status}, 1)
        with pytest.raises(NoAnswerError):
            void_answer({"id": "pi_1", "status": status})
        with pytest.raises(NoAnswerError):
            refund_answer({"id": "re_1", "status": status})


def test_every_listed_status_has_its_meaning() -> None:
    def outcome(status: str, **more: Any) -> Outcome:
        return authorization_answer({"id": "pi_1", "status": status, **more}, "/").outcome

    assert outcome("requires_capture") is Outcome.SUCCEEDED
    assert outcome("processing") is Outcome.PENDING
    assert outcome("canceled") is Outcome.FAILED
    assert outcome("requires_payment_method", last_payment_error={"code": "x"}) is Outcome.DECLINED
    redirect = {"redirect_to_url": {"url": "https://bank.test/3ds"}}
    waiting = authorization_answer({"id": "pi_1", "status": "requires_action", "next_action": redirect}, "/")
    assert waiting.action is not None
    assert waiting.action.path == "https://bank.test/3ds"
    with pytest.raises(NoAnswerError):
        capture_answer({"id": "pi_1", "status": "succeeded", "amount_received": 2}, 1)
    assert refund_answer({"id": "re_1", "status": "pending"}).outcome is Outcome.PENDING
    assert refund_answer({"id": "re_1", "status": "failed"}).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("error", "code", "decline_class"),
    [
        ({"code": "card_declined", "decline_code": "insufficient_funds"}, "stripe:insufficient_funds", "later"),
        ({"decline_code": "lost_card"}, "stripe:lost_card", "never"),
        ({"decline_code": "expired_card", "network_decline_code": "54"}, "54", "fix"),
        ({"decline_code": "authentication_required"}, "stripe:authentication_required", "sca"),
        ({"decline_code": "fraudulent"}, "stripe:fraudulent", "fraud"),
        ({"decline_code": "do_not_honor", "advice_code": "try_again_later"}, "stripe:do_not_honor", "later"),
        ({"decline_code": "insufficient_funds", "advice_code": "do_not_try_again"}, "stripe:insufficient_funds", "never"),
        ({}, "stripe:generic_decline", "never"),
    ],
)  # fmt: skip
def test_p10_decline_codes_keep_the_raw_code_and_get_a_class(
    error: dict[str, str], code: str, decline_class: str
) -> None:
    classes = {
        "later": DeclineClass.SOFT_RETRY_LATER,
        "never": DeclineClass.HARD_NEVER,
        "fix": DeclineClass.FIX_DATA,
        "sca": DeclineClass.SOFT_NEEDS_SCA,
        "fraud": DeclineClass.FRAUD_HOLD,
    }
    found = decline_of(error)
    assert (found.code, found.decline_class) == (code, classes[decline_class])


def test_t1_amounts_round_trip_in_every_currency_the_provider_takes() -> None:
    from gateway.kernel.currencies import EXPONENTS

    refused_currencies = set()
    for currency in EXPONENTS:
        for minor in (1, 5, 10, 100, 12_300, 999_999_000):
            try:
                units = to_provider(Money(minor, currency))
            except NotRepresentableError:
                if minor == 12_300:
                    refused_currencies.add(currency)
                continue
            assert from_provider(units, currency.lower()) == Money(minor, currency)
    assert refused_currencies == {"CLF", "IQD", "IRR", "KPW", "LYD", "SDG", "SSP", "SYP", "UYI", "UYW"}


@pytest.mark.parametrize(
    ("amount", "units"),
    [
        (Money(1500, "JPY"), 1500),
        (Money(100, "MGA"), 1),
        (Money(5, "ISK"), 500),
        (Money(5, "UGX"), 500),
        (Money(1250, "KWD"), 1250),
        (Money(199, "HUF"), 199),
        (Money(1099, "EUR"), 1099),
    ],
)
def test_t1_the_providers_exponents_are_its_own(amount: Money, units: int) -> None:
    assert to_provider(amount) == units


@pytest.mark.parametrize("amount", [Money(150, "MGA"), Money(1251, "KWD"), Money(1, "CLF")])
def test_t1_what_the_provider_cannot_say_is_refused(amount: Money) -> None:
    with pytest.raises(NotRepresentableError):
        to_provider(amount)


def test_t1_some_currencies_are_whole_in_payouts() -> None:
    assert to_provider(Money(19_900, "HUF"), payout=True) == 19_900
    for amount in (Money(199, "HUF"), Money(150, "TWD")):
        with pytest.raises(NotRepresentableError):
            to_provider(amount, payout=True)


@pytest.mark.parametrize("key", ["sk_test_1", "rk_test_1"])
async def test_with_a_test_key_restricted_or_not_only_test_numbers_are_sent(tmp_path: Path, key: str) -> None:
    provider = Recorded(StripeProvider(stripe_settings("http://127.0.0.1:9", api_key=Secret(key))))
    assert provider.capabilities.test_numbers == TEST_NUMBERS
    async with parts(tmp_path) as given:
        vault = given.open(provider)
        with pytest.raises(InvalidError, match=r"vault\.live_card_refused"):
            await vault.tokenize(CUSTOMER, card(test_cards.WITH_NETWORK_NUMBER))
    assert provider.calls == []
    await provider.close()


@pytest.mark.parametrize("key", ["sk_live_1", "rk_live_1", "sk_tester", "rk_test"])
async def test_with_any_other_key_cards_are_real(key: str) -> None:
    provider = StripeProvider(stripe_settings("http://127.0.0.1:9", api_key=Secret(key)))
    assert provider.capabilities.test_numbers is None
    await provider.close()
