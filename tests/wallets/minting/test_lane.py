from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.errors import UnavailableError
from tests.support.fake_chain import FakeChain
from tests.wallets.minting.lane_world import QUICK, World, world
from wallets.minting.chain.port import ChainUnavailable, InsufficientFunds
from wallets.minting.contract.calls import numbered_token_id
from wallets.minting.requests import cancel_mint, request_return

OUTSIDE = "0x52908400098527886E0F7030069857D2E4169EE7"


async def test_three_hundred_mints_go_in_batches_exactly_once(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open(batch_items=100, window_ms=50)
    minting.start()
    legs = await shop.request(*(shop.a_request(customer=index) for index in range(300)))
    await shop.until(lambda: _all_in(shop, "final", 300))
    await minting.stop()
    holding = chain.holding(1)
    assert len(holding) == 300
    assert set(holding.values()) == {1}
    await shop.check_told_once(legs)
    kinds = [tx.kind for tx in await shop.txs()]
    assert kinds == ["deploy", "define", "mint", "mint", "mint"]


async def test_purchase_numbers_are_dense(shop: World) -> None:
    await shop.define()
    minting = await shop.open()
    await shop.request(*(shop.a_request() for _ in range(20)))
    await shop.settle(minting)
    assert sorted(row.purchase_number for row in await shop.mint_rows()) == list(range(1, 21))


async def test_a_lone_mint_waits_no_longer_than_the_window(shop: World) -> None:
    await shop.define()
    minting = await shop.open(window_ms=40)
    await shop.settle(minting)
    minting.start()
    await shop.request(shop.a_request())
    started = asyncio.get_running_loop().time()
    await shop.until(lambda: _all_in(shop, "final", 1))
    await minting.stop()
    assert 0.03 <= asyncio.get_running_loop().time() - started < 1.0


async def test_a_batch_stays_within_its_gas(shop: World) -> None:
    await shop.define()
    minting = await shop.open(batch_gas=600_000)
    await shop.request(*(shop.a_request() for _ in range(30)))
    await shop.settle(minting)
    mints = [tx for tx in await shop.txs() if tx.kind == "mint"]
    assert len(mints) == 3
    assert all(tx.gas <= 600_000 for tx in mints)


async def test_at_most_three_transactions_are_open(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        minting = await _opened_on_blocks(shop, chain, batch_items=5)
        await shop.request(*(shop.a_request() for _ in range(50)))
        for _ in range(20):
            await minting.recover()
            await asyncio.sleep(0.002)
        assert (await minting.status()).open_transactions == 3
        assert (await shop.states()) == {"sent": 15, "queued": 35}
        await _settle_on_blocks(shop, chain, minting)
        assert chain.state.supply[1] == 50


async def test_an_item_is_defined_before_its_first_mint(shop: World, chain: FakeChain) -> None:
    minting = await shop.open()
    legs = await shop.request(shop.a_request())
    for _ in range(5):
        await minting.recover()
    assert (await shop.states()) == {"queued": 1}
    await shop.define(cap=7)
    await shop.settle(minting)
    assert chain.state.caps[1] == 7
    assert await shop.told(legs[0]) == ["minted"]


async def test_numbered_copies_get_their_serials(shop: World, chain: FakeChain) -> None:
    await shop.define(3, cap=10, numbered=True)
    minting = await shop.open()
    await shop.request(*(shop.a_request(3, serial=serial, customer=serial) for serial in range(1, 11)))
    await shop.settle(minting)
    for serial in range(1, 11):
        holder = await shop.signer.address(f"customer/{serial}")
        assert chain.holding(numbered_token_id(3, serial)) == {holder: 1}


async def test_a_sold_out_mint_is_skipped_and_its_neighbours_are_not(shop: World, chain: FakeChain) -> None:
    await shop.define(cap=4)
    minting = await shop.open()
    legs = await shop.request(*(shop.a_request() for _ in range(6)))
    await shop.settle(minting)
    assert (await shop.states()) == {"final": 4, "skipped": 2}
    assert chain.state.supply[1] == 4
    assert [await shop.told(leg) for leg in legs] == [["minted"]] * 4 + [["skipped"]] * 2
    assert {view.skip_reason for view in await shop.mints()} == {None, "sold_out"}


async def test_a_serial_that_is_taken_is_skipped(shop: World) -> None:
    await shop.define(3, cap=10, numbered=True)
    minting = await shop.open()
    await shop.request(shop.a_request(3, serial=4), shop.a_request(3, serial=4))
    await shop.settle(minting)
    assert (await shop.states()) == {"final": 1, "skipped": 1}


async def test_a_repeated_request_mints_once(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    one = shop.a_request()
    await shop.request(one, one)
    await shop.settle(minting)
    await shop.request(one)
    await shop.settle(minting)
    assert chain.state.supply[1] == 1


async def test_a_canceled_mint_is_not_claimed(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    kept, dropped = await shop.request(shop.a_request(), shop.a_request())
    assert await shop.store.write(lambda uow: cancel_mint(uow, dropped))
    assert await shop.store.write(lambda uow: cancel_mint(uow, dropped))
    await shop.settle(minting)
    assert not await shop.store.write(lambda uow: cancel_mint(uow, kept))
    assert chain.state.supply[1] == 1


async def test_of_a_cancel_and_a_claim_exactly_one_wins(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open(batch_items=7, window_ms=1)
    minting.start()
    legs = await shop.request(*(shop.a_request() for _ in range(120)))
    canceled = []
    for leg in legs[::2]:
        if await shop.store.write(lambda uow, leg=leg: cancel_mint(uow, leg)):
            canceled.append(leg)
    await shop.until(lambda: _none_open(shop))
    await minting.stop()
    minted = {view.leg_id for view in await shop.mints() if view.state == "final"}
    assert minted | set(canceled) == set(legs)
    assert not minted & set(canceled)
    assert chain.state.supply[1] == len(minted)


async def test_a_request_and_its_cancel_in_one_batch_of_units_cancel(shop: World) -> None:
    one = replace(shop.a_request(), recipient=OUTSIDE)
    from wallets.minting.requests import request_mint

    _, canceled = await asyncio.gather(
        shop.store.write(lambda uow: request_mint(uow, one)),
        shop.store.write(lambda uow: cancel_mint(uow, one.leg_id)),
    )
    assert canceled


async def test_a_recipient_with_code_gets_a_transaction_of_its_own(shop: World, chain: FakeChain) -> None:
    chain.with_code.add(OUTSIDE)
    await shop.define()
    minting = await shop.open()
    outside = shop.a_request(recipient=OUTSIDE, holder_key=None)
    await shop.request(shop.a_request(), outside, shop.a_request())
    await shop.settle(minting)
    assert (await shop.states()) == {"final": 3}
    assert len([tx for tx in await shop.txs() if tx.kind == "mint"]) == 2


async def test_a_refusing_recipient_is_skipped_for_good(shop: World, chain: FakeChain) -> None:
    chain.refusing.add(OUTSIDE)
    await shop.define()
    minting = await shop.open(code_minter=True)
    legs = await shop.request(shop.a_request(recipient=OUTSIDE, holder_key=None), shop.a_request())
    await shop.settle(minting)
    assert [await shop.told(leg) for leg in legs] == [["skipped"], ["minted"]]
    lanes = {tx.lane for tx in await shop.txs() if tx.kind == "mint"}
    assert lanes == {"31337:minter/0", "31337:minter/1"}


async def test_the_chain_is_asked_once_about_a_wallet(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    asked = []
    chain.fail = lambda method: asked.append(method) if method == "code" else None
    await shop.request(*(shop.a_request(recipient=OUTSIDE, holder_key=None) for _ in range(5)))
    await shop.settle(minting)
    await shop.request(shop.a_request(recipient=OUTSIDE, holder_key=None))
    await shop.settle(minting)
    assert asked == ["code"]
    assert chain.state.supply[1] == 6


async def test_several_minters_share_the_queue(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open(minters=3, batch_items=10)
    await shop.request(*(shop.a_request() for _ in range(60)))
    await shop.settle(minting)
    assert chain.state.supply[1] == 60
    assert len({tx.lane for tx in await shop.txs() if tx.kind == "mint"}) == 3


async def test_two_nodes_mint_once(shop: World, chain: FakeChain) -> None:
    await shop.define()
    nodes = [await shop.open(batch_items=9, window_ms=1), await shop.open(batch_items=9, window_ms=1)]
    for node in nodes:
        node.start()
    legs = await shop.request(*(shop.a_request() for _ in range(100)))
    await shop.until(lambda: _all_in(shop, "final", 100))
    for node in nodes:
        await node.stop()
    assert chain.state.supply[1] == 100
    await shop.check_told_once(legs)


async def test_a_paused_contract_delays_mints_and_loses_none(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    await shop.settle(minting)
    chain.paused = True
    legs = await shop.request(*(shop.a_request() for _ in range(3)))
    for _ in range(20):
        await minting.recover()
        await asyncio.sleep(0.001)
    assert not await shop.store.write(lambda uow: cancel_mint(uow, legs[0])), "it was claimed once"
    chain.paused = False
    await shop.settle(minting)
    assert chain.state.supply[1] == 3
    await shop.check_told_once(legs)
    # The reverted attempts were few: the lane slows down.
    assert len([tx for tx in await shop.txs() if tx.failure == "reverted"]) <= 3


async def test_an_unreachable_chain_delays_mints_and_loses_none(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    minting.start()
    chain.away = True
    legs = await shop.request(*(shop.a_request() for _ in range(5)))
    await shop.until(lambda: _has_error(minting))
    chain.away = False
    await shop.until(lambda: _all_in(shop, "final", 5))
    await minting.stop()
    await shop.check_told_once(legs)


async def test_a_lost_answer_to_a_broadcast_mints_once(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    await shop.settle(minting)
    send = chain.send_raw

    async def send_and_lose(raw: bytes) -> bytes:
        await send(raw)
        chain.send_raw = send
        raise ChainUnavailable("no answer")

    chain.send_raw = send_and_lose
    await shop.request(shop.a_request())
    with pytest.raises(ChainUnavailable):
        await shop.settle(minting)
    await shop.settle(minting)
    assert chain.state.supply[1] == 1


async def test_a_poor_minter_waits_for_funds(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    minting.start()

    def refuse(method: str) -> None:
        if method == "send_raw":
            raise InsufficientFunds("too poor")

    chain.fail = refuse
    await shop.request(shop.a_request())
    await shop.until(lambda: _has_error(minting))
    chain.fail = lambda method: None
    await shop.until(lambda: _all_in(shop, "final", 1))
    await minting.stop()


async def test_a_stuck_transaction_is_sent_with_a_higher_fee_and_mints_once(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        minting = await _opened_on_blocks(shop, chain, rebroadcast_after_ms=1)
        legs = await shop.request(shop.a_request())
        await shop.until(lambda: _step_until_sent(shop, minting))
        chain.base_fee *= 100
        shop.clock.leap_ms = 120_000
        for _ in range(6):
            await asyncio.sleep(0.005)
            await minting.recover()
            chain.mine()
        await shop.settle(minting)
        tx = (await shop.txs())[-1]
        attempts = await shop.bytes_of(tx.tx_id)
        assert len(attempts) >= 2
        for earlier, later in pairwise(attempts):
            assert int(later.max_fee) * 1000 >= int(earlier.max_fee) * 1125
            assert int(later.priority_fee) * 1000 >= int(earlier.priority_fee) * 1125
        assert tx.mined_hash == attempts[-1].tx_hash
        assert chain.state.supply[1] == 1
        await shop.check_told_once(legs)


async def test_a_stuck_transaction_waits_at_the_fee_limit(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        minting = await _opened_on_blocks(shop, chain, rebroadcast_after_ms=1, most_fee_wei=2 * 10**9)
        await shop.request(shop.a_request())
        await shop.until(lambda: _step_until_sent(shop, minting))
        chain.base_fee *= 100
        shop.clock.leap_ms = 120_000
        for _ in range(4):
            await asyncio.sleep(0.005)
            await minting.recover()
            chain.mine()
        assert len(await shop.bytes_of((await shop.txs())[-1].tx_id)) == 1
        chain.base_fee //= 100
        await _settle_on_blocks(shop, chain, minting)
        assert chain.state.supply[1] == 1


async def test_a_mined_earlier_form_of_a_bumped_transaction_settles_it(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        minting = await _opened_on_blocks(shop, chain, rebroadcast_after_ms=1)
        await shop.request(shop.a_request())
        await shop.until(lambda: _step_until_sent(shop, minting))
        shop.clock.leap_ms = 120_000
        first = dict(chain._pool)
        await asyncio.sleep(0.005)
        await minting.recover()
        tx = (await shop.txs())[-1]
        attempts = await shop.bytes_of(tx.tx_id)
        assert len(attempts) == 2
        # The miner had not heard of the replacement.
        chain._pool = first
        chain.mine()
        await shop.settle(minting)
        assert (await shop.txs())[-1].mined_hash == attempts[0].tx_hash


async def test_a_pool_that_forgot_gets_the_bytes_again(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        minting = await _opened_on_blocks(shop, chain, rebroadcast_after_ms=1)
        await shop.request(shop.a_request())
        await shop.until(lambda: _step_until_sent(shop, minting))
        chain.drop_pool()
        await _settle_on_blocks(shop, chain, minting)
        assert chain.state.supply[1] == 1
        assert len(await shop.bytes_of((await shop.txs())[-1].tx_id)) == 1


async def test_a_nonce_that_went_to_somebody_else_sends_its_mints_again(
    shop: World, chain: FakeChain
) -> None:
    await shop.define()
    minting = await shop.open()
    await shop.settle(minting)
    owner = await shop.signer.address("minter/0")

    def usurp(method: str) -> None:
        if method == "send_raw":
            chain.fail = lambda method: None
            chain.state.nonces[owner] += 1

    chain.fail = usurp
    legs = await shop.request(shop.a_request(), shop.a_request())
    await shop.until(lambda: _step_until_sent(shop, minting))
    for _ in range(5):
        await minting.recover()
        await asyncio.sleep(0.003)
    assert (await shop.states()) == {"sent": 2}
    shop.clock.leap_ms = 700_000
    await shop.settle(minting)
    assert chain.state.supply[1] == 2
    await shop.check_told_once(legs)
    assert [tx.failure for tx in await shop.txs()][-2:] == ["nonce_taken", None]


async def test_a_token_goes_back_to_the_treasury_once(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    first, second = await shop.request(shop.a_request(), shop.a_request(customer=1))
    await shop.settle(minting)
    assert await shop.store.write(lambda uow: request_return(uow, first))
    assert not await shop.store.write(lambda uow: request_return(uow, first))
    await shop.settle(minting)
    assert not await shop.store.write(lambda uow: request_return(uow, first))
    assert await shop.told(first) == ["minted", "returned"]
    assert await shop.told(second) == ["minted"]
    assert chain.state.balances["treasury", 1] == 1


async def test_a_token_that_is_gone_cannot_be_returned(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    first, second = await shop.request(shop.a_request(), shop.a_request(customer=1))
    await shop.settle(minting)
    chain.state.balances[await shop.signer.address("customer/0"), 1] = 0
    for leg in (first, second):
        await shop.store.write(lambda uow, leg=leg: request_return(uow, leg))
    await shop.settle(minting)
    assert await shop.told(first) == ["minted", "return_failed"]
    assert await shop.told(second) == ["minted", "returned"]


async def test_a_holder_without_key_does_not_hold_up_the_others(shop: World) -> None:
    await shop.define()
    minting = await shop.open()
    lost = shop.a_request(recipient=OUTSIDE, holder_key="customer/x")
    first, second = await shop.request(lost, shop.a_request())
    await shop.settle(minting)
    for leg in (first, second):
        await shop.store.write(lambda uow, leg=leg: request_return(uow, leg))
    for _ in range(8):
        await minting.recover()
        await asyncio.sleep(0.002)
    assert await shop.told(second) == ["minted", "returned"]
    assert await shop.told(first) == ["minted"]


async def test_a_deployed_contract_that_is_not_on_the_chain_stops_the_start(shop: World) -> None:
    await shop.open()
    shop.chain = FakeChain()
    with pytest.raises(UnavailableError, match="contract_missing"):
        await shop.open()


async def test_a_start_without_the_chain_waits_with_the_mints(shop: World, chain: FakeChain) -> None:
    await shop.define()
    await shop.settle(await shop.open())
    chain.away = True
    minting = await shop.open()
    minting.start()
    await shop.request(shop.a_request())
    chain.away = False
    await shop.until(lambda: _all_in(shop, "final", 1))
    await minting.stop()


async def _opened_on_blocks(shop: World, chain: FakeChain, **changes: Any) -> Any:
    """Open minting with one defined item on a chain that mines only when told."""
    await shop.define()
    chain.automine = True
    minting = await shop.open(QUICK, **changes)
    await shop.settle(minting)
    chain.automine = False
    return minting


async def _settle_on_blocks(shop: World, chain: FakeChain, minting: Any) -> None:
    for _ in range(500):
        chain.mine()
        await minting.recover()
        status = await minting.status()
        if not status.queued and not status.open_transactions:
            return
        await asyncio.sleep(0.002)
    raise AssertionError("not settled")


async def _step_until_sent(shop: World, minting: Any) -> bool:
    await minting.recover()
    return "sent" in await shop.states()


async def _all_in(shop: World, state: str, count: int) -> bool:
    return (await shop.states())[state] == count


async def _none_open(shop: World) -> bool:
    return not set(await shop.states()) - {"final", "canceled", "skipped"}


async def _has_error(minting: Any) -> bool:
    return bool((await minting.status()).last_errors)
