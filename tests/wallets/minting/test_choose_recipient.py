"""Choosing another recipient for a mint that its first one refused, or that is not claimed yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from gateway.kernel.errors import InvalidError, NotFoundError
from tests.support.fake_chain import FakeChain
from tests.wallets.minting.lane_world import World, world
from wallets.minting.requests import cancel_mint, choose_recipient
from wallets.minting.tables import mint

REFUSES = "0x52908400098527886E0F7030069857D2E4169EE7"
OTHER = "0x8617E340B3D01FA5F11F306F4090FD50E238070D"


async def _choose(shop: World, leg: str, recipient: str = OTHER, holder_key: str | None = None) -> bool:
    chosen: bool = await shop.store.write(
        lambda uow: choose_recipient(uow, leg, recipient=recipient, holder_key=holder_key)
    )
    return chosen


async def test_a_refused_mint_goes_to_another_wallet_under_its_number(shop: World, chain: FakeChain) -> None:
    chain.refusing.add(REFUSES)
    await shop.define()
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request(recipient=REFUSES, holder_key=None))
    await shop.settle(minting)
    (before,) = await shop.mint_rows()
    assert (before.state, before.skip_reason) == ("skipped", "receiver_refused")

    assert await _choose(shop, leg)
    (queued,) = await shop.mint_rows()
    assert (queued.state, queued.recipient, queued.receiver) == ("queued", OTHER, "unknown")
    assert (queued.attempts, queued.skip_reason, queued.tx_id, queued.ended_at_ms) == (0, None, None, None)
    assert queued.purchase_number == before.purchase_number

    await shop.settle(minting)
    assert chain.holding(1) == {OTHER: 1}
    assert await shop.told(leg) == ["skipped", "minted"]
    (after,) = await shop.mint_rows()
    assert (after.state, after.purchase_number) == ("final", before.purchase_number)


async def test_a_custodial_account_needs_no_asking_about_code(shop: World, chain: FakeChain) -> None:
    chain.refusing.add(REFUSES)
    await shop.define()
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request(recipient=REFUSES, holder_key=None))
    await shop.settle(minting)
    mine = await shop.signer.address("customer/7")
    assert await _choose(shop, leg, mine, "customer/7")
    (queued,) = await shop.mint_rows()
    assert (queued.receiver, queued.holder_key) == ("plain", "customer/7")
    await shop.settle(minting)
    assert chain.holding(1) == {mine: 1}


async def test_a_queued_mint_can_change_its_recipient(shop: World, chain: FakeChain) -> None:
    (leg,) = await shop.request(shop.a_request())
    assert await _choose(shop, leg)
    await shop.define()
    minting = await shop.open()
    await shop.settle(minting)
    assert chain.holding(1) == {OTHER: 1}


async def test_a_sent_mint_keeps_its_recipient(tmp_path: Path) -> None:
    chain = FakeChain()
    async with world(tmp_path, chain) as shop:
        await shop.define()
        minting = await shop.open()
        await shop.settle(minting)
        chain.automine = False
        (leg,) = await shop.request(shop.a_request())
        await shop.until(lambda: _stepped_to(shop, minting, "sent"))
        assert not await _choose(shop, leg)
        chain.mine()
        await shop.settle(minting)
        assert OTHER not in chain.holding(1)


async def test_a_claimed_mint_keeps_its_recipient(shop: World) -> None:
    (leg,) = await shop.request(shop.a_request())
    await shop.store.write(lambda uow: uow.core(update(mint).values(state="claimed")))
    assert not await _choose(shop, leg)
    (row,) = await shop.mint_rows()
    assert row.recipient != OTHER


async def test_a_minted_token_stays_where_it_is(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request())
    await shop.settle(minting)
    assert not await _choose(shop, leg)
    await shop.settle(minting)
    assert OTHER not in chain.holding(1)


async def test_a_canceled_mint_stays_canceled(shop: World) -> None:
    (leg,) = await shop.request(shop.a_request())
    assert await shop.store.write(lambda uow: cancel_mint(uow, leg))
    assert not await _choose(shop, leg)


async def test_a_number_that_turns_out_minted_is_never_minted_twice(shop: World, chain: FakeChain) -> None:
    """A chain that changed below the depth we trust: the refusal is gone and the first recipient has it."""
    chain.refusing.add(REFUSES)
    await shop.define()
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request(recipient=REFUSES, holder_key=None))
    await shop.settle(minting)
    (row,) = await shop.mint_rows()
    chain.state.minted.add(row.purchase_number)
    chain.state.balances[REFUSES, 1] = 1

    assert await _choose(shop, leg)
    await shop.settle(minting)
    assert chain.holding(1) == {REFUSES: 1}
    assert await shop.states() == {"final": 1}
    assert await shop.told(leg) == ["skipped", "minted"]


async def test_what_is_no_address_or_no_mint_is_refused(shop: World) -> None:
    (leg,) = await shop.request(shop.a_request())
    with pytest.raises(InvalidError, match=r"mint\.invalid"):
        await _choose(shop, leg, "0x12")
    with pytest.raises(NotFoundError, match=r"mint\.unknown"):
        await _choose(shop, "leg_none")


async def _stepped_to(shop: World, minting: Any, state: str) -> bool:
    await minting.recover()
    return (await shop.states())[state] > 0
