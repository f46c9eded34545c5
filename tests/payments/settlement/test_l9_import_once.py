"""Importing is idempotent by file and by line (L9), and what cannot be read is refused whole."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from gateway.kernel.errors import InvalidError
from gateway.kernel.store.unit import Store
from gateway.payments.settlement import importing
from gateway.payments.settlement.files import read_file
from gateway.payments.settlement.importing import import_file
from gateway.payments.settlement.report import report_on
from tests.payments.settlement.test_l8_three_sides import faulty
from tests.payments.settlement.world import (
    World,
    bank_file,
    bank_lines,
    reconciled,
    settlement_file,
    with_payouts,
)
from wallets.vault.providers.settlement import settlement_csv


async def test_l9_importing_again_posts_nothing_and_tells_the_same(world: World, store: Store) -> None:
    lines, _ = await faulty(world)
    files = (settlement_file(lines), bank_file(bank_lines(lines)))
    first, report = await reconciled(store, *files)
    assert [done.new_lines for done in first] == [len(lines), 1]
    balances = await world.balances()
    for _ in range(2):
        again, told = await reconciled(store, *files)
        assert [(done.new_lines, done.posted) for done in again] == [(0, 0), (0, 0)]
        assert (told.differences, told.gross) == (report.differences, report.gross)
    assert await world.balances() == balances


async def test_l9_the_same_lines_in_another_file_post_nothing(world: World, store: Store) -> None:
    lines, _ = await faulty(world)
    await reconciled(store, settlement_file(lines))
    balances = await world.balances()
    more = await world.did("charge", 77)
    done = await import_file(store, settlement_file([*reversed(lines), more], "again.csv"), "mer_1")
    assert done.new_lines == 1 and done.changed == ()
    changed = {key for key in await world.balances() if (await world.balances())[key] != balances.get(key)}
    assert {account for account, _ in changed} <= {
        "asset:clearing:simulated",
        "expense:card_fees:simulated",
        "liability:deferred_revenue",
    }


async def test_l9_an_import_that_was_cut_off_goes_on_where_it_was(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = with_payouts([await world.did("charge", 1000 + number) for number in range(9)])
    file = settlement_file(lines)
    monkeypatch.setattr(importing, "_CHUNK", 4)
    # The process dies after the first chunk.
    ours = await importing._our_side(store, file)
    await store.write(
        partial(importing._import_lines, file=file, ours=ours, lines=file.lines[:4], merchant_id="mer_1")
    )
    done, report = await reconciled(store, file)
    assert (done[0].new_lines, report.differences) == (len(lines) - 4, [])
    clearing = (await world.balances())["asset:clearing:simulated", "EUR"]
    assert clearing == sum(one.net_minor for one in lines[:-1])


async def test_l9_a_line_that_says_something_else_now_is_told_and_the_first_one_stands(
    world: World, store: Store
) -> None:
    own = await world.did("charge", 1000)
    await reconciled(store, settlement_file(with_payouts([own])))
    balances = await world.balances()
    other = replace(own, gross_minor=900, net_minor=900 - own.fee_minor)
    for _ in range(2):
        done = await import_file(store, settlement_file([other], "other.csv"), "mer_1")
        assert (done.new_lines, done.posted, done.changed) == (0, 0, (own.line_key,))
    assert await world.balances() == balances


async def test_l9_reports_of_a_file_that_was_not_imported_are_empty(world: World, store: Store) -> None:
    file = settlement_file(with_payouts([await world.did("charge", 1000)]))
    report = await report_on(store, [replace(file, from_ms=0, until_ms=0)])
    assert report.differences == []


GOOD = (
    "line_key,operation_id,provider_reference,type,gross_minor,fee_minor,net_minor,currency,batch,payout_id,"
    "occurred_at_ms,available_on\n"
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b,c\n1,2,3\n",
        GOOD + "k,,r,charge,1.5,0,1,EUR,,,0,\n",
        GOOD + "k,,r,charge,1,0,1,XXQ,,,0,\n",
        GOOD + "k,,r,charge,1,0,1,EUR,,,0\n",
        GOOD + ",,r,charge,1,0,1,EUR,,,0,\n",
        GOOD + "k,,r,charge,1,0,1,EUR,2026-13-01/EUR,,0,\n",
        GOOD + 'k,,"r,charge,1,0,1,EUR,,,0,\n',
        "line_key,booked_on,amount_minor,currency,reference,counterparty\nk,20.11.2026,1,EUR,r,c\n",
        '{"object": "list", "data": [{"id": "txn_1"}]}',
        "{",
    ],
)
def test_l9_a_file_that_cannot_be_read_is_refused_whole(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read_file("x.csv", text.encode())
    assert caught.value.code == "settlement.file"


def test_l9_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidError):
        read_file("x.csv", b"\xff\xfe\x00")


async def test_l9_a_file_may_carry_a_byte_order_mark(world: World) -> None:
    text = settlement_csv([await world.did("charge", 5)])
    assert read_file("x.csv", b"\xef\xbb\xbf" + text.encode()).lines
