"""The lanes and custody on PostgreSQL: two nodes on one database, each with its own store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from gateway.kernel.ids import TimeSortedIds
from tests.support.fake_chain import FakeChain
from tests.support.postgres import require_server
from tests.wallets.minting.lane_world import LeapClock, World, create_tables
from tests.wallets.minting.own_world import ARMOUR, Foreign1155, a_contract, define_own
from wallets.custody.accounts import Custody
from wallets.minting.budget import gas_accounts
from wallets.minting.requests import cancel_mint, request_return


@pytest.fixture
async def nodes() -> AsyncIterator[list[World]]:
    server = require_server()
    from gateway.kernel.store.postgres import PostgresStore

    name = server.create_database()
    engine = create_engine(server.url(name), poolclass=NullPool)
    with engine.begin() as connection:
        create_tables(connection)
    engine.dispose()
    chain, clock, opened = FakeChain(), LeapClock(), []
    for _ in range(2):
        store = PostgresStore(server.conninfo(name), clock, TimeSortedIds(clock), strict=True, rehearse=True)
        opened.append(World(store, chain, clock))
    opened[1].order_id = opened[0].order_id
    yield opened
    for world in opened:
        await world.store.close()
    server.drop_database(name)


async def test_two_nodes_deploy_one_contract_and_mint_everything_once(nodes: list[World]) -> None:
    first, second = nodes
    both = await asyncio.gather(*(node.open(batch_items=7, window_ms=1, minters=2) for node in nodes))
    assert len(first.chain.state.contracts) == 1
    await first.define(1)
    await second.define(2, cap=20, numbered=True)
    for minting in both:
        minting.start()
    legs = await first.request(*(first.a_request(1, customer=index) for index in range(40)))
    legs += await second.request(*(second.a_request(2, serial=serial) for serial in range(1, 21)))
    dropped = []
    for leg in legs[:40:3]:
        if await second.store.write(lambda uow, leg=leg: cancel_mint(uow, leg)):
            dropped.append(leg)
    kept = [leg for leg in legs if leg not in dropped]
    await first.until(lambda: _final(first, len(kept)))
    for leg in kept[:5]:
        await second.store.write(lambda uow, leg=leg: request_return(uow, leg))
    await first.until(lambda: _returned(first, 5))
    await asyncio.gather(*(minting.stop() for minting in both))
    state = first.chain.state
    assert (state.supply.get(1, 0), state.supply[2]) == (40 - len(dropped), 20)
    assert len(state.returned) == 5
    await first.check_told_once(kept)


async def test_two_nodes_number_accounts_densely(nodes: list[World]) -> None:
    custodies = [Custody(node.signer, node.store) for node in nodes]
    accounts = await asyncio.gather(
        *(custodies[index % 2].account(f"cus_{index // 2}") for index in range(80))
    )
    assert {account.account_index for account in accounts} == set(range(40))
    assert len({(account.customer_id, account.address) for account in accounts}) == 40


async def test_two_nodes_call_a_merchants_contract_once_for_each_mint(nodes: list[World]) -> None:
    first, second = nodes
    armour = first.chain.foreign[ARMOUR] = Foreign1155()
    armour.reverting = 3
    both = await asyncio.gather(*(node.open(window_ms=1) for node in nodes))
    await define_own(first, a_contract(), first_token_id=7)
    for minting in both:
        minting.start()
    legs = await first.request(*(first.a_request(1, customer=index) for index in range(8)))
    await second.request(*(second.a_request(1, customer=index) for index in range(8, 16)))
    await first.until(lambda: _final(first, 16))
    await asyncio.gather(*(minting.stop() for minting in both))
    made = first.chain.state.foreign[ARMOUR]
    assert len(made) == len(set(made)) == 16
    assert len(legs) == 8


async def test_two_nodes_stay_within_one_limit(nodes: list[World]) -> None:
    first, _ = nodes
    first.chain.gas_used = 100_000
    await first.define(1)
    both = await asyncio.gather(*(node.open(batch_items=1, gas_per_day=900_000, minters=2) for node in nodes))
    for minting in both:
        minting.start()
    await first.request(*(first.a_request(1, customer=index) for index in range(30)))
    await first.until(lambda: _resting(first))
    await asyncio.gather(*(minting.stop() for minting in both))
    (account,) = await first.store.read(lambda reader: gas_accounts(reader, 900_000))
    assert account.reserved == 0
    assert 700_000 < account.used <= 900_000
    assert account.used == 100_000 * (await first.states())["final"]


async def _resting(shop: World) -> bool:
    states = await shop.states()
    return states["held"] + states["final"] == 30 and states["final"] >= 8


async def _final(shop: World, count: int) -> bool:
    return (await shop.states())["final"] == count


async def _returned(shop: World, count: int) -> bool:
    states: list[Any] = [view.return_state for view in await shop.mints()]
    return states.count("returned") == count
