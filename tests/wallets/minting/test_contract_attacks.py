"""What a hostile recipient, treasury, sender or signature cannot do to the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from eth_abi import decode, encode
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils import keccak
from vyper import compile_code

from tests.wallets.minting.contract_world import (
    ACCEPTS,
    EDITION,
    HOLDER,
    MINTER,
    OWNER,
    STRANGER,
    Goods,
    Reverted,
    address_of,
    calldata,
    open_goods,
    person,
    signed_return,
)
from wallets.minting.chain.embedded_chain import CHAIN_ID, EvmChain
from wallets.minting.chain.port import Receipt
from wallets.minting.contract import calls
from wallets.minting.contract.build import SOURCE_PATH
from wallets.minting.contract.calls import Definition, MintItem, SkipReason

# A recipient that first does what it was told to, once, with the contract that asks it, and tells what came of it.
ATTACKER = """
# pragma version 0.4.3
# pragma evm-version cancun
event Answer:
    ok: bool
    answer: Bytes[96]
acts: DynArray[Bytes[320], 8]
accepts: bool
@deploy
def __init__():
    self.accepts = True
@external
def prepare(acts: DynArray[Bytes[320], 8], accepts: bool):
    self.acts = acts
    self.accepts = accepts
@external
def run(target: address, data: Bytes[320]):
    raw_call(target, data)
@internal
def _act():
    acts: DynArray[Bytes[320], 8] = self.acts
    self.acts = []
    for act: Bytes[320] in acts:
        ok: bool = False
        answer: Bytes[96] = b""
        ok, answer = raw_call(msg.sender, act, max_outsize=96, revert_on_failure=False)
        log Answer(ok=ok, answer=answer)
    assert self.accepts
@external
def onERC1155Received(o: address, f: address, id: uint256, amount: uint256, data: Bytes[1024]) -> bytes4:
    self._act()
    return 0xF23A6E61
@external
def onERC1155BatchReceived(
    o: address, f: address, ids: DynArray[uint256, 64], amounts: DynArray[uint256, 64], data: Bytes[1024]
) -> bytes4:
    self._act()
    return 0xBC197C81
"""
ANSWER = keccak(text="Answer(bool,bytes)")
SINGLE = "safeTransferFrom(address,address,uint256,uint256,bytes)"
BATCH = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"


@cache
def attacker_code() -> bytes:
    return bytes.fromhex(compile_code(ATTACKER, output_formats=["bytecode"])["bytecode"][2:])


@pytest.fixture
def goods(tmp_path: Path) -> Iterator[Goods]:
    chain = EvmChain(tmp_path / "chain.sqlite3")
    contract = open_goods(chain)
    contract.transact(MINTER, calls.encode_define(Definition(9, 3)))
    yield contract
    chain.close()


@pytest.fixture
def attacker(goods: Goods) -> str:
    return goods.deploy(attacker_code())


def prepare(goods: Goods, attacker: str, *acts: bytes, accepts: bool = True) -> None:
    data = calldata("prepare(bytes[],bool)", list(acts), accepts)
    goods.transact(STRANGER, data, to=attacker)


def answers(receipt: Receipt) -> list[tuple[bool, bytes]]:
    """What the attacker's acts came to: whether each went through, and its answer."""
    return [decode(["bool", "bytes"], log.data) for log in receipt.logs if log.topics[0] == ANSWER]


def numbers(answered: list[tuple[bool, bytes]]) -> list[int]:
    assert all(ok for ok, _ in answered)
    return [int.from_bytes(answer, "big") for _, answer in answered]


# Entering again from a recipient's hook


