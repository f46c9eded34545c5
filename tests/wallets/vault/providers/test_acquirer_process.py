"""The acquirer as a process of its own: faults that are switched on while it runs, and its files."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.kernel.clock import ManualClock, utc_datetime
from tests.wallets.vault.providers.recorded import Recorded
from tests.wallets.vault.providers.stands import (
    API_KEY,
    DAY_MS,
    AcquirerServer,
    Stand,
    acquirer_process,
    parts,
)
from tests.wallets.vault.shop import CUSTOMER, card, eur
from wallets.vault.port import Capture, OperationKind, OperationStatus, Refund
from wallets.vault.providers.acquirer.client import AcquirerClient
from wallets.vault.providers.port import FollowUpOrder, Lookup
from wallets.vault.providers.settlement import SettlementLine
from wallets.vault.secret import Secret

S = OperationStatus
WINDOW_MS = DAY_MS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> AcquirerServer:
    with acquirer_process(tmp_path_factory.mktemp("acquirer"), "--keys-kept-ms", str(WINDOW_MS)) as running:
        yield running


@pytest.fixture
async def stand(server: AcquirerServer, tmp_path: Path) -> AsyncIterator[Stand]:
    now_ms = server.advance(0)
    async with parts(tmp_path, ManualClock(now_ms)) as given:
        provider = Recorded(AcquirerClient(server.url, API_KEY, keys_kept_ms=WINDOW_MS))
        vault = given.open(provider, deadline_ms=1_000)
        yield Stand(vault, given.clock, given.ids, provider, lambda: vault.tokenize(CUSTOMER, card()))
        await provider.close()


def effects_of(server: AcquirerServer, operation_id: str) -> int:
    return sum(each["operation_id"] == operation_id for each in server.effects())


async def test_p9_after_the_window_an_unknown_is_asked_about_and_never_sent_again(
    stand: Stand, server: AcquirerServer
) -> None:
    placed = await stand.placed(eur(1_000))
    capture = Capture(stand.op(), placed.operation_id, eur(400))
    server.switch(lose_replies=1, fail_lookups=2)
    assert (await stand.vault.capture(capture)).status is S.UNKNOWN
    assert (await stand.vault.capture(capture)).status is S.UNKNOWN  # look-ups fail too
    stand.manual_clock.advance(WINDOW_MS)
    server.advance(WINDOW_MS)
    assert (await stand.vault.capture(capture)).status is S.UNKNOWN
    assert (await stand.vault.capture(capture)).status is S.SUCCEEDED  # by the query
    assert stand.provider.calls.count("capture") == 1
    assert effects_of(server, capture.operation_id) == 1
    # And this is what sending it again would have been: the acquirer has forgotten the key.
    await stand.provider.provider.capture(
        FollowUpOrder(capture.operation_id, placed.operation_id, None, eur(400))
    )
    assert effects_of(server, capture.operation_id) == 2


async def test_p9_an_unknown_that_no_query_can_tell_is_settled_by_the_settlement_file(
    stand: Stand, server: AcquirerServer
) -> None:
    placed = await stand.placed(eur(1_000))
    capture = Capture(stand.op(), placed.operation_id, eur(400))
    server.switch(lose_replies=1, fail_lookups=-1)
    assert (await stand.vault.capture(capture)).status is S.UNKNOWN
    try:
        day = utc_datetime(server.advance(0)).date()
        [line] = [
            each
            for each in lines(server.text(f"/admin/settlement/{day}"))
            if each.operation_id == capture.operation_id
        ]
        settled = await stand.service.note_settled(capture.operation_id, "simulated", line.provider_reference)
    finally:
        server.switch(fail_lookups=0)
    assert settled is not None
    assert (settled.status, settled.amount) == (S.SUCCEEDED, eur(line.gross_minor))
    assert stand.provider.calls.count("capture") == 1


@pytest.mark.parametrize("fault", ["lose_replies", "fail_before", "fail_after"])
async def test_each_fault_leaves_one_effect_or_none_and_the_vault_knows_which(
    stand: Stand, server: AcquirerServer, fault: str
) -> None:
    placed = await stand.placed(eur(1_000))
    server.switch(**{fault: 1})
    capture = Capture(stand.op(), placed.operation_id, eur(1_000))
    assert (await stand.vault.capture(capture)).status is S.UNKNOWN
    found = await stand.vault.operation(capture.operation_id)
    assert found is not None
    acted = fault != "fail_before"
    assert found.status is (S.SUCCEEDED if acted else S.FAILED)
    assert effects_of(server, capture.operation_id) == int(acted)
    if not acted:
        assert (await stand.taken(placed.operation_id, eur(1_000))).status is S.SUCCEEDED


async def test_a_slow_acquirer_is_not_waited_for_longer_than_the_deadline(
    stand: Stand, server: AcquirerServer
) -> None:
    placed = await stand.placed(eur(1_000))
    server.switch(slow_ms=1_300)
    try:
        capture = Capture(stand.op(), placed.operation_id, eur(1_000))
        began = time.monotonic()
        assert (await stand.vault.capture(capture)).status is S.UNKNOWN
        assert 0.9 < time.monotonic() - began < 1.3
    finally:
        server.switch(slow_ms=0)
    # Whichever comes first, the request or the question, there is one answer and it stays.
    found = await stand.vault.operation(capture.operation_id)
    await asyncio.sleep(0.5)
    assert found == await stand.vault.operation(capture.operation_id)
    assert found is not None
    assert effects_of(server, capture.operation_id) == int(found.status is S.SUCCEEDED)


async def test_a_flaky_acquirer_ends_with_both_sides_agreeing(stand: Stand, server: AcquirerServer) -> None:
    placed = await stand.placed(eur(4_000))
    server.switch(flaky_percent=50)
    captures = [Capture(stand.op(), placed.operation_id, eur(100)) for _ in range(30)]
    try:
        await asyncio.gather(*(stand.vault.capture(each) for each in captures))
    finally:
        server.switch(flaky_percent=0)
    for capture in captures:
        found = await stand.vault.operation(capture.operation_id)
        assert found is not None
        assert found.status.is_final
        assert effects_of(server, capture.operation_id) == int(found.status is S.SUCCEEDED)


async def test_switches_are_checked(server: AcquirerServer) -> None:
    for document in ({"nonsense": 1}, {"slow_ms": "1"}, {"kinds": ["unknown"]}, {"kinds": 1}):
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            server.switch(**document)
    assert httpx.put(server.url + "/admin/faults", json={}).status_code == 401
    assert httpx.post(server.url + "/v1/capture", json={}).status_code == 401
    wrong = {"authorization": "Bearer another"}
    assert httpx.get(server.url + "/admin/effects", headers=wrong).status_code == 401


def lines(text: str) -> list[SettlementLine]:
    """Read a settlement file back as its document says."""
    whole = ("gross_minor", "fee_minor", "net_minor", "occurred_at_ms")
    return [
        SettlementLine(**{name: int(value) if name in whole else value for name, value in row.items()})
        for row in csv.DictReader(io.StringIO(text))
    ]


async def test_l8_the_settlement_file_adds_up_to_the_bank_line(tmp_path: Path) -> None:
    with acquirer_process(tmp_path) as own:
        async with parts(tmp_path, ManualClock(int(time.time() * 1000))) as given:
            provider = Recorded(AcquirerClient(own.url, API_KEY))
            vault = given.open(provider)
            stand = Stand(vault, given.clock, given.ids, provider, lambda: vault.tokenize(CUSTOMER, card()))
            placed = await stand.placed(eur(10_000))
            captured = [await stand.taken(placed.operation_id, eur(each)) for each in (5_000, 3_000, 2_000)]
            refund = Refund(stand.op(), captured[0].operation_id, eur(1_000))
            await stand.vault.refund(refund)
            await stand.paid_out(await stand.new_method(), eur(500))
            taken_back = {"operation_id": captured[1].operation_id}
            assert own.post("/admin/chargebacks", taken_back).status_code == 204
            assert own.post("/admin/chargebacks", {"operation_id": "op_none"}).status_code == 404
            await provider.close()
        day = utc_datetime(int(time.time() * 1000)).date()
        text = own.text(f"/admin/settlement/{day}")
        found = lines(text)
        assert own.text(f"/admin/settlement/{day}") == text
        assert [line.type for line in found].count("charge") == 3
        by_type = {line.type: line for line in found}
        charge = next(line for line in found if line.operation_id == captured[0].operation_id)
        assert (charge.gross_minor, charge.fee_minor, charge.net_minor) == (5_000, 80, 4_920)
        assert charge.provider_reference == captured[0].provider_reference
        assert (by_type["refund"].gross_minor, by_type["refund"].operation_id) == (
            -1_000,
            refund.operation_id,
        )
        assert (by_type["payout"].gross_minor, by_type["payout"].fee_minor) == (-500, 25)
        assert by_type["chargeback"].gross_minor == -3_000
        assert by_type["chargeback"].provider_reference == captured[1].provider_reference
        assert by_type["chargeback"].operation_id == ""
        assert (by_type["fee"].gross_minor, by_type["fee"].fee_minor) == (0, 1_500)
        assert sum(line.net_minor for line in found) == 0
        payout = by_type["merchant_payout"]
        [bank] = list(csv.DictReader(io.StringIO(own.text(f"/admin/bank/{day}"))))
        assert (int(bank["amount_minor"]), bank["reference"]) == (-payout.net_minor, payout.payout_id)
        assert bank["booked_on"] == payout.available_on
        assert len({line.line_key for line in found}) == len(found)


async def test_an_answer_that_is_not_ours_is_no_answer() -> None:
    from wallets.vault.providers.port import NoAnswerError

    async def other(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{"outcome":"splendid"}')
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(other, "127.0.0.1", 0)
    client = AcquirerClient(
        f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", Secret("key"), timeout_ms=2_000
    )
    from gateway.kernel.subjects import OperationId

    lookup = Lookup(OperationId("op_1"), OperationKind.CAPTURE, eur(1), 0)
    with pytest.raises(NoAnswerError):
        await client.find(lookup)
    await client.close()
    listening.close()
