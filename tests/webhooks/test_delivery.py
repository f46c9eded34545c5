"""Sending: at least once and under one id, in order about each subject, nobody waiting for anybody else."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from gateway.kernel.store.unit import UnitOfWork
from gateway.webhooks import outbox
from gateway.webhooks.delivery import PER_ENDPOINT
from gateway.webhooks.egress import REFUSED_ADDRESS
from gateway.webhooks.model import MOST_ATTEMPTS, WAITS_MS, Answer, Meaning, NoticeState, Sight
from tests.webhooks.conftest import Sending

ONE, TWO = "https://one.example", "https://two.example"
DAY_MS = 24 * 3_600_000


async def test_a_notice_is_sent_at_once_and_once(sending: Sending) -> None:
    await sending.write("a")
    await sending.send()
    assert sending.receiver.bodies() == ['"a"']
    assert await sending.states() == ["delivered"]


async def test_a_failed_notice_is_tried_on_the_schedule_under_one_id(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(500)] * (MOST_ATTEMPTS - 1)
    await sending.write("a")
    await sending.send()
    for attempt in range(1, MOST_ATTEMPTS):
        assert len(sending.receiver.sent) == attempt
        sending.clock.advance(round(WAITS_MS[attempt] * 0.79))
        await sending.send()
        assert len(sending.receiver.sent) == attempt, "tried too early"
        sending.clock.advance(round(WAITS_MS[attempt] * 0.42))
        await sending.send()
    assert len(set(sending.receiver.ids())) == 1
    assert len(sending.receiver.sent) == MOST_ATTEMPTS
    assert await sending.states() == ["delivered"]
    stamps = [int(headers["webhook-timestamp"]) for _, headers, _ in sending.receiver.sent]
    assert stamps == sorted(set(stamps)), "each attempt is signed with its own time"


async def test_after_the_last_attempt_the_next_one_about_the_subject_goes_on(sending: Sending) -> None:
    sending.receiver.refused.add(b'"a"')
    await sending.write("a")
    await sending.write("b")
    for _ in range(MOST_ATTEMPTS):
        await sending.write("well", about="bea")
        await sending.send(1)
        sending.clock.advance(DAY_MS * 2)
    await sending.send()
    assert sending.receiver.bodies().count('"a"') == MOST_ATTEMPTS
    assert (await sending.states())[:2] == ["failed", "delivered"]
    assert sending.endpoints.stopped == {}, "it takes what is about others"


async def test_a_server_that_takes_nothing_in_all_attempts_is_sent_nothing_more(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(error="ConnectError")] * 100
    await sending.write("a")
    await sending.write("b")
    for _ in range(MOST_ATTEMPTS):
        await sending.send(1)
        sending.clock.advance(DAY_MS * 2)
    assert list(sending.endpoints.stopped) == ["one"]
    assert await sending.states() == ["failed", "kept"]


async def test_410_stops_the_endpoint_and_keeps_what_waits_for_paging(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(410)]
    await sending.write("a")
    await sending.write("b")
    await sending.send()
    assert sending.receiver.bodies() == ['"a"']
    assert sending.endpoints.stopped == {"one": "the server answered 410 Gone"}
    assert await sending.states() == ["kept", "kept"]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 500])
async def test_only_2xx_is_success(sending: Sending, status: int) -> None:
    sending.receiver.answers[ONE] = [Answer(status)]
    await sending.write("a")
    await sending.send()
    assert await sending.states() == ["waiting"]
    assert Answer(status).meaning is Meaning.REFUSED


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_server_that_asks_for_rest_is_left_alone(sending: Sending, status: int) -> None:
    sending.receiver.answers[ONE] = [Answer(status, retry_after_ms=120_000)]
    await sending.write("a")
    await sending.send()
    await sending.write("b", about="bea")
    for _ in range(11):
        await sending.send(1)
        sending.clock.advance(10_000)
    assert sending.receiver.bodies() == ['"a"']
    sending.clock.advance(10_000)
    await sending.send()
    assert sorted(sending.receiver.bodies()) == ['"a"', '"a"', '"b"']
    assert await sending.states() == ["delivered", "delivered"]


async def test_when_a_server_is_back_all_that_waited_goes_out(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(error="ConnectError")] * 12
    for about in ("ada", "bea", "cyd"):
        await sending.write(about, about=about)
    for _ in range(4):
        await sending.send(1)
        sending.clock.advance(3_600_000)
    assert set(await sending.states()) == {"waiting"}
    sending.receiver.answers.clear()
    sending.clock.advance(3 * 3_600_000)
    await sending.send()
    assert await sending.states() == ["delivered"] * 3


async def test_notices_about_one_subject_are_sent_in_their_order(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(500)]
    for text in ("granted", "revoked", "granted again"):
        await sending.write(text)
    await sending.write("other", about="bea")
    await sending.send()
    assert sorted(sending.receiver.bodies()) == ['"granted"', '"other"']
    sending.clock.advance(60_000)
    await sending.send(5)
    mine = [body for body in sending.receiver.bodies() if body != '"other"']
    assert mine == ['"granted"', '"granted"', '"revoked"', '"granted again"']


async def test_a_slow_server_has_few_places_and_delays_nobody(sending: Sending) -> None:
    gate = asyncio.Event()

    async def slow(url: str) -> None:
        if url == ONE:
            await gate.wait()

    sending.receiver.gate = slow
    for number in range(20):
        await sending.write(str(number), about=f"player {number}")
        await sending.write(str(number), to="two", about=f"player {number}")
    async with asyncio.timeout(5):
        while len(sending.receiver.ids(TWO)) < 20:
            await sending.delivery.step()
            await asyncio.sleep(0.001)
    assert len(sending.receiver.ids(ONE)) == PER_ENDPOINT
    assert len(sending.receiver.ids(TWO)) == 20
    gate.set()
    await sending.send(8)
    assert await sending.states() == ["delivered"] * 20


async def test_what_was_under_way_in_a_crash_is_sent_again_under_its_id(sending: Sending) -> None:
    async def dies(url: str) -> None:
        raise asyncio.CancelledError

    sending.receiver.gate = dies
    await sending.write("a")
    await sending.send()
    sending.receiver.gate = None
    again = sending.sender()
    await again.step()
    await again.settled()
    assert len(sending.receiver.sent) == 1, "somebody may still be at it"
    sending.clock.advance(60_000)
    await again.step()
    await again.settled()
    first, second = sending.receiver.ids()
    assert first == second
    assert await sending.states() == ["delivered"]


async def test_two_processes_send_each_notice_once(sending: Sending) -> None:
    for number in range(12):
        await sending.write(str(number), about=f"player {number % 6}")
    other = sending.sender()
    for _ in range(12):
        await asyncio.gather(sending.delivery.step(), other.step())
        await asyncio.gather(sending.delivery.settled(), other.settled())
    ids = sending.receiver.ids()
    assert len(ids) == len(set(ids)) == 12
    for player in range(6):
        assert [body for body in sending.receiver.bodies() if int(body.strip('"')) % 6 == player] == [
            f'"{player}"',
            f'"{player + 6}"',
        ]


async def test_a_revoked_consent_withdraws_what_waits_also_between_attempts(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(500)]
    await sending.write("a")
    await sending.write("b")
    await sending.write("c", about="bea")
    await sending.send()
    sending.endpoints.unknown.add("ada")
    sending.clock.advance(60_000)
    await sending.send()
    assert sorted(sending.receiver.bodies()) == ['"a"', '"c"']
    assert await sending.states() == ["withdrawn", "withdrawn", "delivered"]


async def test_without_an_address_notices_are_kept_and_can_be_sent_later(sending: Sending) -> None:
    await sending.store.write(
        lambda uow: outbox.write_notice(uow, "one", "ada", "item.granted", {"text": "a"}, sent=False)
    )
    await sending.send()
    assert await sending.states() == ["kept"] and sending.receiver.sent == []
    (row,) = await sending.rows()
    assert await sending.store.write(lambda uow: outbox.send_again(uow, "one", row.notice_id))
    await sending.send()
    assert sending.receiver.ids() == [row.notice_id]


async def test_a_notice_can_be_sent_again_under_its_id_once_it_has_ended(sending: Sending) -> None:
    await sending.write("a")
    (row,) = await sending.rows()
    assert not await sending.store.write(lambda uow: outbox.send_again(uow, "one", row.notice_id))
    await sending.send()
    assert not await sending.store.write(lambda uow: outbox.send_again(uow, "two", row.notice_id))
    assert await sending.store.write(lambda uow: outbox.send_again(uow, "one", row.notice_id))
    await sending.send()
    assert sending.receiver.ids() == [row.notice_id] * 2


async def test_numbers_have_no_gaps_whatever_fails(sending: Sending) -> None:
    async def fails() -> None:
        def unit(uow: UnitOfWork) -> None:
            outbox.write_notice(uow, "one", "ada", "item.granted", {"text": "never"})
            raise RuntimeError("the fact did not happen")

        with pytest.raises(RuntimeError):
            await sending.store.write(unit)

    await asyncio.gather(*(sending.write(str(n), about=str(n)) for n in range(5)), fails(), fails())
    assert [row.seq for row in await sending.rows()] == [1, 2, 3, 4, 5]
    page = await sending.store.read(
        lambda reader: outbox.notices_in(reader, "one", NoticeState.WAITING, 3, 10)
    )
    assert [row.seq for row in page] == [4, 5]


async def test_units_that_tell_several_endpoints_at_once_all_succeed(sending: Sending) -> None:
    async def tell(number: int) -> None:
        def unit(uow: UnitOfWork) -> None:
            for endpoint_id in (("one", "two"), ("one",), ("two",))[number % 3]:
                outbox.write_notice(uow, endpoint_id, f"player {number}", "item.granted", {"text": "x"})

        await sending.store.write(unit)

    await asyncio.gather(*(tell(number) for number in range(90)))
    for endpoint_id in ("one", "two"):
        assert [row.seq for row in await sending.rows(endpoint_id)] == list(range(1, 61))


async def test_what_ended_long_ago_is_forgotten(sending: Sending) -> None:
    await sending.write("a")
    await sending.send()
    sending.clock.advance(31 * DAY_MS)
    await sending.write("b")
    before_ms = sending.clock.now_ms() - 30 * DAY_MS
    assert await sending.store.write(lambda uow: outbox.forget_old(uow, before_ms, 100)) == 1
    assert [row.seq for row in await sending.rows()] == [2]


async def test_the_loop_sends_what_is_written_while_it_runs(sending: Sending) -> None:
    sending.delivery.start()
    try:
        await sending.write("a")
        async with asyncio.timeout(2):
            while await sending.states() != ["delivered"]:
                await asyncio.sleep(0.01)
    finally:
        await sending.delivery.stop()


async def test_a_new_consent_keeps_what_was_written_since_it_began(sending: Sending) -> None:
    """Withdrawing what is of before must not take along what came after."""
    await sending.write("before the consent ended")
    await sending.write("since it began anew")
    sending.endpoints.sights["ada"] = Sight(1)
    await sending.send()
    assert sending.receiver.bodies() == ['"since it began anew"']
    assert await sending.states() == ["withdrawn", "delivered"]


async def test_what_is_hidden_by_now_is_not_sent_even_if_it_was_written(sending: Sending) -> None:
    data = {"text": "x", "wallet": "0x1", "item": {"wallet": "0x1", "sku": "A"}}
    await sending.store.write(lambda uow: outbox.write_notice(uow, "one", "ada", "item.granted", data))
    sending.endpoints.sights["ada"] = Sight(0, frozenset({"wallet"}))
    (row,) = await sending.store.read(lambda reader: outbox.due_notices(reader, "one", 1))
    sight = sending.endpoints.sights["ada"]
    notice = await sending.store.write(lambda uow: outbox.lease(uow, row, sight, 1000))
    assert notice is not None and notice.data == {"text": "x", "item": {"sku": "A"}}


async def test_a_late_410_of_an_old_address_stops_nothing_at_the_new_one(sending: Sending) -> None:
    async def moves(url: str) -> None:
        sending.endpoints.urls["one"] = TWO

    sending.receiver.gate = moves
    sending.receiver.answers[ONE] = [Answer(410)]
    await sending.write("a")
    await sending.write("b")
    await sending.send()
    sending.clock.advance(60_000)
    await sending.send()
    assert sending.endpoints.stopped == {}
    assert sending.receiver.bodies(TWO) == ['"a"', '"b"']
    assert await sending.states() == ["delivered", "delivered"]


async def test_a_row_that_another_process_has_tried_since_is_not_claimed(sending: Sending) -> None:
    await sending.write("a")
    (seen,) = await sending.store.read(lambda reader: outbox.due_notices(reader, "one", 1))
    sending.receiver.answers[ONE] = [Answer(500)]
    await sending.send()
    late = await sending.store.write(lambda uow: outbox.lease(uow, seen, Sight(0), 1000))
    assert late is None, "it waits for its next time"


async def test_what_was_asked_to_wait_is_not_sent_before_because_another_was_taken(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(503, retry_after_ms=7_200_000), Answer(error="ConnectError")]
    await sending.write("asked to wait")
    await sending.send(1)
    sending.clock.advance(3_600_000)
    await sending.write("away", about="bea")
    await sending.send(1)
    sending.clock.advance(60_000)
    await sending.write("taken", about="cyd")
    await sending.send()
    assert sending.receiver.bodies().count('"asked to wait"') == 1
    assert sending.receiver.bodies().count('"away"') == 2
    sending.clock.advance(7_200_000)
    await sending.send()
    assert set(await sending.states()) == {"delivered"}


async def test_one_that_is_never_answered_keeps_its_times_while_others_are_taken(sending: Sending) -> None:
    await sending.write("well", about="bea")
    await sending.send()

    async def hangs(url: str) -> None:
        if sending.receiver.bodies()[-1] == '"poison"':
            sending.receiver.answers[ONE] = [Answer(error="no answer")]

    sending.receiver.gate = hangs
    await sending.write("poison")
    for number in range(20):
        await sending.send(1)
        sending.clock.advance(2_000)
        await sending.write(f"well {number}", about="bea")
    assert sending.receiver.bodies().count('"poison"') <= 3, "its ten attempts are for three days"


async def test_a_server_that_is_away_for_days_is_stopped_however_long_the_queue(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(error="ConnectError")] * 1000
    for number in range(40):
        await sending.write("x", about=str(number))
    for _ in range(120):
        await sending.send(1)
        sending.clock.advance(3_600_000)
    assert list(sending.endpoints.stopped) == ["one"]
    assert set(await sending.states()) == {"failed", "kept"}


async def test_a_long_queue_is_looked_through_quickly(sending: Sending) -> None:
    def unit(uow: UnitOfWork) -> None:
        for number in range(6_000):
            outbox.write_notice(uow, "one", f"player {number % 600}", "item.granted", {"text": "x"})

    await sending.store.write(unit)
    began = time.process_time()
    for _ in range(3):
        found = await sending.store.read(lambda reader: outbox.due_notices(reader, "one", 4))
        none = await sending.store.read(lambda reader: outbox.due_notices(reader, "two", 4))
        assert len(found) == 4 and none == []
    # Every line's first is under way: the rest is looked through in vain.
    firsts = await sending.store.read(lambda reader: outbox.due_notices(reader, "one", 600))
    await sending.store.write(
        lambda uow: [outbox.lease(uow, row, Sight(0), 60_000) for row in firsts] and None
    )
    assert await sending.store.read(lambda reader: outbox.due_notices(reader, "one", 4)) == []
    assert time.process_time() - began < 1


async def test_trouble_with_one_endpoint_keeps_no_other_waiting(sending: Sending) -> None:
    await sending.write("a", to="one")
    await sending.write("b", to="two")
    del sending.endpoints.urls["one"]
    await sending.send()
    assert sending.receiver.bodies(TWO) == ['"b"']


async def test_ids_of_one_fact_do_not_follow_each_other(sending: Sending) -> None:
    def unit(uow: UnitOfWork) -> None:
        for name in ("one", "two"):
            outbox.write_notice(uow, name, "ada", "item.granted", {"text": "x"})

    await sending.store.write(unit)
    (left,), (right,) = await sending.rows("one"), await sending.rows("two")
    assert left.notice_id[:10] != right.notice_id[:10]


async def test_what_an_old_address_asked_for_does_not_hold_up_the_new_one(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(503, retry_after_ms=3_600_000)]
    await sending.write("a")
    await sending.send()
    await sending.write("b", about="bea")
    await sending.send()
    assert sending.receiver.bodies() == ['"a"']
    sending.endpoints.urls["one"] = TWO
    await sending.send()
    assert sending.receiver.bodies(TWO) == ['"b"']


async def test_an_address_that_is_refused_is_logged_once(sending: Sending) -> None:
    sending.receiver.answers[ONE] = [Answer(error=REFUSED_ADDRESS)] * 4
    with capture_logs() as lines:
        for subject in ("ada", "bo"):
            await sending.write(subject, about=subject)
        for _ in range(4):
            await sending.send()
            sending.clock.advance(DAY_MS // 4)
    told = [line for line in lines if line["event"] == "webhooks.address_refused"]
    assert len(sending.receiver.sent) >= 4
    assert [line["endpoint"] for line in told] == ["one"]
