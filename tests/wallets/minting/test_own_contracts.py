"""Mints on merchants' own contracts: one nonce each, settled by its receipt, tried again only when reverted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from gateway.kernel.errors import ConflictError, InvalidError
from tests.support.fake_chain import CHAIN_ID, FakeChain
from tests.wallets.minting.lane_world import World, told_outcome, world
from tests.wallets.minting.own_world import (
    ARMOUR,
    ERC721_MINT,
    ERC1155_MINT,
    OUTSIDE,
    Foreign721,
    Foreign1155,
    a_contract,
    define_own,
)
from wallets.minting.chain.port import ChainUnavailable
from wallets.minting.model import token_id_of
from wallets.minting.own_calls import CallDescription, Standard
from wallets.minting.own_contracts import ContractRefusedError, put_contract
from wallets.minting.parked import give_up, mint_again, minted_after_all, parked_mints
from wallets.minting.requests import (
    cancel_mint,
    choose_recipient,
    request_mint,
    request_return,
)
from wallets.minting.tables import chain_tx, own_contract


async def test_a_mint_on_a_merchants_contract_is_made_there(shop: World, chain: FakeChain) -> None:
    chain.foreign[ARMOUR] = Foreign1155()
    await define_own(shop, a_contract(), first_token_id=77)
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request(amount=3))
    await shop.settle(minting)
    holder = await shop.signer.address("customer/0")
    assert chain.state.foreign[ARMOUR] == [(holder, 77)]
    (view,) = await shop.mints()
    assert (view.state, view.contract, view.token_id) == ("final", ARMOUR, 77)
    assert not view.returnable
    await shop.check_told_once([leg])
    assert chain.state.minted == set()


async def test_a_mint_where_there_is_no_contract_is_skipped_and_nothing_is_sent(
    shop: World, chain: FakeChain
) -> None:
    await define_own(shop, a_contract())
    await shop.define(2)
    minting = await shop.open()
    before = len(await shop.txs())
    legs = await shop.request(*(shop.a_request(customer=index) for index in range(3)))
    await shop.request(shop.a_request(2))
    await shop.settle(minting)
    assert [await shop.told(leg) for leg in legs] == [["skipped"]] * 3
    assert {row.skip_reason for row in await shop.table(told_outcome) if row.kind == "skipped"} == {
        "contract_missing"
    }
    assert await shop.states() == {"skipped": 3, "final": 1}
    assert [tx.kind for tx in await shop.txs()][before:].count("own_mint") == 0
    # It was deployed meanwhile: another recipient is chosen, and it is looked for again.
    chain.foreign[ARMOUR] = Foreign1155()
    assert await shop.store.write(
        lambda uow: choose_recipient(uow, legs[0], recipient=OUTSIDE, holder_key=None)
    )
    await shop.settle(minting)
    assert chain.state.foreign[ARMOUR] == [(OUTSIDE, token_id_of(1, None))]


async def test_a_mint_waits_while_the_chain_does_not_say_what_is_there(shop: World, chain: FakeChain) -> None:
    chain.foreign[ARMOUR] = Foreign1155()
    await define_own(shop, a_contract())
    minting = await shop.open()

    def silent(method: str) -> None:
        if method == "code":
            raise ChainUnavailable("silent")

    chain.fail = silent
    (leg,) = await shop.request(shop.a_request())
    with pytest.raises(ChainUnavailable):
        await minting.recover()
    assert await shop.states() == {"queued": 1}
    chain.fail = lambda method: None
    await shop.settle(minting)
    assert await shop.told(leg) == ["minted"]


async def test_every_mint_there_has_a_transaction_of_its_own(shop: World, chain: FakeChain) -> None:
    chain.foreign[ARMOUR] = Foreign1155()
    await define_own(shop, a_contract())
    await shop.define(2)
    minting = await shop.open()
    own = await shop.request(*(shop.a_request(customer=index) for index in range(5)))
    ours = await shop.request(*(shop.a_request(2, customer=index) for index in range(5)))
    await shop.settle(minting)
    kinds = [tx.kind for tx in await shop.txs()]
    assert (kinds.count("own_mint"), kinds.count("mint")) == (5, 1)
    await shop.check_told_once([*own, *ours])


async def test_the_contracts_own_ids_are_read_from_its_events(shop: World, chain: FakeChain) -> None:
    chain.foreign[ARMOUR] = Foreign721()
    await define_own(shop, a_contract(ERC721_MINT))
    minting = await shop.open()
    await shop.request(*(shop.a_request(customer=index) for index in range(3)))
    await shop.settle(minting)
    views = {view.recipient: view.token_id for view in await shop.mints()}
    assert views == dict(chain.state.foreign[ARMOUR])
    assert sorted(views.values()) == [100, 101, 102]


async def test_numbered_copies_follow_the_first_id(shop: World, chain: FakeChain) -> None:
    chain.foreign[ARMOUR] = Foreign1155()
    await define_own(shop, a_contract(), numbered=True, first_token_id=500)
    minting = await shop.open()
    await shop.request(*(shop.a_request(serial=serial) for serial in (1, 2, 7)))
    await shop.settle(minting)
    assert sorted(token_id for _, token_id in chain.state.foreign[ARMOUR]) == [500, 501, 506]


async def test_a_reverted_call_is_tried_again(shop: World, chain: FakeChain) -> None:
    armour = chain.foreign[ARMOUR] = Foreign1155()
    armour.reverting = 2
    await define_own(shop, a_contract())
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request())
    await shop.settle(minting)
    assert armour.calls == 3
    assert len(chain.state.foreign[ARMOUR]) == 1
    await shop.check_told_once([leg])


async def test_a_call_that_always_reverts_is_skipped(shop: World, chain: FakeChain) -> None:
    armour = chain.foreign[ARMOUR] = Foreign1155()
    armour.reverting = 99
    await define_own(shop, a_contract())
    await shop.define(2)
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request())
    await shop.request(shop.a_request(2))
    await shop.settle(minting)
    assert armour.calls == 3
    assert await shop.told(leg) == ["skipped"]
    assert {row.skip_reason for row in await shop.table(told_outcome) if row.kind == "skipped"} == {
        "call_reverted"
    }
    assert (await shop.states()) == {"skipped": 1, "final": 1}


async def test_a_skipped_one_may_go_to_another_recipient_there(shop: World, chain: FakeChain) -> None:
    armour = chain.foreign[ARMOUR] = Foreign1155()
    armour.reverting = 3
    await define_own(shop, a_contract())
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request())
    await shop.settle(minting)
    assert await shop.store.write(lambda uow: choose_recipient(uow, leg, recipient=OUTSIDE, holder_key=None))
    await shop.settle(minting)
    assert [holder for holder, _ in chain.state.foreign[ARMOUR]] == [OUTSIDE]
    assert await shop.told(leg) == ["skipped", "minted"]


async def test_a_call_without_the_event_is_parked_and_never_sent_again(shop: World, chain: FakeChain) -> None:
    armour = chain.foreign[ARMOUR] = Foreign1155()
    armour.silent = True
    await define_own(shop, a_contract())
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request())
    await shop.settle(minting)
    for _ in range(3):
        await minting.recover()
    assert armour.calls == 1
    assert (await minting.status()).parked == 1
    assert await shop.told(leg) == []
    (parked,) = await shop.store.read(parked_mints)
    assert (parked.leg_id, parked.contract, parked.failure) == (leg, ARMOUR, None)
    assert parked.tx_hash is not None


async def test_a_nonce_that_went_to_somebody_else_parks_its_mint(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        armour = chain.foreign[ARMOUR] = Foreign1155()
        await define_own(shop, a_contract())
        leg, minting = await _sent(shop, chain, lost_after_ms=1_000)
        chain.drop_pool()
        sender = await shop.signer.address("minter/0")
        chain.state.nonces[sender] = chain.state.nonces[sender] + 1
        shop.clock.leap_ms += 5_000
        await shop.settle(minting)
        assert (await shop.states()) == {"parked": 1}
        assert armour.calls == 0

        await shop.store.write(lambda uow: mint_again(uow, leg))
        chain.automine = True
        await shop.settle(minting)
        assert len(chain.state.foreign[ARMOUR]) == 1
        await shop.check_told_once([leg])


async def test_a_person_may_give_a_parked_mint_up_or_say_that_it_was_minted(
    shop: World, chain: FakeChain
) -> None:
    armour = chain.foreign[ARMOUR] = Foreign1155()
    armour.silent = True
    await define_own(shop, a_contract())
    minting = await shop.open()
    lost, found = await shop.request(shop.a_request(), shop.a_request(customer=1))
    await shop.settle(minting)
    await shop.store.write(lambda uow: give_up(uow, lost, shop.on_outcomes))
    with pytest.raises(InvalidError):
        await shop.store.write(lambda uow: minted_after_all(uow, found, 1 << 256, shop.on_outcomes))
    await shop.store.write(lambda uow: minted_after_all(uow, found, 9, shop.on_outcomes))
    assert (await shop.told(lost), await shop.told(found)) == (["skipped"], ["minted"])
    views = {view.leg_id: view for view in await shop.mints()}
    assert (views[found].state, views[found].token_id) == ("final", 9)
    assert (views[lost].state, views[lost].skip_reason) == ("skipped", "given_up")


async def test_before_the_depth_it_is_told_minted_and_then_final(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        chain.foreign[ARMOUR] = Foreign721()
        await define_own(shop, a_contract(ERC721_MINT))
        leg, minting = await _sent(shop, chain, confirmations=3)
        chain.mine()
        await shop.until(lambda: _stepped_to(shop, minting, "minted"))
        assert await shop.told(leg) == ["minted"]
        chain.mine(3)
        await shop.settle(minting)
        assert await shop.told(leg) == ["minted", "final"]


async def test_a_reorganization_reopens_it_and_its_new_id_is_told(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        chain.foreign[ARMOUR] = Foreign721()
        await define_own(shop, a_contract(ERC721_MINT))
        leg, minting = await _sent(shop, chain, confirmations=3, rebroadcast_after_ms=1)
        chain.mine()
        await shop.until(lambda: _stepped_to(shop, minting, "minted"))
        chain.reorg(1)
        # On the new chain somebody else has the id already.
        chain.state.foreign[ARMOUR] = [(OUTSIDE, 100)]
        await shop.until(lambda: _stepped_to(shop, minting, "sent"))
        await shop.until(lambda: _stepped_to(shop, minting, "minted", chain))
        await shop.until(lambda: _stepped_to(shop, minting, "final", chain))
        holder = await shop.signer.address("customer/0")
        assert chain.state.foreign[ARMOUR] == [(OUTSIDE, 100), (holder, 101)]
        (view,) = await shop.mints()
        assert view.token_id == 101
        assert await shop.told(leg) == ["minted", "reopened", "minted", "final"]


async def test_the_receipt_of_a_block_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        chain.foreign[ARMOUR] = Foreign1155()
        await define_own(shop, a_contract())
        leg, minting = await _sent(shop, chain)
        chain.mine()
        chain.reorg(1)
        chain.lie_about_receipts = True
        # Another transaction of that sender made the nonce grow on the new chain.
        sender = await shop.signer.address("minter/0")
        chain.state.nonces[sender] = chain.state.nonces[sender] + 1
        for _ in range(5):
            await minting.recover()
        assert (await shop.states()) == {"sent": 1}
        assert await shop.told(leg) == []


async def test_what_was_signed_survives_a_restart_and_is_minted_once(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        armour = chain.foreign[ARMOUR] = Foreign1155()
        await define_own(shop, a_contract())
        leg, _ = await _sent(shop, chain)
        chain.drop_pool()
        chain.automine = True
        minting = await shop.open()
        await shop.settle(minting)
        assert armour.calls == 1
        await shop.check_told_once([leg])


async def test_a_token_there_cannot_be_taken_back(shop: World, chain: FakeChain) -> None:
    chain.foreign[ARMOUR] = Foreign1155()
    await define_own(shop, a_contract())
    minting = await shop.open()
    (leg,) = await shop.request(shop.a_request())
    await shop.settle(minting)
    with pytest.raises(ConflictError, match=r"mint\.return_needs_holder"):
        await shop.store.write(lambda uow: request_return(uow, leg))


async def test_a_queued_one_can_be_canceled(shop: World, chain: FakeChain) -> None:
    armour = chain.foreign[ARMOUR] = Foreign1155()
    await define_own(shop, a_contract())
    (leg,) = await shop.request(shop.a_request())
    assert await shop.store.write(lambda uow: cancel_mint(uow, leg))
    await shop.settle(await shop.open())
    assert armour.calls == 0


async def test_one_call_of_erc721_mints_one(shop: World) -> None:
    await define_own(shop, a_contract(ERC721_MINT))
    with pytest.raises(InvalidError, match=r"mint\.invalid"):
        await shop.store.write(lambda uow: request_mint(uow, shop.a_request(amount=2, recipient=OUTSIDE)))


async def test_an_edition_stays_on_its_contract(shop: World) -> None:
    await define_own(shop, a_contract())
    with pytest.raises(ConflictError, match=r"mint\.contract_fixed"):
        await shop.define(1)
    with pytest.raises(ConflictError, match=r"mint\.contract_fixed"):
        await define_own(shop, a_contract(), first_token_id=4)


async def test_a_mint_asked_for_before_its_edition_is_known_goes_there_too(
    shop: World, chain: FakeChain
) -> None:
    chain.foreign[ARMOUR] = Foreign1155()
    (leg,) = await shop.request(shop.a_request())
    await define_own(shop, a_contract())
    await shop.settle(await shop.open())
    assert len(chain.state.foreign[ARMOUR]) == 1
    await shop.check_told_once([leg])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chain_id": 5}, "chain_id"),
        ({"address": OUTSIDE}, "address"),
        ({"description": ERC721_MINT}, "standard"),
        (
            {"description": CallDescription(Standard.ERC1155, "mint(address,uint64)", ("to", "amount"))},
            "arguments",
        ),
    ],
)
async def test_what_tokens_depend_on_cannot_change(shop: World, changes: Any, field: str) -> None:
    await define_own(shop, a_contract())
    with pytest.raises(ContractRefusedError, match=r"mint\.contract_refused") as caught:
        await shop.store.write(lambda uow: put_contract(uow, a_contract(**changes)))
    assert caught.value.field == field


async def test_the_call_and_its_gas_may_change(shop: World) -> None:
    await define_own(shop, a_contract())
    other = CallDescription(Standard.ERC1155, "give(uint256,address)", ("id", "to"))
    await shop.store.write(lambda uow: put_contract(uow, a_contract(other, gas=90_000)))
    (row,) = await shop.table(own_contract)
    assert (row.call, row.gas) == ("give(uint256,address)", 90_000)


async def test_nobody_may_name_another_merchants_contract_or_ours(shop: World) -> None:
    await define_own(shop, a_contract())
    with pytest.raises(ContractRefusedError, match="another merchant"):
        await shop.store.write(lambda uow: put_contract(uow, a_contract(merchant_id="mer_2")))
    minting = await shop.open()
    with pytest.raises(ContractRefusedError, match="installation's own"):
        await shop.store.write(
            lambda uow: put_contract(uow, a_contract(name="ours", address=minting.contract))
        )
    with pytest.raises(ContractRefusedError, match=f"mints on chain {CHAIN_ID}"):
        await shop.store.write(
            lambda uow: put_contract(uow, a_contract(name="far", chain_id=1, address=OUTSIDE))
        )


async def test_a_contract_on_another_chain_is_never_called(shop: World, chain: FakeChain) -> None:
    armour = chain.foreign[ARMOUR] = Foreign1155()
    await define_own(shop, a_contract(chain_id=1))
    await shop.define(2)
    minting = await shop.open()
    await shop.request(shop.a_request(), shop.a_request(2))
    for _ in range(8):
        await minting.recover()
    assert armour.calls == 0
    assert (await shop.states()) == {"queued": 1, "final": 1}


async def test_the_gas_limit_is_the_contracts_own(shop: World, chain: FakeChain) -> None:
    chain.foreign[ARMOUR] = Foreign1155()
    await define_own(shop, a_contract(gas=123_456))
    minting = await shop.open()
    await shop.request(shop.a_request())
    await shop.settle(minting)
    (tx,) = [tx for tx in await shop.txs() if tx.kind == "own_mint"]
    assert (tx.gas, tx.gas_used) == (123_456, 21_000)


async def test_our_own_contract_is_never_called_for_a_merchant(shop: World, chain: FakeChain) -> None:
    """Even if a row says so: the lane's key may do everything there."""
    minting = await shop.open()
    await define_own(shop, a_contract(CallDescription(Standard.ERC1155, "x(address,uint256)", ("to", "id"))))
    await shop.store.write(lambda uow: uow.core(update(own_contract).values(address=minting.contract)))
    await shop.request(shop.a_request())
    for _ in range(5):
        await minting.recover()
    assert {tx.kind for tx in await shop.table(chain_tx)} == {"deploy"}


