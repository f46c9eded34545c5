"""However much waits of one kind, the others get their nonces in turn."""

from __future__ import annotations

from itertools import pairwise

from tests.support.fake_chain import FakeChain
from tests.wallets.minting.lane_world import World
from tests.wallets.minting.own_world import ARMOUR, Foreign1155, a_contract, define_own
from wallets.minting.claims import MOST_DEFINITIONS

WALLET = "0x52908400098527886E0F7030069857D2E4169EE7"


async def test_recipients_with_code_do_not_keep_back_the_others(shop: World, chain: FakeChain) -> None:
    chain.with_code.add(WALLET)
    chain.foreign[ARMOUR] = Foreign1155()
    await shop.define()
    await define_own(shop, a_contract(), 2)
    minting = await shop.open()
    await shop.settle(minting)
    await shop.request(*(shop.a_request(recipient=WALLET, holder_key=None) for _ in range(20)))
    await shop.request(*(shop.a_request(2, customer=index) for index in range(20)))
    await shop.request(*(shop.a_request(customer=index) for index in range(5)))
    await shop.settle(minting)
    assert await shop.states() == {"final": 45}
    kinds = [(tx.kind, len(bytes(tx.calldata)) > 200) for tx in await shop.txs()]
    kinds = kinds[next(i for i, (kind, _) in enumerate(kinds) if kind.endswith("mint")) :]
    # The batch is not the last of all, and the two other kinds alternate.
    assert kinds.index(("mint", True)) < len(kinds) - 5
    own = [place for place, (kind, _) in enumerate(kinds) if kind == "own_mint"]
    assert own[0] <= 2
    assert all(later - earlier <= 3 for earlier, later in pairwise(own))


async def test_many_new_editions_do_not_keep_back_a_mint(shop: World, chain: FakeChain) -> None:
    await shop.define()
    minting = await shop.open(window_ms=0)
    await shop.settle(minting)
    for number in range(2, 2 + 3 * MOST_DEFINITIONS):
        await shop.define(number)
    await shop.request(shop.a_request())
    await shop.settle(minting)
    kinds = [tx.kind for tx in await shop.txs()]
    assert kinds.count("define") >= 4
    assert kinds[-1] == "define"
