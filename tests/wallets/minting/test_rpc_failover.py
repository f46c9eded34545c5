"""Several endpoints as one: who is asked, who is left out, and whose word is enough."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from eth_account import Account

from tests.support.fake_chain import CHAIN_ID, FakeChain
from tests.support.lying_client import LIES, LyingClient
from wallets.minting.chain import endpoint, failover
from wallets.minting.chain.failover import FailoverChain
from wallets.minting.chain.port import (
    AlreadyKnown,
    CallReverted,
    ChainRefused,
    ChainUnavailable,
    Fees,
    FeeTooLow,
    NonceTooLow,
    Throttled,
)

ACCOUNT = Account.from_key(b"\x42" * 32)
OTHER = "0x" + "12" * 20
CODE_AT = "0x" + "34" * 20


@pytest.fixture
def chain() -> FakeChain:
    made = FakeChain(automine=False)
    made.mine(20)
    return made


def _several(chain: FakeChain, count: int, **options: Any) -> tuple[FailoverChain, list[LyingClient]]:
    clients = [LyingClient(chain) for _ in range(count)]
    return FailoverChain(clients, **{"stale_after_s": 0.05, **options}), clients


def _signed(nonce: int = 0) -> bytes:
    fields = {
        "chainId": CHAIN_ID,
        "nonce": nonce,
        "gas": 21_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 1,
        "to": None,
        "value": 0,
        "data": b"",
        "type": 2,
    }
    return bytes(ACCOUNT.sign_transaction({k: v for k, v in fields.items() if v is not None}).raw_transaction)


# Who is asked


async def test_the_first_that_is_well_is_asked(chain: FakeChain) -> None:
    client, (first, second) = _several(chain, 2)
    await client.balance(OTHER)
    assert (first.asked["balance"], second.asked["balance"]) == (1, 0)
    first.away = True
    await client.balance(OTHER)
    await client.balance(OTHER)
    assert (first.asked["balance"], second.asked["balance"]) == (2, 2), "set aside after one failure"


async def test_one_that_is_back_is_asked_again_after_it_has_named_its_chain(chain: FakeChain) -> None:
    client, (first, _second) = _several(chain, 2)
    first.away = True
    await client.balance(OTHER)
    first.away = False
    named = first.asked["chain_id"]
    async with asyncio.timeout(5):
        while first.asked["balance"] < 2:
            await client.balance(OTHER)
            await asyncio.sleep(0.02)
    assert first.asked["chain_id"] > named


async def test_one_that_hangs_costs_one_wait(chain: FakeChain) -> None:
    client, (first, second) = _several(chain, 2)
    first.hangs = True
    for _ in range(5):
        await client.balance(OTHER)
    assert first.asked["balance"] <= 1
    assert second.asked["balance"] == 5


async def test_one_that_hangs_is_proven_while_nobody_waits(
    chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_ASIDE_S", 0.01)
    monkeypatch.setattr(endpoint, "_LONGEST_ASIDE_S", 0.01)
    client, (_first, second) = _several(chain, 2)
    await client.chain_id()
    second.hangs = True
    with pytest.raises(ChainUnavailable):
        await second.head()
    await client.nonce(ACCOUNT.address, 3)
    loop = asyncio.get_running_loop()
    for _ in range(10):
        await asyncio.sleep(0.02)
        start = loop.time()
        assert await client.nonce(ACCOUNT.address, 3) == 0
        assert loop.time() - start < 0.04, "less than the other hangs"
    assert second.asked["chain_id"] > 1, "it was asked meanwhile"


async def test_a_lone_endpoint_that_fails_is_told_and_tried_again(chain: FakeChain) -> None:
    client, (only,) = _several(chain, 1)
    await client.chain_id()
    only.away = True
    with pytest.raises(ChainUnavailable):
        await client.balance(OTHER)
    only.away = False
    assert await client.balance(OTHER) == 10**24


async def test_endpoints_that_are_all_away_are_not_stormed(chain: FakeChain) -> None:
    client, clients = _several(chain, 2)
    await client.chain_id()
    for one in clients:
        one.away = True
    loop = asyncio.get_running_loop()
    start = loop.time()
    tries = 0
    while loop.time() - start < 1.0:
        with pytest.raises(ChainUnavailable):
            await client.balance(OTHER)
        tries += 1
        await asyncio.sleep(0.001)
    asked = sum(sum(one.asked.values()) for one in clients)
    assert asked < 16, "each is tried at growing distances, however often it is asked for"


async def test_too_many_requests_are_answered_by_the_next_endpoint(chain: FakeChain) -> None:
    client, (first, second) = _several(chain, 2)
    await client.chain_id()
    first.errors["balance"] = Throttled("no", 30.0)
    assert await client.balance(OTHER) == 10**24
    assert await client.balance(OTHER) == 10**24
    assert (first.asked["balance"], second.asked["balance"]) == (1, 2)


async def test_too_many_requests_of_a_lone_endpoint_are_asked_again_and_no_failure(chain: FakeChain) -> None:
    client, (only,) = _several(chain, 1)
    await client.chain_id()
    only.errors["balance"] = Throttled("no", 0.05)
    asyncio.get_running_loop().call_later(0.08, only.errors.clear)
    assert await client.balance(OTHER) == 10**24
    assert only.asked["balance"] >= 2


async def test_what_one_has_not_kept_is_asked_of_the_next(chain: FakeChain) -> None:
    client, (first, second) = _several(chain, 2)
    first.errors["block_hash"] = ChainRefused("missing trie node")
    assert await client.block_hash(3) == await chain.block_hash(3)
    assert second.asked["block_hash"] == 1


async def test_a_hundred_who_ask_for_the_head_make_one_request(chain: FakeChain) -> None:
    client, (first, second) = _several(chain, 2)
    await asyncio.gather(*(client.head() for _ in range(100)))
    assert first.asked["head"] == 1
    assert second.asked["head"] == 1


async def test_who_stops_waits_for_no_turn(chain: FakeChain) -> None:
    client, (only,) = _several(chain, 1)
    await client.chain_id()
    only.errors["balance"] = Throttled("no", 30.0)
    waiting = asyncio.create_task(client.balance(OTHER))
    await asyncio.sleep(0.02)
    client.hurry()
    with pytest.raises(ChainUnavailable):
        await asyncio.wait_for(waiting, 1)
    await client.close()
    assert only.closed


async def test_a_quota_that_is_used_up_leaves_the_others_alone(chain: FakeChain) -> None:
    client, (first, _second) = _several(chain, 2, patience_s=0.3)
    await client.chain_id()
    first.errors["code"] = first.errors["nonce"] = Throttled("daily limit", None)
    await asyncio.sleep(0.35)
    assert await client.code(OTHER) == b""
    asked = sum(first.asked.values())
    assert await client.nonce(ACCOUNT.address, 3) == 0
    assert sum(first.asked.values()) == asked


async def test_a_hundred_that_an_endpoint_leaves_hanging_wait_once(chain: FakeChain) -> None:
    client, (only,) = _several(chain, 1)
    await client.chain_id()
    only.hangs = True
    failed = await asyncio.gather(*(client.balance(OTHER) for _ in range(100)), return_exceptions=True)
    assert all(isinstance(one, ChainUnavailable) for one in failed)
    assert only.asked["balance"] <= 32, "those in line are told, and do not hang as well"


# Which chain


async def test_one_of_several_alone_may_not_move_us_to_another_chain(chain: FakeChain) -> None:
    client, (first, second) = _several(chain, 2, remembered=5)
    second.away = True
    assert await client.chain_id() == 5
    moved, _ = _several(chain, 2, remembered=5)
    assert await moved.chain_id() == CHAIN_ID, "all who answer have moved, and they are enough"
    assert first.asked["chain_id"] == 1


async def test_an_endpoint_of_another_chain_is_never_used(chain: FakeChain) -> None:
    client, (first, _second, _third) = _several(chain, 3)
    first.lies["chain_id"] = lambda true: 1
    assert await client.chain_id() == CHAIN_ID
    await client.head()
    await client.nonce(OTHER)
    await client.send_raw(_signed())
    assert set(first.asked) == {"chain_id"}


async def test_endpoints_of_two_chains_of_which_none_has_more_are_refused(chain: FakeChain) -> None:
    client, (_first, second) = _several(chain, 2)
    second.lies["chain_id"] = lambda true: 1
    with pytest.raises(ChainRefused, match="different chains"):
        await client.chain_id()


async def test_an_endpoint_that_comes_late_must_be_of_the_chain(chain: FakeChain) -> None:
    client, (first, second) = _several(chain, 2)
    second.away = True
    assert await client.chain_id() == CHAIN_ID
    second.away = False
    second.lies["chain_id"] = lambda true: 1
    first.away = True
    with pytest.raises(ChainUnavailable):
        async with asyncio.timeout(3):
            while True:
                try:
                    await client.balance(OTHER)
                except ChainUnavailable:
                    if second.asked["chain_id"] > 1:
                        raise
    assert second.asked["balance"] == 0


async def test_the_chain_of_before_is_remembered_when_none_answers(chain: FakeChain) -> None:
    client, (only,) = _several(chain, 1, remembered=CHAIN_ID)
    only.away = True
    assert await client.chain_id() == CHAIN_ID
    nobody, (away,) = _several(chain, 1)
    away.away = True
    with pytest.raises(ChainUnavailable):
        await nobody.chain_id()


async def test_a_remembered_chain_is_asked_of_who_comes_back(chain: FakeChain) -> None:
    client, (only,) = _several(chain, 1, remembered=5)
    only.away = True
    assert await client.chain_id() == 5
    only.away = False
    with pytest.raises(ChainUnavailable, match="no endpoint of chain 5"):
        await client.balance(OTHER)
    assert only.asked["balance"] == 0


# Broadcasts


async def test_bytes_go_to_every_endpoint(chain: FakeChain) -> None:
    client, clients = _several(chain, 3)
    clients[0].keeps_sent = True
    await client.send_raw(_signed())
    async with asyncio.timeout(1):
        while any(one.asked["send_raw"] != 1 for one in clients):
            await asyncio.sleep(0.001)
    chain.mine()
    assert await client.nonce(ACCOUNT.address) == 1


async def test_one_that_hangs_does_not_hold_up_a_broadcast(chain: FakeChain) -> None:
    client, (first, _second) = _several(chain, 2)
    await client.chain_id()
    first.hangs = True
    await asyncio.wait_for(client.send_raw(_signed()), 0.04)
    await client.close()


@pytest.mark.parametrize(
    ("said", "comes_to"),
    [
        ((AlreadyKnown("a"), FeeTooLow("b")), AlreadyKnown),
        ((FeeTooLow("a"), NonceTooLow("b")), NonceTooLow),
        ((FeeTooLow("a"), ChainUnavailable("b")), FeeTooLow),
        ((ChainRefused("a"), FeeTooLow("b")), FeeTooLow),
        ((ChainUnavailable("a"), ChainUnavailable("b")), ChainUnavailable),
    ],
)
async def test_a_broadcast_that_nobody_takes_comes_to_the_mildest_refusal(
    chain: FakeChain, said: tuple[Exception, ...], comes_to: type[Exception]
) -> None:
    client, clients = _several(chain, 2)
    await client.chain_id()
    for one, error in zip(clients, said, strict=True):
        one.errors["send_raw"] = error
    with pytest.raises(comes_to) as raised:
        await client.send_raw(_signed())
    assert type(raised.value) is comes_to


async def test_a_refusal_does_not_count_where_another_takes_the_bytes(chain: FakeChain) -> None:
    client, (first, _second) = _several(chain, 2)
    first.errors["send_raw"] = FeeTooLow("a lie that would raise the fee")
    assert await client.send_raw(_signed())


# Whose word is enough


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("liar", [0, 1])
async def test_a_made_up_head_is_not_believed(chain: FakeChain, count: int, liar: int) -> None:
    client, clients = _several(chain, count)
    clients[liar].lies["head"] = lambda true: true + 10**6
    assert await client.head() == 20


async def test_a_head_that_stands_delays_two_and_not_three(chain: FakeChain) -> None:
    two, clients = _several(chain, 2, stale_after_s=60)
    clients[0].stands_at = 5
    assert await two.head() == 5
    three, clients = _several(chain, 3)
    clients[0].stands_at = 5
    assert await three.head() == 20


async def test_one_of_two_that_has_long_stood_is_done_without_until_it_moves(
    chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "_HEAD_GOOD_FOR_S", 0.0)
    monkeypatch.setattr(failover, "_OTHER_HEADS_GOOD_FOR_S", 0.0)
    client, (first, _second) = _several(chain, 2)
    first.stands_at = 5
    async with asyncio.timeout(5):
        while await client.head() != 20:
            await asyncio.sleep(0.01)


async def test_too_few_endpoints_leave_the_head_where_it_was(
    chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "_HEAD_GOOD_FOR_S", 0.0)
    client, clients = _several(chain, 3)
    assert await client.head() == 20
    clients[0].away = clients[1].away = True
    chain.mine(3)
    assert await client.head() == 20
    with pytest.raises(ChainUnavailable):
        await client.nonce(ACCOUNT.address, 20)


async def test_of_two_the_other_is_believed_while_one_is_away(chain: FakeChain) -> None:
    client, (first, _second) = _several(chain, 2)
    await client.chain_id()
    first.away = True
    assert await client.head() == 20
    assert await client.nonce(ACCOUNT.address, 20) == 0
    assert await client.code(OTHER) == b""


async def test_a_nonce_is_no_higher_than_two_say(chain: FakeChain) -> None:
    client, clients = _several(chain, 3)
    clients[0].lies["nonce"] = lambda true, address, block: true + 7
    assert await client.nonce(ACCOUNT.address) == 0
    assert await client.nonce(ACCOUNT.address, 20) == 0


async def test_a_nonce_that_one_of_three_holds_back_is_found(chain: FakeChain) -> None:
    client, clients = _several(chain, 3)
    await client.send_raw(_signed())
    clients[0].lies["nonce"] = lambda true, address, block: 0
    chain.mine()
    assert await client.nonce(ACCOUNT.address) == 1
    asked = clients[0].asked["nonce"]
    assert await client.nonce(ACCOUNT.address) == 1
    assert clients[0].asked["nonce"] == asked, "the others are asked first now"


async def test_a_state_that_two_tell_differently_is_not_used(chain: FakeChain) -> None:
    client, clients = _several(chain, 2)
    clients[1].lies["code"] = lambda true, address: b"\1"
    with pytest.raises(ChainUnavailable, match="disagree"):
        await client.code(CODE_AT)


async def test_a_third_settles_it_and_the_odd_one_is_set_aside(chain: FakeChain) -> None:
    client, clients = _several(chain, 3)
    chain.state.contracts.add(CODE_AT)
    chain.mine()
    clients[0].lies["call"] = lambda true, to, data, block: b"\7" * 32
    selector = (1).to_bytes(32, "big")
    for one in clients[1:]:
        one.lies["call"] = lambda true, to, data, block: b"\1" * 32
    for one in clients:
        one.chain = _AnyCall()  # type: ignore[assignment]
    assert await client.call(CODE_AT, selector, 12) == b"\1" * 32
    assert await client.call(CODE_AT, selector, 12) == b"\1" * 32
    assert clients[0].asked["call"] == 1


async def test_a_contract_that_refuses_is_an_answer(chain: FakeChain) -> None:
    client, clients = _several(chain, 2)
    for one in clients:
        one.errors["call"] = CallReverted("minter", b"\2")
    with pytest.raises(CallReverted):
        await client.call(CODE_AT, b"\0" * 4)
    del clients[1].errors["call"]
    clients[1].chain = _AnyCall()  # type: ignore[assignment]
    with pytest.raises(ChainUnavailable, match="disagree"):
        await client.call(CODE_AT, b"\0" * 4)


async def test_a_receipt_that_one_does_not_show_is_found_at_another(chain: FakeChain) -> None:
    client, clients = _several(chain, 2)
    raw = _signed()
    tx_hash = await chain.send_raw(raw) and chain.sent[-1]
    chain.mine()
    clients[0].lies["receipt"] = lambda true, asked: None
    found = await client.receipt(tx_hash)
    assert found is not None
    assert found.tx_hash == tx_hash
    assert await client.receipt(b"\x09" * 32) is None


async def test_a_receipt_that_says_reverted_is_not_believed_of_one_of_three(chain: FakeChain) -> None:
    client, clients = _several(chain, 3)
    raw = _signed()
    tx_hash = await chain.send_raw(raw) and chain.sent[-1]
    chain.mine()
    clients[0].lies = LIES["receipts of reverted transactions"]
    # The others know better; while they cannot be asked nothing is known, as it would be tried again.
    for one in clients[1:]:
        one.errors["receipt"] = ChainUnavailable("busy")
    with pytest.raises(ChainUnavailable):
        await client.receipt(tx_hash)
    with pytest.raises(ChainUnavailable):
        await client.receipt(b"\x09" * 32)
    client, clients = _several(chain, 3)
    clients[0].lies = LIES["receipts of reverted transactions"]
    found = await client.receipt(tx_hash)
    assert found is not None
    assert found.succeeded


async def test_the_lower_fees_of_two_and_the_middle_ones_of_three_are_taken(chain: FakeChain) -> None:
    for offers, taken in (((9, 5), 5), ((9, 5, 7), 7), ((9,), 9)):
        client, clients = _several(chain, len(offers))
        for one, offer in zip(clients, offers, strict=True):
            one.lies["fees"] = lambda true, offer=offer: Fees(offer, 1)
        assert (await client.fees()).max_fee == taken


class _AnyCall:
    """A chain on which only calls are of interest."""

    _blocks = (None,) * 21

    async def chain_id(self) -> int:
        return CHAIN_ID

    async def call(self, to: str, data: bytes, block: int | None = None) -> bytes:
        return b""
