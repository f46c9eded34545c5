from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from tests.support.fake_chain import CHAIN_ID, FakeChain
from tests.wallets.minting.lane_world import World, world
from wallets.minting.requests import define_item, request_mint, request_return, tokens_of

OUTSIDE = "0x52908400098527886E0F7030069857D2E4169EE7"


@pytest.fixture
async def shop(tmp_path: Path) -> Any:
    async with world(tmp_path, FakeChain()) as opened:
        yield opened


async def test_a_request_is_queued_once(shop: World) -> None:
    one = replace(shop.a_request(), recipient=OUTSIDE)
    assert await shop.store.write(lambda uow: request_mint(uow, one))
    assert not await shop.store.write(lambda uow: request_mint(uow, one))
    (view,) = await shop.mints()
    assert (view.state, view.contract, view.tx_hash) == ("queued", None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 0},
        {"amount": 2, "serial": 1},
        {"serial": 0},
        {"item_number": 0},
        {"item_number": 1 << 63},
        {"recipient": "0x12"},
        {"recipient": "0x" + "g" * 40},
    ],
)
async def test_a_request_the_contract_could_never_carry_out_is_refused(
    shop: World, changes: dict[str, Any]
) -> None:
    one = replace(shop.a_request(), **{"recipient": OUTSIDE, **changes})
    with pytest.raises(InvalidError, match=r"mint\.invalid"):
        await shop.store.write(lambda uow: request_mint(uow, one))


async def test_requests_wake_the_lanes_after_the_commit(shop: World) -> None:
    woken = []
    shop.store.signals.on("mints", lambda: woken.append(True))
    await shop.request(shop.a_request())
    await shop.store.read(lambda reader: None)
    assert woken == [True]


async def test_an_unknown_or_unfinished_mint_cannot_be_returned(shop: World) -> None:
    (leg,) = await shop.request(shop.a_request())
    with pytest.raises(ConflictError, match=r"mint\.not_final"):
        await shop.store.write(lambda uow: request_return(uow, leg))
    with pytest.raises(NotFoundError, match=r"mint\.unknown"):
        await shop.store.write(lambda uow: request_return(uow, "leg_none"))


async def test_a_token_in_an_outside_wallet_cannot_be_taken(shop: World) -> None:
    (leg,) = await shop.request(shop.a_request(recipient=OUTSIDE, holder_key=None))
    with pytest.raises(ConflictError, match=r"mint\.return_needs_holder"):
        await shop.store.write(lambda uow: request_return(uow, leg))


async def test_an_item_is_defined_once_and_its_cap_is_for_ever(shop: World) -> None:
    def define(cap: int | None, *, numbered: bool = False) -> Any:
        return lambda uow: define_item(uow, item_number=4, sku="lamp", cap=cap, numbered=numbered)

    assert await shop.store.write(define(10))
    assert not await shop.store.write(define(10))
    with pytest.raises(ConflictError, match=r"mint\.cap_fixed"):
        await shop.store.write(define(11))
    with pytest.raises(ConflictError, match=r"mint\.cap_fixed"):
        await shop.store.write(define(10, numbered=True))


@pytest.mark.parametrize("cap", [0, 2**128])
async def test_a_cap_the_contract_refuses_is_refused(shop: World, cap: int) -> None:
    with pytest.raises(InvalidError, match=r"mint\.invalid"):
        await shop.store.write(
            lambda uow: define_item(uow, item_number=4, sku="lamp", cap=cap, numbered=False)
        )


async def test_a_wallet_lists_its_tokens_page_by_page(shop: World) -> None:
    await shop.define()
    minting = await shop.open()
    mine = await shop.request(*(shop.a_request() for _ in range(5)))
    await shop.request(shop.a_request(customer=1))
    await shop.settle(minting)
    address = await shop.signer.address("customer/0")
    first = await shop.store.read(lambda reader: tokens_of(reader, address, limit=3))
    rest = await shop.store.read(lambda reader: tokens_of(reader, address, after=first[-1].leg_id))
    assert [view.leg_id for view in [*first, *rest]] == mine
    (view, *_) = first
    assert (view.state, view.contract, view.chain_id) == ("final", minting.contract, CHAIN_ID)
    assert view.tx_hash is not None
    assert view.tx_hash.startswith("0x")


def test_asking_for_a_mint_loads_no_chain_library() -> None:
    script = (
        "import sys, wallets.minting.requests, wallets.minting.tables, wallets.custody.accounts; "
        "heavy = {'web3', 'eth', 'eth_abi', 'eth_utils', 'eth_account', 'coincurve'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