def test_recipient_who_is_a_minter_cannot_mint_a_number_twice_nor_above_the_cap(goods, attacker):
    goods.send(OWNER, "set_minter(address,bool)", attacker, True)
    again = [calls.encode_mint(MintItem(number, person(7), 9)) for number in (1, 2, 3)]
    prepare(goods, attacker, *again)
    batch = [
        MintItem(1, person(1), 9),
        MintItem(2, attacker, 9),
        MintItem(3, person(3), 9),
        MintItem(4, person(4), 9),
    ]
    receipt = goods.mint(*batch)
    # In its hook 1 is used by its neighbour and 2 by itself; 3 it may take, as any minter. Then nothing is left.
    assert [ok for ok, _ in answers(receipt)] == [True] * 3
    skips = [
        (int.from_bytes(log.topics[1], "big"), int.from_bytes(log.data, "big"))
        for log in receipt.logs
        if log.topics[0] == calls.PURCHASE_SKIPPED_TOPIC
    ]
    already, sold_out = SkipReason.ALREADY_MINTED, SkipReason.SOLD_OUT
    assert skips == [(1, already), (2, already), (3, already), (4, sold_out)]
    assert goods.minted(9) == 3
    assert [goods.balance(to, 9) for to in (person(1), attacker, person(7), person(3), person(4))] == [
        1,
        1,
        1,
        0,
        0,
    ]


def test_what_a_refusing_recipient_did_as_a_minter_is_undone_with_it(goods, attacker):
    goods.send(OWNER, "set_minter(address,bool)", attacker, True)
    prepare(goods, attacker, calls.encode_mint(MintItem(3, person(7), 9)), accepts=False)
    receipt = goods.mint(MintItem(1, person(1), 9), MintItem(2, attacker, 9), MintItem(3, person(3), 9))
    assert goods.skips(receipt) == {2: SkipReason.RECEIVER_REFUSED}
    assert (goods.minted(9), goods.balance(person(3), 9), goods.balance(person(7), 9)) == (2, 1, 0)


@pytest.mark.parametrize("copy", [9, calls.numbered_token_id(9, 2)])
def test_recipient_sees_everything_written_when_it_is_asked(goods, attacker, copy):
    views = [
        calldata("balanceOf(address,uint256)", attacker, copy),
        calldata("minted(uint256)", 9),
        calldata("minted(uint256)", copy),
        *(calldata("is_minted(uint256)", number) for number in (1, 2, 3)),
    ]
    prepare(goods, attacker, *views)
    receipt = goods.mint(MintItem(1, person(1), 9), MintItem(2, attacker, copy), MintItem(3, person(3), 9))
    assert numbers(answers(receipt)) == [1, 2, 2 if copy == 9 else 1, 1, 1, 0]
    assert goods.minted(9) == 3


def test_recipient_can_do_nothing_from_its_hook_that_it_may_not_otherwise(goods, attacker):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    isolated = "mint_isolated(address,uint256,address,uint256,uint256)"
    prepare(
        goods,
        attacker,
        calldata(isolated, attacker, 5, attacker, EDITION, 1),
        calls.encode_mint(MintItem(5, attacker, EDITION)),
        calls.encode_define(Definition(50, 1)),
        calldata(SINGLE, address_of(HOLDER), attacker, EDITION, 1, b""),
        calldata("set_minter(address,bool)", attacker, True),
        calldata("accept_ownership()"),
    )
    receipt = goods.mint(MintItem(2, attacker, EDITION))
    assert [ok for ok, _ in answers(receipt)] == [False] * 6
    assert (goods.balance(attacker), goods.minted()) == (1, 2)


def test_recipient_of_a_transfer_sees_it_done_and_cannot_repeat_it(goods, attacker):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION, 5), MintItem(2, address_of(HOLDER), 9, 2))
    goods.send(HOLDER, "setApprovalForAll(address,bool)", attacker, True)
    held = [calldata("balanceOf(address,uint256)", who, EDITION) for who in (address_of(HOLDER), attacker)]
    more = calldata(SINGLE, address_of(HOLDER), attacker, EDITION, 2, b"")
    prepare(goods, attacker, *held, more)
    receipt = goods.send(HOLDER, BATCH, address_of(HOLDER), attacker, [EDITION, 9], [4, 2], b"")
    told = answers(receipt)
    assert numbers(told[:2]) == [1, 4]
    assert told[2][0] is False
    assert (goods.balance(address_of(HOLDER)), goods.balance(attacker), goods.balance(attacker, 9)) == (
        1,
        4,
        2,
    )


