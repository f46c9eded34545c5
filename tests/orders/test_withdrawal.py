"""The right to withdraw from digital content (T5): agreed away and confirmed, or waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.clock import rfc3339
from gateway.kernel.documents import decode
from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders import starting
from gateway.orders.capturing import EXPIRED
from gateway.orders.purchase import known_purchase
from gateway.orders.tables import consent
from gateway.orders.views import order_document
from gateway.orders.withdrawal import COUNTRIES, consents_needed, may_deliver, withdrawal_ends_ms
from gateway.protocol.messages import Consent, QuoteCreate
from tests.support.invariants import violations
from tests.support.paper_lane import PaperLane
from tests.support.stepped_gateway import DAY, HOUR, SteppedGateway, stepped_gateway
from wallets.vault.port import (
    Authorize,
    Capture,
    OperationKind,
    OperationResult,
    OperationStatus,
    ProviderTerms,
)

CHAIR, LAMP = "HALM-CHAIR:digital", "KUPPEL-LAMP:digital"
WAIT = {"digital_start": "after_withdrawal_period"}
DEFERRED = ("liability:deferred_revenue", "EUR")


@pytest.fixture
async def shop(plain_seed: Path, tmp_path: Path) -> AsyncIterator[SteppedGateway]:
    async with stepped_gateway(plain_seed, tmp_path) as found:
        yield found
        broken = violations(tmp_path / "data", at_rest=False)
        assert not broken, "\n".join(map(str, broken))


@pytest.fixture
async def lane(shop: SteppedGateway) -> PaperLane:
    found = PaperLane(shop)
    await found.begin()
    return found


async def waits(shop: SteppedGateway, *items: str, **given: Any) -> str:
    """Buy without a consent, and let the money come in."""
    placed = await shop.place(*items, body=WAIT, **given)
    await shop.finish_work()
    return str(placed["order_id"])


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


# --- The rules --------------------------------------------------------------------------------------


def test_the_right_is_that_of_the_union_the_economic_area_and_the_united_kingdom() -> None:
    assert len(COUNTRIES) == 27 + 3 + 1
    assert {"DE", "FR", "NO", "GB"} <= COUNTRIES and not {"US", "CH", "JP"} & COUNTRIES
    assert consents_needed("DE", digital=True) == ["digital_content_start"]
    assert consents_needed("DE", digital=False) == consents_needed("US", digital=True) == []


@pytest.mark.parametrize("concluded", ["2026-01-05T00:00", "2026-01-05T23:59", "2026-12-12T08:00"])
def test_the_period_is_fourteen_days_after_the_day_of_the_contract(concluded: str) -> None:
    ends_ms = withdrawal_ends_ms(ms(concluded))
    day = ms(concluded) // DAY * DAY
    # The whole of the fourteenth day, wherever the consumer lives.
    assert ends_ms >= day + 15 * DAY + 12 * HOUR
    assert ends_ms <= day + 21 * DAY


def test_the_period_ends_on_no_weekend() -> None:
    for number in range(14):
        ends_ms = withdrawal_ends_ms(ms("2026-03-02T10:00") + number * DAY)
        last_day = datetime.fromtimestamp(ends_ms / 1000 - 13 * 3600, UTC)
        assert last_day.isoweekday() <= 5


def test_nothing_is_delivered_without_a_consent_or_the_end_of_the_period() -> None:
    given = ("digital_content_start",)
    assert not may_deliver("DE", (), None, 100)
    assert may_deliver("DE", given, None, 100)
    assert may_deliver("US", (), None, 100)
    assert not may_deliver("DE", (), 101, 100)
    assert may_deliver("DE", (), 100, 100)
    # Who has said both waits.
    assert not may_deliver("DE", given, 101, 100)


# --- A consent --------------------------------------------------------------------------------------


async def test_a_consent_is_kept_confirmed_and_part_of_the_order(shop: SteppedGateway) -> None:
    who = replace(shop.who, session_id="ses_1")
    shop.who = who
    order_id = (await shop.place(CHAIR))["order_id"]
    (row,) = shop.rows("SELECT * FROM consent")
    assert (row["order_id"], row["text_version"], row["locale"]) == (order_id, "1", "en-GB")
    assert (row["device_id"], row["session_id"]) == (who.device_id, "ses_1")
    # Confirmed in the unit that stores it, before anything could be delivered.
    assert row["confirmed_at_ms"] == row["recorded_at_ms"] == shop.clock.now_ms()
    (event,) = shop.rows("SELECT body FROM event WHERE type = 'consent.confirmed'")
    body = decode(event["body"])
    assert body["text_version"] == "1" and body["given_at"] == row["given_at"]
    shown = await shop.store.read(
        lambda reader: order_document(reader, order_id, customer_id=who.customer_id, merchant_id=None)
    )
    (given,) = shown["consents"]
    assert given["confirmed_at"] == body["confirmed_at"]


async def test_without_a_consent_an_order_at_once_is_refused(shop: SteppedGateway) -> None:
    quoted = await shop.quote(CHAIR)
    command = await shop.place_command(quoted)
    without = command.model_copy(update={"body": command.body.model_copy(update={"consents": []})})
    with pytest.raises(ConflictError) as refused:
        await shop.perform(without)
    assert refused.value.code == "consent.missing"


async def test_where_there_is_no_right_no_consent_is_asked_for_and_a_given_one_is_kept(
    shop: SteppedGateway,
) -> None:
    shop.sell_to("US")
    quoted = await shop.quote(CHAIR, country="US")
    assert quoted["consents_required"] == []
    order_id = (await shop.perform(await shop.place_command(quoted)))["order_id"]
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "completed"
    assert not shop.rows("SELECT * FROM consent")


async def test_the_gate_stops_what_comes_without_a_consent(shop: SteppedGateway, lane: PaperLane) -> None:
    order_id = (await shop.place(LAMP))["order_id"]

    def start(uow: UnitOfWork) -> None:
        uow.core(consent.delete())
        purchase = known_purchase(uow, order_id)
        starting.queue_mint(purchase, purchase.legs[0])

    with pytest.raises(AssertionError, match="may not be delivered"):
        await shop.store.write(start)
    assert not shop.rows("SELECT * FROM mint")


# --- Waiting ----------------------------------------------------------------------------------------


async def test_who_waits_pays_now_and_is_given_the_item_when_the_period_is_over(
    shop: SteppedGateway,
) -> None:
    order_id = await waits(shop, CHAIR)
    leg = shop.legs(order_id)["entitle"]
    ends_ms = withdrawal_ends_ms(shop.order(order_id)["created_at_ms"])
    assert (leg["state"], leg["mint_not_before_ms"], leg["due_at_ms"]) == ("paid", ends_ms, ends_ms)
    assert not shop.rows("SELECT * FROM entitlement") and not shop.rows("SELECT * FROM consent")
    assert shop.balances("liability:%") == {DEFERRED: -900}
    await shop.wait(ends_ms - shop.clock.now_ms() - 1)
    assert shop.legs(order_id)["entitle"]["state"] == "paid"
    await shop.wait(1)
    assert shop.legs(order_id)["entitle"]["state"] == "captured"
    assert shop.order(order_id)["state"] == "completed"
    assert DEFERRED not in shop.balances("liability:%")
    await shop.wait(DAY)
    assert shop.events().count("entitlement.granted") == 1


async def test_a_token_waits_in_the_same_way_and_can_be_returned_later(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await waits(shop, LAMP)
    assert not shop.rows("SELECT * FROM mint")
    assert await lane.claim() == 0
    await shop.wait(21 * DAY)
    await lane.run()
    assert shop.order(order_id)["state"] == "completed"
    # Its key is ours, so it is as any other token from here on.
    await shop.take_back(order_id)
    await lane.run()
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "refunded"
    assert shop.balances("income:%") == shop.balances("liability:%") == {}


async def test_an_account_whose_key_was_taken_meanwhile_is_outside_when_the_time_comes(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await waits(shop, LAMP)
    await lane.export()
    await shop.wait(21 * DAY)
    await lane.run()
    (mint,) = shop.rows("SELECT * FROM mint")
    assert mint["holder_key"] is None and mint["state"] == "final"
    with pytest.raises(ConflictError) as refused:
        await shop.take_back(order_id)
    assert refused.value.code == "order.return_needs_holder"


@pytest.mark.parametrize("item", [CHAIR, LAMP])
async def test_who_withdraws_within_the_period_gets_everything_back(
    shop: SteppedGateway, lane: PaperLane, item: str
) -> None:
    order_id = await waits(shop, item)
    await shop.wait(13 * DAY)
    await shop.cancel(order_id)
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "refunded"
    intent = shop.intent(order_id)
    assert intent["refunded_minor"] == intent["captured_minor"] == shop.order(order_id)["total_minor"]
    assert shop.balances("income:%") == shop.balances("liability:%") == {}
    await shop.wait(21 * DAY)
    assert not shop.rows("SELECT * FROM entitlement") and not shop.rows("SELECT * FROM mint")


async def test_one_leg_of_an_order_can_be_withdrawn_from(shop: SteppedGateway, lane: PaperLane) -> None:
    order_id = await waits(shop, CHAIR, LAMP)
    leg = shop.legs(order_id)["mint"]
    await shop.cancel(order_id, leg["leg_id"])
    await shop.finish_work()
    states = {kind: row["state"] for kind, row in shop.legs(order_id).items()}
    assert states == {"mint": "returned", "entitle": "paid"}
    await shop.wait(21 * DAY)
    assert shop.order(order_id)["state"] == "completed"


async def test_goods_of_the_same_line_do_not_wait_for_the_period(shop: SteppedGateway) -> None:
    order_id = await waits(shop, "HALM-CHAIR:bundle")
    await shop.deliver()
    states = {kind: row["state"] for kind, row in shop.legs(order_id).items()}
    assert states == {"ship": "captured", "entitle": "paid"}
    assert shop.order(order_id)["state"] == "confirmed"
    await shop.wait(21 * DAY)
    assert shop.order(order_id)["state"] == "completed"


async def test_a_line_that_is_all_or_nothing_can_be_withdrawn_from_after_its_parcel_was_promised(
    shop: SteppedGateway, lane: PaperLane
) -> None:
    order_id = await waits(shop, "KUPPEL-LAMP:bundle")
    await shop.ship()
    await shop.finish_work()
    assert shop.legs(order_id)["mint"]["state"] == "paid"
    await shop.cancel(order_id)
    await shop.deliver()
    states = {kind: row["state"] for kind, row in shop.legs(order_id).items()}
    assert states == {"mint": "returned", "ship": "canceled"}
    assert shop.order(order_id)["state"] == "refunded"


async def test_a_merchant_may_give_a_waiting_order_back(shop: SteppedGateway) -> None:
    order_id = await waits(shop, CHAIR)
    await shop.take_back(order_id)
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "refunded"


@pytest.mark.parametrize("item", [CHAIR, LAMP])
async def test_who_withdraws_while_it_is_being_paid_gets_it_back_once_it_is(
    shop: SteppedGateway, lane: PaperLane, item: str
) -> None:
    order_id = (await shop.place(item, body=WAIT))["order_id"]
    await shop.work()
    # The capture is on its way, and may be for days.
    (leg,) = shop.legs(order_id).values()
    assert leg["state"] == "started" and leg["capture_operation_id"] is not None
    await shop.cancel(order_id)
    with pytest.raises(ConflictError):
        await shop.cancel(order_id)
    await shop.finish_work()
    assert shop.order(order_id)["state"] == "refunded"
    assert await lane.claim() == 0 and not shop.rows("SELECT * FROM entitlement")
    assert shop.balances("income:%") == shop.balances("liability:%") == {}


@pytest.mark.parametrize("refusal", [None, EXPIRED])
@pytest.mark.parametrize("item", [CHAIR, LAMP])
async def test_what_was_withdrawn_from_while_it_was_being_paid_is_not_asked_for_again(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, item: str, refusal: str | None
) -> None:
    async def lost(request: Capture) -> OperationResult:
        return OperationResult(
            request.operation_id,
            OperationKind.CAPTURE,
            OperationStatus.FAILED,
            request.amount,
            refusal=refusal,
        )

    async with stepped_gateway(plain_seed, tmp_path) as shop:
        await PaperLane(shop).begin()
        order_id = (await shop.place(item, body=WAIT))["order_id"]
        await shop.work()
        await shop.cancel(order_id)
        monkeypatch.setattr(shop.gateway.vault, "capture", lost)
        await shop.finish_work()
        assert len(shop.operations(order_id, "capture")) == 1
        assert not {"order.held", "payment.capture_failed"} & set(shop.events())
        assert shop.order(order_id)["state"] == "canceled"
        intent = shop.intent(order_id)
        assert intent["captured_minor"] == 0 and intent["voided_minor"] == intent["authorized_minor"]


@pytest.mark.parametrize("renewed", [False, True])
@pytest.mark.parametrize("most_captures", [1, 2, 3])
async def test_goods_do_not_wait_for_what_waits_where_few_captures_are_taken(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_captures: int, renewed: bool
) -> None:
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        lane = PaperLane(shop)
        await lane.begin()
        authorize = shop.gateway.vault.authorize
        terms = ProviderTerms(
            "simulated", most_captures, most_captures > 1, True, True, renewed, False, authorizes=True
        )

        async def few(request: Authorize) -> OperationResult:
            return replace(await authorize(request), terms=terms)

        monkeypatch.setattr(shop.gateway.vault, "authorize", few)
        # Two numbered tokens and their parcel, in one line.
        scarves = [{"sku": "ESTUARY-SCARF", "format": "bundle", "quantity": 2}]
        body = {"merchant": "harbour-and-thread", "items": scarves, "currency": "EUR", "country": "DE"}
        quoted = await shop._command(QuoteCreate, "quote.create", body)
        order_id = (await shop.perform(await shop.place_command(quoted, body=WAIT)))["order_id"]
        await shop.deliver()
        states = "SELECT kind, state FROM leg WHERE order_id = ? ORDER BY kind, state"
        found = [(row["kind"], row["state"]) for row in shop.rows(states, order_id)]
        assert found == [("mint", "paid"), ("mint", "paid"), ("ship", "captured")]
        await shop.wait(21 * DAY)
        await lane.run()
        await shop.deliver()
        assert shop.order(order_id)["state"] == "completed"


# --- What cannot be a consent -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead_ms", "is_taken"), [(0, True), (5 * 60_000, True), (5 * 60_000 + 1, False), (DAY, False)]
)
async def test_a_consent_of_a_time_to_come_is_refused(
    shop: SteppedGateway, ahead_ms: int, is_taken: bool
) -> None:
    at = rfc3339(shop.clock.now_ms() + ahead_ms)
    command = await shop.place_command(await shop.quote(CHAIR))
    command = command.model_copy(update={"body": _with_consents(command.body, at)})
    if is_taken:
        placed = await shop.perform(command)
        assert len(_consents(shop, placed["order_id"])) == 1
        return
    with pytest.raises(InvalidError) as refused:
        await shop.perform(command)
    assert (refused.value.code, refused.value.param) == ("message.invalid", "$.body.consents[0].at")


async def test_a_time_that_there_is_not_is_no_time_of_a_consent(shop: SteppedGateway) -> None:
    command = await shop.place_command(await shop.quote(CHAIR))
    command = command.model_copy(update={"body": _with_consents(command.body, "2026-02-30T10:00:00Z")})
    with pytest.raises(InvalidError):
        await shop.perform(command)


async def test_a_consent_to_start_is_not_recorded_where_nothing_is_digital(shop: SteppedGateway) -> None:
    command = await shop.place_command(await shop.quote("FJORD-MUG:physical"))
    at = rfc3339(shop.clock.now_ms())
    placed = await shop.perform(command.model_copy(update={"body": _with_consents(command.body, at)}))
    assert _consents(shop, placed["order_id"]) == []
    assert "consent.confirmed" not in shop.events()


def _with_consents(body: Any, at: str) -> Any:
    given = Consent(kind="digital_content_start", text_version="1", locale="en", at=at)
    return body.model_copy(update={"consents": [given]})


def _consents(shop: SteppedGateway, order_id: str) -> list[Any]:
    return list(shop.rows("SELECT * FROM consent WHERE order_id = ?", order_id))