def test_the_described_erc1155_call_uses_its_data() -> None:
    assert ERC1155_MINT.names_id
    assert not ERC1155_MINT.is_single
    assert ERC721_MINT.is_single
    assert not ERC721_MINT.names_id


async def _sent(shop: World, chain: FakeChain, **changes: Any) -> tuple[str, Any]:
    """Open minting, and ask for one mint whose transaction is at the node and in no block."""
    chain.automine = True
    minting = await shop.open(**{**changes, "confirmations": 0})
    await shop.settle(minting)
    minting = await shop.open(**changes)
    chain.automine = False
    (leg,) = await shop.request(shop.a_request())
    await shop.until(lambda: _stepped_to(shop, minting, "sent"))
    await minting.recover()
    return leg, minting


async def _stepped_to(shop: World, minting: Any, state: str, mining: FakeChain | None = None) -> bool:
    if mining is not None:
        mining.mine()
    await minting.recover()
    return (await shop.states())[state] > 0


@pytest.mark.parametrize("seed", range(4))
async def test_however_it_goes_no_mint_makes_two_tokens(tmp_path: Path, seed: int) -> None:
    """Reverts, reorganizations within the depth, forgotten pools and restarts, in any order."""
    chance = random.Random(seed)
    chain = FakeChain()
    async with world(tmp_path, chain) as shop:
        armour = chain.foreign[ARMOUR] = Foreign721()
        await define_own(shop, a_contract(ERC721_MINT))
        await shop.settle(await shop.open())
        chain.automine = False
        chain.mine(3)
        changes = {"confirmations": 3, "rebroadcast_after_ms": 1, "stuck_after_ms": 2}
        minting = await shop.open(**changes)
        legs = await shop.request(*(shop.a_request(customer=index) for index in range(8)))
        deadline = asyncio.get_running_loop().time() + 20
        while True:
            states = await shop.states()
            if states["final"] + states["skipped"] == len(legs):
                break
            assert asyncio.get_running_loop().time() < deadline
            match chance.randrange(12):
                case 0:
                    chain.reorg(chance.randint(1, 2))
                case 1:
                    chain.drop_pool()
                case 2:
                    minting = await shop.open(**changes)
                case 3:
                    armour.reverting = chance.randint(0, 2)
                case _:
                    chain.mine()
            await minting.recover()
        holders = Counter(holder for holder, _ in chain.state.foreign[ARMOUR])
        views = {view.leg_id: view for view in await shop.mints()}
        assert holders == Counter(view.recipient for view in views.values() if view.state == "final")
        assert set(chain.state.foreign[ARMOUR]) == {
            (view.recipient, view.token_id) for view in views.values() if view.state == "final"
        }
        for leg in legs:
            assert (await shop.told(leg))[-1] in ("minted", "final", "skipped")
        assert (await minting.status()).parked == 0


async def test_the_gas_of_a_call_pays_at_least_for_its_data(shop: World, chain: FakeChain) -> None:
    """A node refuses a transaction below that for ever, and its nonce would stop the lane."""
    chain.foreign[ARMOUR] = lambda state, tx, logs: False
    call = CallDescription(Standard.ERC721, "give(address,bytes)", ("to", "data"), b"\xff" * 1_024)
    await define_own(shop, a_contract(call, gas=50_000))
    minting = await shop.open()
    await shop.request(shop.a_request())
    await shop.settle(minting)
    for tx in await shop.txs():
        if tx.kind == "own_mint":
            zeros = bytes(tx.calldata).count(0)
            assert tx.gas >= 21_000 + 10 * zeros + 40 * (len(bytes(tx.calldata)) - zeros)
    assert await shop.states() == {"skipped": 1}