@pytest.mark.parametrize("many", [False, True])
def test_treasury_that_enters_again_gets_a_return_once(goods, attacker, many):
    goods.send(OWNER, "set_treasury(address)", attacker)
    goods.send(OWNER, "set_minter(address,bool)", attacker, True)
    goods.mint(MintItem(1, address_of(HOLDER), EDITION, 2), MintItem(2, address_of(HOLDER), EDITION))
    first, second = signed_return(goods, 1, amount=2), signed_return(goods, 2)
    prepare(goods, attacker, calls.encode_return(first), calls.encode_return(second))
    receipt = goods.transact(
        MINTER, calls.encode_return_many([first, second]) if many else calls.encode_return(first)
    )
    assert [ok for ok, _ in answers(receipt)] == [True, True]
    returned = [log.topics[1][-1] for log in receipt.logs if log.topics[0] == calls.PURCHASE_RETURNED_TOPIC]
    assert returned == [1, 2]
    assert (goods.balance(address_of(HOLDER)), goods.balance(attacker)) == (0, 3)


def test_treasury_that_refuses_loses_nobody_anything(goods, attacker):
    goods.send(OWNER, "set_treasury(address)", attacker)
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    prepare(goods, attacker, accepts=False)
    with pytest.raises(Reverted):
        goods.transact(MINTER, calls.encode_return_many([signed_return(goods, 1)]))
    assert goods.balance(address_of(HOLDER)) == 1
    assert not goods.ask("is_returned(uint256)", 1, answer="bool")


@pytest.mark.parametrize("code", ["62ffffff5ff3", "62ffffff5ffd", "620100005ff3", "620100005ffd"])
def test_recipient_that_answers_with_a_lot_costs_no_more_than_its_allowance(goods, code):
    # Deployed as: copy the code behind these ten bytes and return it.
    size = len(bytes.fromhex(code))
    bomb = goods.deploy(bytes.fromhex(f"60{size:02x}600a5f3960{size:02x}5ff3{code}"))
    assert goods.chain.code(bomb) == bytes.fromhex(code)
    clean = goods.mint(MintItem(1, person(1), EDITION), MintItem(2, person(2), EDITION))
    receipt = goods.mint(
        MintItem(3, person(3), EDITION), MintItem(4, bomb, EDITION), MintItem(5, person(5), EDITION)
    )
    assert goods.skips(receipt) == {4: SkipReason.RECEIVER_REFUSED}
    assert receipt.gas_used < clean.gas_used + 230_000


# Accounts that delegated to code (EIP-7702)


def delegate(goods: Goods, key: bytes, to: str) -> None:
    """Let an account with a key run the code of another, by a transaction of its own."""
    nonce = goods.chain.nonce(address_of(key), None)
    signed = Account.sign_transaction(
        {
            "type": 4,
            "chainId": CHAIN_ID,
            "nonce": nonce,
            "gas": 200_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
            "to": address_of(key),
            "value": 0,
            "data": b"",
            "authorizationList": [
                Account.sign_authorization({"chainId": CHAIN_ID, "address": to, "nonce": nonce + 1}, key)
            ],
        },
        key,
    )
    goods.chain.send_raw(bytes(signed.raw_transaction))
    assert goods.chain.code(address_of(key)) == bytes.fromhex(f"ef0100{to[2:]}")


