"""Coming back: exactly the rest by (epoch, seq), a snapshot when that cannot be, the same answers to old keys."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

from samples.headset.client import Memory
from tests.support.buying import buy, ended, order_body, quote, show, told, until
from tests.support.evidence import Evidence
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed
from tests.support.wire import Wire, wired


def stored(evidence: Evidence, stream: str) -> list[tuple[int, str]]:
    rows = evidence.rows("SELECT seq, event_id FROM event WHERE stream = ? ORDER BY seq", stream)
    return [(row["seq"], row["event_id"]) for row in rows]


def heard(events: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(event["seq"], event["id"]) for event in events]


async def rest_of(wire: Wire, number: int) -> list[dict[str, Any]]:
    """Read so many events."""
    found: list[dict[str, Any]] = []
    while len(found) < number:
        message = await wire.receive()
        assert "seq" in message and "stream" in message, message
        found.append(message)
    return found


async def test_a_client_that_comes_back_gets_exactly_the_rest(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        await ended(headset, await buy(headset, customer, "KUPPEL-LAMP:bundle"))
        await shop.at_rest()
        epoch = headset.memory.epoch
    all_events = stored(shop.evidence, customer.customer_id)
    last = all_events[-1][0]
    for seq in (0, 1, 4, last - 1, last):
        async with wired(shop.base_url) as wire:
            ready = await wire.sign_in(customer.token, epoch=epoch, seq=seq)
            assert (ready["body"]["resumed"], ready["body"]["seq"]) == (True, seq)
            assert heard(await rest_of(wire, last - seq)) == all_events[seq:]
            # Nothing follows the last one.
            assert (await wire.ask("order.list"))["type"] == "ok" and wire.events == []
    await shop.check()


async def test_a_place_that_is_not_of_this_stream_gets_a_snapshot_and_then_what_is_new(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital")
        await ended(headset, order_id)
        epoch, last = headset.memory.epoch, headset.memory.seq
        for known in ({"epoch": "epoch_of_another_life", "seq": 2}, {"epoch": epoch, "seq": last + 500}):
            async with wired(shop.base_url) as wire:
                ready = await wire.sign_in(customer.token, **known)
                assert ready["body"]["resumed"] is False
                snapshot = await wire.receive()
                assert snapshot["type"] == "snapshot"
                where = (snapshot["body"]["epoch"], snapshot["body"]["seq"])
                assert where == (epoch, headset.memory.seq)
                assert snapshot["body"]["orders"][0] == await show(
                    headset, snapshot["body"]["orders"][0]["order_id"]
                )
                another = await buy(headset, customer, "HALM-CHAIR:digital")
                await ended(headset, another)
                fresh = await rest_of(wire, headset.memory.seq - where[1])
                assert [event["seq"] for event in fresh] == list(range(where[1] + 1, headset.memory.seq + 1))
                assert {event["body"]["order_id"] for event in fresh} == {another}
    await shop.check()


async def test_two_devices_of_a_customer_hear_the_same(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    token = await shop.token(customer.customer_id)
    async with shop.headset(customer) as glasses, shop.headset(customer, token=token) as phone:
        first = await buy(glasses, customer, "KUPPEL-LAMP:digital")
        second = await buy(phone, customer, "FJORD-MUG:physical")
        for headset in (glasses, phone):
            await ended(headset, first)
            await ended(headset, second)
            await headset.event("shipment.delivered", order_id=second)
        assert heard(glasses.events) == heard(phone.events) == stored(shop.evidence, customer.customer_id)
        assert await show(phone, first) == await show(glasses, first)
    await shop.check()


async def test_a_headset_that_keeps_losing_its_connection_misses_and_doubles_nothing(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:

        async def drop_often() -> None:
            while True:
                await asyncio.sleep(0.05)
                await headset.drop()

        dropping = asyncio.create_task(drop_often())
        orders = [
            await buy(headset, customer, item) for item in ("KUPPEL-LAMP:bundle", "HALM-CHAIR:digital") * 3
        ]
        for order_id in orders:
            assert (await ended(headset, order_id))["type"] == "order.completed"
        dropping.cancel()
        await shop.at_rest()

        async def all_heard() -> bool:
            return heard(headset.events) == stored(shop.evidence, customer.customer_id)

        await until(all_heard)
        assert len(set(orders)) == shop.evidence.count("customer_order") == 6
    await shop.check()


async def test_a_headset_switched_off_and_on_goes_on_from_its_file(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    file = tmp_path / "headset.json"
    async with shop.headset(customer, memory=Memory(file)) as headset:
        order_id = await buy(headset, customer, "FJORD-MUG:physical")
        before = headset.events
    await shop.at_rest()
    async with shop.headset(customer, memory=Memory(file)) as again:
        await again.event("shipment.delivered", order_id=order_id)
        assert heard(before) + heard(again.events) == stored(shop.evidence, customer.customer_id)
    await shop.check()


async def test_old_keys_get_the_old_answers_on_a_new_connection_and_after_a_restart(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("visa", "insufficient_funds")
    commands: list[tuple[str, dict[str, Any], str]] = []

    async def ask(type: str, body: dict[str, Any]) -> dict[str, Any]:
        commands.append((type, body, str(uuid.uuid4())))
        async with wired(shop.base_url, customer.token) as wire:
            reply = await wire.ask(type, body, key=commands[-1][2])
            assert reply["type"] == "ok", reply
            return dict(reply["body"])

    async def state(order_id: str, wanted: str) -> None:
        async def reached() -> bool:
            rows = shop.evidence.rows(
                "SELECT o.state, i.state AS payment FROM customer_order o JOIN payment_intent i USING (order_id) "
                "WHERE order_id = ?",
                order_id,
            )
            return wanted in (rows[0]["state"], rows[0]["payment"])

        await until(reached)

    answers = []
    quoted = await ask(
        "quote.create",
        {
            "merchant": "atelier-nord",
            "items": [{"sku": "KUPPEL-LAMP", "format": "digital"}],
            "currency": "EUR",
            "country": "DE",
        },
    )
    answers.append(quoted)
    placed = await ask("order.place", order_body(quoted, customer.methods["insufficient_funds"]))
    answers.append(placed)
    await state(placed["order_id"], "requires_payment_method")
    body = {"order_id": placed["order_id"], "payment_method_id": customer.methods["visa"]}
    answers.append(await ask("order.pay", body))
    await state(placed["order_id"], "completed")
    sizes = shop.evidence.sizes()

    async def repeat() -> None:
        async with wired(shop.base_url, customer.token) as wire:
            for (type, body, key), answer in zip(commands, answers, strict=True):
                again = (await wire.ask(type, body, key=key))["body"]
                for name in ("order_id", "quote_id", "total"):
                    assert again.get(name) == answer.get(name), type
                if "replayed" in answer:
                    assert (answer["replayed"], again["replayed"]) == (False, True)
        assert shop.evidence.sizes() == sizes

    await repeat()
    await shop.restart()
    await repeat()
    await shop.check()


async def test_the_same_key_sent_many_times_at_once_makes_one_order(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    token = await shop.token(customer.customer_id)
    async with wired(shop.base_url, customer.token) as one, wired(shop.base_url, token) as two:
        reply = await one.ask(
            "quote.create",
            {
                "merchant": "atelier-nord",
                "items": [{"sku": "FJORD-MUG", "format": "physical"}],
                "currency": "EUR",
                "country": "DE",
            },
            key="q",
        )
        body = order_body(reply["body"], customer.methods["visa"])
        replies = await asyncio.gather(*(wire.ask("order.place", body, key="p") for wire in (one, two)))
        assert {reply["type"] for reply in replies} == {"ok"}
        assert len({reply["body"]["order_id"] for reply in replies}) == 1
        assert sorted(reply["body"]["replayed"] for reply in replies) == [False, True]
        # With keys of their own only one of two can have the quote.
        reply = await one.ask(
            "quote.create",
            {
                "merchant": "atelier-nord",
                "items": [{"sku": "FJORD-MUG", "format": "physical"}],
                "currency": "EUR",
                "country": "DE",
            },
            key="q2",
        )
        body = order_body(reply["body"], customer.methods["visa"])
        replies = list(
            await asyncio.gather(one.ask("order.place", body, key="a"), two.ask("order.place", body, key="b"))
        )
        assert sorted(reply["type"] for reply in replies) == ["error", "ok"]
        assert {r["body"].get("code") for r in replies} == {None, "quote.ordered"}
    await shop.check()


async def test_orders_accepted_while_nobody_works_are_finished_after_a_restart(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", workers=False) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            orders = [
                await buy(headset, customer, item)
                for item in ("KUPPEL-LAMP:bundle", "FJORD-MUG:physical", "HALM-CHAIR:digital")
            ]
            assert told(headset, orders[0]) == ["order.placed"]
            await shop.restart(workers=True)
            for order_id in orders:
                assert (await ended(headset, order_id))["type"] == "order.completed"
        await shop.check()


async def test_a_gateway_that_closes_says_reconnect_and_the_headset_comes_back(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with wired(shop.base_url, customer.token) as wire, shop.headset(customer) as headset:
        restarting = asyncio.create_task(shop.restart())
        assert await wire.closed() == 1012
        await restarting
        order_id = await buy(headset, customer, "HALM-CHAIR:digital")
        await ended(headset, order_id)
        assert heard(headset.events) == stored(shop.evidence, customer.customer_id)
    await shop.check()


async def test_a_headset_without_headway_is_still_told_everything_when_many_events_wait(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        await quote(headset, "HALM-CHAIR:digital")
        epoch = headset.memory.epoch
        orders = [await buy(headset, customer, "HALM-CHAIR:digital") for _ in range(50)]
        await ended(headset, orders[-1])
        await shop.at_rest()
    all_events = stored(shop.evidence, customer.customer_id)
    assert len(all_events) > 256, "more than one page of the log"
    async with wired(shop.base_url) as wire:
        assert (await wire.sign_in(customer.token, epoch=epoch, seq=0))["body"]["resumed"] is True
        assert heard(await rest_of(wire, len(all_events))) == all_events
    await shop.check()
