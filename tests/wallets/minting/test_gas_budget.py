"""Gas by merchant and day: set aside at the claim, corrected at the end, and a limit that holds one merchant."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_chain import FakeChain
from tests.wallets.minting.lane_world import World, world
from tests.wallets.minting.own_world import ARMOUR, Foreign1155, a_contract, define_own
from wallets.minting import gas
from wallets.minting.budget import DAY_MS, GasAccount, affordable, gas_accounts, set_gas_limit
from wallets.minting.requests import cancel_mint, choose_recipient
from wallets.minting.tables import gas_day

OUTSIDE = "0x52908400098527886E0F7030069857D2E4169EE7"
ONE = gas.BASE + gas.EDITION + gas.MINT
"""What a mint needs that is alone in its batch."""


@pytest.fixture
async def shop(tmp_path: Path, chain: FakeChain) -> Any:
    async with world(tmp_path, chain) as opened:
        # Begin just after midnight of UTC: no test crosses it by chance.
        opened.clock.leap_ms = DAY_MS - opened.clock.now_ms() % DAY_MS + 1_000
        yield opened


async def _account(shop: World, merchant_id: str = "mer_1", per_day: int = 0) -> GasAccount:
    accounts = await shop.store.read(lambda reader: gas_accounts(reader, per_day))
    (found,) = [one for one in accounts if one.merchant_id == merchant_id]
    return found


async def _requests(shop: World, count: int, merchant_id: str = "mer_1", item: int = 1) -> list[str]:
    return await shop.request(
        *(shop.a_request(item, customer=index, merchant_id=merchant_id) for index in range(count))
    )


async def test_what_was_set_aside_is_corrected_to_what_was_used(tmp_path: Path) -> None:
    chain = FakeChain()
    async with world(tmp_path, chain) as shop:
        await shop.define()
        minting = await shop.open()
        await shop.settle(minting)
        chain.automine = False
        await _requests(shop, 1)
        await shop.until(lambda: _stepped_to(shop, minting, "sent"))
        assert (await _account(shop)).reserved == ONE
        chain.gas_used = 77_777
        chain.mine()
        await shop.settle(minting)
        account = await _account(shop)
        assert (account.reserved, account.used) == (0, 77_777)


async def test_a_batch_is_shared_by_what_its_merchants_need(shop: World, chain: FakeChain) -> None:
    chain.gas_used = 1_000_003
    await shop.define(1)
    await shop.define(2)
    minting = await shop.open()
    await shop.settle(minting)
    await _requests(shop, 3)
    await _requests(shop, 1, "mer_2", item=2)
    await shop.settle(minting)
    first, second = await _account(shop), await _account(shop, "mer_2")
    assert first.used + second.used == 1_000_003
    assert first.used / second.used == pytest.approx((3 * 36 + 32) / (36 + 32), rel=1e-4)


async def test_a_merchant_over_its_limit_waits_and_the_others_do_not(shop: World, chain: FakeChain) -> None:
    chain.gas_used = ONE
    await shop.define(1)
    await shop.define(2)
    minting = await shop.open(gas_per_day=ONE)
    mine = await _requests(shop, 5)
    others = await _requests(shop, 1, "mer_2", item=2)
    await shop.settle(minting)
    assert await shop.told(mine[0]) == ["minted"]
    assert await shop.told(others[0]) == ["minted"]
    assert (await shop.states()) == {"final": 2, "held": 4}
    status = await minting.status()
    assert (status.queued, status.held) == (0, 4)
    account = await _account(shop, per_day=ONE)
    assert account.held == 4
    # They shared what a batch costs by itself, so a little is left; not enough for another one.
    assert account.left is not None
    assert account.left < ONE


async def test_held_mints_do_not_starve_those_behind_them(shop: World, chain: FakeChain) -> None:
    chain.gas_used = ONE
    await shop.define(1)
    await shop.define(2)
    minting = await shop.open(gas_per_day=ONE, batch_items=4)
    await _requests(shop, 60)
    (last,) = await _requests(shop, 1, "mer_2", item=2)
    await shop.settle(minting)
    assert await shop.told(last) == ["minted"]


async def test_the_next_day_it_goes_on_in_order(shop: World, chain: FakeChain) -> None:
    chain.gas_used = ONE
    await shop.define()
    minting = await shop.open(gas_per_day=ONE)
    legs = await _requests(shop, 3)
    for day in range(3):
        await shop.settle(minting)
        assert (await shop.states())["final"] == day + 1
        assert await shop.told(legs[day]) == ["minted"]
        shop.clock.leap_ms += DAY_MS
        minting = await shop.open(gas_per_day=ONE)
        await minting.recover()
    rows = await shop.table(gas_day)
    assert [(row.reserved, row.used) for row in rows] == [(0, ONE)] * 3


async def test_what_estimates_set_aside_too_much_is_there_again_the_same_day(
    shop: World, chain: FakeChain
) -> None:
    chain.gas_used = ONE // 4
    await shop.define()
    minting = await shop.open(gas_per_day=ONE * 5 // 4)
    await _requests(shop, 2)
    await shop.settle(minting)
    minting = await shop.open(gas_per_day=ONE * 5 // 4)
    await shop.until(lambda: _stepped_to(shop, minting, "final", 2))


async def test_a_merchant_may_have_a_limit_of_its_own(shop: World, chain: FakeChain) -> None:
    chain.gas_used = ONE
    await shop.define(1)
    await shop.define(2)
    await shop.store.write(lambda uow: set_gas_limit(uow, "mer_2", 0))
    minting = await shop.open(gas_per_day=1)
    await _requests(shop, 1)
    await _requests(shop, 3, "mer_2", item=2)
    await shop.settle(minting)
    assert (await shop.states()) == {"held": 1, "final": 3}
    await shop.store.write(lambda uow: set_gas_limit(uow, "mer_1", 5 * ONE))
    minting = await shop.open(gas_per_day=1)
    await shop.until(lambda: _stepped_to(shop, minting, "final", 4))
    await shop.store.write(lambda uow: set_gas_limit(uow, "mer_1", None))
    assert (await _account(shop, per_day=1)).limit == 1


async def test_a_reverted_transaction_counts_once(shop: World, chain: FakeChain) -> None:
    armour = chain.foreign[ARMOUR] = Foreign1155()
    armour.reverting = 2
    chain.gas_used = 40_000
    await define_own(shop, a_contract())
    minting = await shop.open()
    await shop.request(shop.a_request())
    await shop.settle(minting)
    account = await _account(shop)
    assert (account.reserved, account.used) == (0, 3 * 40_000)


async def test_a_transaction_whose_fee_was_raised_counts_once(tmp_path: Path) -> None:
    chain = FakeChain()
    async with world(tmp_path, chain) as shop:
        await shop.define()
        minting = await shop.open(stuck_after_ms=1, rebroadcast_after_ms=1)
        await shop.settle(minting)
        chain.automine = False
        await _requests(shop, 1)
        await shop.until(lambda: _stepped_to(shop, minting, "sent"))
        (tx,) = [tx for tx in await shop.txs() if tx.kind == "mint"]

        async def bumped() -> bool:
            await minting.recover()
            shop.clock.leap_ms += 10
            return len(await shop.bytes_of(tx.tx_id)) > 1

        await shop.until(bumped)
        chain.mine()
        await shop.settle(minting)
        account = await _account(shop)
        assert (account.reserved, account.used) == (0, chain.gas_used)


async def test_a_nonce_that_went_to_somebody_else_costs_nothing(tmp_path: Path) -> None:
    chain = FakeChain()
    async with world(tmp_path, chain) as shop:
        await shop.define()
        minting = await shop.open(lost_after_ms=1_000)
        await shop.settle(minting)
        chain.automine = False
        await _requests(shop, 1)
        await shop.until(lambda: _stepped_to(shop, minting, "sent"))
        chain.drop_pool()
        sender = await shop.signer.address("minter/0")
        chain.state.nonces[sender] = chain.state.nonces[sender] + 1
        shop.clock.leap_ms += 5_000
        chain.automine = True
        await shop.settle(minting)
        account = await _account(shop)
        assert (account.reserved, account.used) == (0, chain.gas_used)


async def test_a_held_mint_can_be_canceled_or_get_another_recipient(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open(gas_per_day=1)
    one, two = await _requests(shop, 2)
    await shop.settle(minting)
    assert (await shop.states()) == {"held": 2}
    assert await shop.store.write(lambda uow: cancel_mint(uow, one))
    assert await shop.store.write(lambda uow: choose_recipient(uow, two, recipient=OUTSIDE, holder_key=None))
    await shop.store.write(lambda uow: set_gas_limit(uow, "mer_1", 10 * ONE))
    minting = await shop.open()
    await shop.until(lambda: _stepped_to(shop, minting, "final"))
    assert list(chain.holding(1)) == [OUTSIDE]


async def test_a_mint_on_a_merchants_contract_waits_for_gas_too(shop: World, chain: FakeChain) -> None:
    armour = chain.foreign[ARMOUR] = Foreign1155()
    chain.gas_used = 100_000
    await define_own(shop, a_contract(gas=100_000))
    minting = await shop.open(gas_per_day=250_000)
    await shop.request(*(shop.a_request(customer=index) for index in range(4)))
    await shop.settle(minting)
    assert armour.calls == 2
    assert (await shop.states()) == {"final": 2, "held": 2}


async def test_a_mint_that_needs_less_than_a_batch_is_let_go_too(shop: World, chain: FakeChain) -> None:
    chain.foreign[ARMOUR] = Foreign1155()
    chain.gas_used = gas.BASE
    await define_own(shop, a_contract(gas=gas.BASE))
    minting = await shop.open(gas_per_day=gas.BASE + gas.MINT)
    await _requests(shop, 2)
    await shop.settle(minting)
    assert await shop.states() == {"final": 1, "held": 1}
    shop.clock.leap_ms += DAY_MS
    await shop.until(lambda: _stepped_to(shop, minting, "final", 2))


@given(
    total=st.integers(0, 1 << 24),
    weighed=st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 10**7), min_size=1),
)
def test_the_shares_of_a_batch_sum_to_its_gas(total: int, weighed: dict[str, int]) -> None:
    parts = gas.apportion(total, weighed)
    assert sum(parts.values()) == total
    whole = sum(weighed.values())
    for name, weight in weighed.items():
        assert abs(parts[name] - total * weight / whole) <= 1


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=60),
    limits=st.lists(st.integers(0, 3_000_000), min_size=4, max_size=4),
    most=st.integers(ONE, 3_000_000),
)
def test_what_is_claimed_stays_within_every_merchants_limit(
    rows: list[tuple[int, int]], limits: list[int], most: int
) -> None:
    queued = [
        SimpleNamespace(merchant_id=f"mer_{who}", item_number=10 * who + item, serial=None)
        for who, item in rows
    ]
    left = {f"mer_{who}": limit for who, limit in enumerate(limits)}
    kept, held = affordable(_Accounts(left), queued, 0, single=lambda row: None)  # type: ignore[arg-type]  # its two reads
    assert sorted(map(id, [*kept, *held])) == sorted(map(id, queued))
    # A merchant's mints keep their order: none is claimed behind one that is held.
    for who in left:
        its = [row for row in queued if row.merchant_id == who]
        assert [row for row in kept if row.merchant_id == who] == its[
            : sum(row.merchant_id == who for row in kept)
        ]
    if not kept:
        return
    chosen, estimate = gas.fill(kept, most)
    shares = gas.apportion(estimate, gas.weights(chosen))
    assert sum(shares.values()) == estimate
    assert all(not left[who] or share <= left[who] for who, share in shares.items())


class _Accounts:
    """The accounts of merchants that have used nothing, with a limit each (0: none)."""

    def __init__(self, limits: dict[str, int]) -> None:
        self._limits = limits
        self.now_ms = 0

    def row(self, statement: Any, params: dict[str, Any]) -> Any:
        return SimpleNamespace(reserved=0, used=0, per_day=self._limits[params["merchant"]])


async def _stepped_to(shop: World, minting: Any, state: str, count: int = 1) -> bool:
    await minting.recover()
    return (await shop.states())[state] >= count