def test_delegated_account_receives_as_its_code_says_and_signs_as_before(goods, attacker):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    delegate(goods, HOLDER, goods.receiver(ACCEPTS))
    assert goods.skips(goods.mint(MintItem(2, address_of(HOLDER), EDITION))) == {}
    goods.transact(MINTER, calls.encode_return(signed_return(goods, 1)))
    assert goods.balance(address_of(HOLDER)) == 1
    # Delegated to code that does not know ERC-1155, it is skipped; its key still moves what it holds.
    delegate(goods, HOLDER, goods.address)
    receipt = goods.mint(MintItem(3, address_of(HOLDER), EDITION), MintItem(4, person(1), EDITION))
    assert goods.skips(receipt) == {3: SkipReason.RECEIVER_REFUSED}
    goods.send(HOLDER, SINGLE, address_of(HOLDER), person(2), EDITION, 1, b"")
    assert goods.balance(person(2)) == 1


# Signatures


def test_signature_with_odd_parts_is_refused(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    good = signed_return(goods, 1)
    for v in (0, 1, 26, 29, 255):
        receipt = goods.transact(MINTER, calls.encode_return_many([replace(good, v=v)]))
        assert goods.skips(receipt) == {1: SkipReason.BAD_SIGNATURE}, v
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    half = order // 2
    for r, s in (
        (0, good.s),
        (good.r, 0),
        (order, good.s),
        (good.r, half),
        (good.r, half + 1),
        (2**256 - 1, 2**256 - 1),
    ):
        receipt = goods.transact(MINTER, calls.encode_return_many([replace(good, r=r, s=s)]))
        assert goods.skips(receipt) == {1: SkipReason.BAD_SIGNATURE}, (r, s)
    assert goods.balance(address_of(HOLDER)) == 1
    goods.transact(MINTER, calls.encode_return(good))
    assert goods.balance(address_of(HOLDER)) == 0


def test_plain_message_of_the_same_hash_is_no_return(goods):
    # A wallet that signs any 32 bytes as a personal message (EIP-191, version E) cannot be tricked into a return.
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    good = signed_return(goods, 1)
    digest = calls.return_digest(
        CHAIN_ID, goods.address, purchase_id=1, token_id=EDITION, amount=1, deadline_s=good.deadline_s
    )
    personal = keccak(b"\x19Ethereum Signed Message:\n32" + digest)
    signature = PrivateKey(HOLDER).sign_msg_hash(personal).to_bytes()
    forged = replace(
        good,
        r=int.from_bytes(signature[:32], "big"),
        s=int.from_bytes(signature[32:64], "big"),
        v=27 + signature[64],
    )
    receipt = goods.transact(MINTER, calls.encode_return_many([forged]))
    assert goods.skips(receipt) == {1: SkipReason.BAD_SIGNATURE}


def test_deadline_is_the_last_good_second(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    past = signed_return(goods, 1, deadline_s=int(time.time()) - 2)
    receipt = goods.transact(MINTER, calls.encode_return_many([past]))
    assert goods.skips(receipt) == {1: SkipReason.EXPIRED}
    for_ever = signed_return(goods, 1, deadline_s=2**256 - 1)
    assert goods.skips(goods.transact(MINTER, calls.encode_return_many([for_ever]))) == {}


def test_signature_is_of_one_purchase_even_where_two_hold_the_same(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION), MintItem(2, address_of(HOLDER), EDITION))
    good = signed_return(goods, 1)
    goods.transact(MINTER, calls.encode_return(good))
    receipt = goods.transact(MINTER, calls.encode_return_many([good, replace(good, purchase_id=2)]))
    assert goods.skips(receipt) == {1: SkipReason.ALREADY_RETURNED, 2: SkipReason.BAD_SIGNATURE}


# Odd calls


def test_money_and_unknown_calls_are_refused(goods):
    for data, value in ((b"", 1), (calls.encode_are_minted([1]), 1), (b"", 0), (b"\x12\x34\x56\x78", 0)):
        signed = Account.sign_transaction(
            {
                "chainId": CHAIN_ID,
                "nonce": goods.chain.nonce(address_of(STRANGER), None),
                "gas": 1_000_000,
                "maxFeePerGas": 10**10,
                "maxPriorityFeePerGas": 1,
                "to": goods.address,
                "value": value,
                "data": data,
            },
            STRANGER,
        )
        receipt = goods.chain.receipt(goods.chain.send_raw(bytes(signed.raw_transaction)))
        assert receipt is not None and not receipt.succeeded
    assert goods.chain.balance(goods.address) == 0


def test_code_cannot_change_move_or_end_itself():
    source = SOURCE_PATH.read_text(encoding="utf-8")
    used = set(compile_code(source, output_formats=["asm"])["asm"].replace(",", " ").split())
    assert {"CALL", "SSTORE"} <= used
    assert not used & {"DELEGATECALL", "CALLCODE", "SELFDESTRUCT", "CREATE", "CREATE2"}


def test_calldata_that_is_cut_or_has_dirt_in_an_address_is_refused(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    good = calldata(SINGLE, address_of(HOLDER), person(1), EDITION, 1, b"")
    dirty = good[:4] + b"\x01" + good[5:]
    for data in (good[:-33], dirty, calls.encode_mint(MintItem(2, person(1), EDITION))[:-1]):
        with pytest.raises(Reverted):
            goods.transact(MINTER if data[:4] != good[:4] else HOLDER, data)
    goods.transact(HOLDER, good)
    assert goods.balance(person(1)) == 1


def test_arrays_that_reach_behind_the_calldata_give_nobody_anything(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION, 5))
    head = encode(["address", "address"], [address_of(HOLDER), address_of(STRANGER)])
    for ids, amounts, data in (
        (2**255, 2**255, 2**255),
        (160, 160, 2**200),
        (100_000, 100_000, 100_000),
        (0, 0, 0),
    ):
        offsets = encode(["uint256"] * 3, [ids, amounts, data])
        raw = keccak(text=BATCH)[:4] + head + offsets + encode(["uint256", "uint256"], [1, EDITION])
        # From a stranger, so that whatever is read is not the stranger's to move.
        with pytest.raises(Reverted):
            goods.transact(STRANGER, raw)
    assert goods.balance(address_of(HOLDER)) == 5


# Roles that outlive a change


def test_previous_owner_stays_a_minter_until_the_role_is_taken(goods):
    goods.send(OWNER, "transfer_ownership(address)", address_of(STRANGER))
    goods.send(STRANGER, "accept_ownership()")
    assert goods.skips(goods.mint(MintItem(1, person(1), EDITION), key=OWNER)) == {}
    goods.send(STRANGER, "set_minter(address,bool)", address_of(OWNER), False)
    with pytest.raises(Reverted):
        goods.mint(MintItem(2, person(1), EDITION), key=OWNER)
    with pytest.raises(Reverted):
        goods.mint(MintItem(2, person(1), EDITION), key=STRANGER)


def test_ownership_cannot_be_accepted_twice_nor_by_nobody(goods):
    with pytest.raises(Reverted):
        goods.send(OWNER, "accept_ownership()")
    goods.send(OWNER, "transfer_ownership(address)", address_of(STRANGER))
    goods.send(STRANGER, "accept_ownership()")
    with pytest.raises(Reverted):
        goods.send(STRANGER, "accept_ownership()")
    assert goods.ask("pending_owner()", answer="address") == "0x" + "00" * 20


@pytest.mark.parametrize("bps", [0, 1, 250, 9_999, 10_000])
def test_royalty_is_the_exact_share_of_any_price(goods, bps):
    goods.send(OWNER, "set_royalty(address,uint256)", person(1), bps)
    for price in (0, 1, 9_999, 10_000, 10_001, 2**128 + 7, 2**256 - 1):
        answer = goods.chain.call(goods.address, calldata("royaltyInfo(uint256,uint256)", 1, price), None)
        assert decode(["address", "uint256"], answer) == (person(1).lower(), price * bps // 10_000)
