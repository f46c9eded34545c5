"""Tries with the quicker node codec have py-evm's roots, also through a whole chain with the contract."""

import pytest
import rlp
from eth.chains.base import Chain
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague import PragueVM
from eth_account import Account
from eth_utils import to_canonical_address
from hypothesis import given, settings
from hypothesis import strategies as st
from trie import HexaryTrie

from wallets.minting.chain.deploy import DEPLOY_GAS, create_address, deployment_data
from wallets.minting.chain.embedded_chain import _VM
from wallets.minting.chain.quick_trie import QuickTrie, decode_node, encode_node
from wallets.minting.contract import calls
from wallets.minting.contract.artifact import load_artifact

KEY = b"\x05" * 32
SENDER = Account.from_key(KEY).address

# Few and short keys, so that extensions, branches with values, embedded nodes and collapses all occur.
KEYS = st.binary(min_size=1, max_size=3) | st.sampled_from([bytes([number]) * 32 for number in range(8)])
VALUES = st.just(b"") | st.binary(min_size=1, max_size=3) | st.binary(min_size=30, max_size=60)


CHANGES = st.lists(st.tuples(KEYS, VALUES), max_size=40)


@settings(max_examples=200, deadline=None)
@given(CHANGES)
def test_roots_and_values_equal_those_of_the_general_trie(changes):
    slow, quick = HexaryTrie({}, prune=True), QuickTrie({})
    for key, value in changes:
        slow[key] = value
        quick[key] = value
        assert slow.root_hash == quick.root_hash
    for key, _ in changes:
        assert slow[key] == quick[key]
    reread = QuickTrie(slow.db, slow.root_hash)
    assert all(reread[key] == slow[key] for key, _ in changes)


@settings(max_examples=200, deadline=None)
@given(CHANGES, CHANGES)
def test_changes_before_the_root_is_asked_for_store_only_its_own_nodes(before, changes):
    slow, quick = HexaryTrie({}, prune=True), QuickTrie({})
    for key, value in before:
        slow[key] = quick[key] = value
    assert slow.root_hash == quick.root_hash
    assert slow.db == quick.db
    for key, value in changes:
        slow[key] = quick[key] = value
        assert all(quick[other] == slow[other] for other, _ in before + changes)
    assert slow.root_hash == quick.root_hash
    assert slow.db.items() <= quick.db.items()


@given(CHANGES, CHANGES)
def test_changes_are_taken_back_when_their_block_raises(before, changes):
    trie = QuickTrie({})
    for key, value in before:
        trie[key] = value
    root = trie.root_hash
    with pytest.raises(ZeroDivisionError), trie.squash_changes() as changing:
        for key, value in changes:
            changing[key] = value
        raise ZeroDivisionError
    assert trie.root_hash == root


ITEM = st.binary(max_size=60) | st.just(b"\x00") | st.just(b"\x80") | st.binary(min_size=32, max_size=32)


@settings(max_examples=200, deadline=None)
@given(st.lists(ITEM, min_size=2, max_size=17) | st.tuples(ITEM, st.lists(ITEM, max_size=2)).map(list))
def test_node_codec_equals_the_general_codec(node):
    encoded = rlp.encode(node)
    assert encode_node(node) == encoded
    assert decode_node(encoded) == node


def blocks(vm_class: type, calldatas: list[tuple[bytes | str, bytes, int]]):
    """Run one transaction per block from a fixed genesis and return the headers' roots, gas and bloom."""

    class OneChain(Chain):
        chain_id = 1
        vm_configuration = ((0, vm_class),)

        def create_header_from_parent(self, parent_header, **params):
            params["timestamp"] = parent_header.timestamp + 1
            return super().create_header_from_parent(parent_header, **{**params, "gas_limit": 30_000_000})

    params = {"difficulty": 0, "gas_limit": 30_000_000, "timestamp": 1_790_000_000, "coinbase": bytes(20)}
    account = {"balance": 10**24, "nonce": 0, "code": b"", "storage": {}}
    chain = OneChain.from_genesis(AtomicDB(), params, {to_canonical_address(SENDER): account})
    found = []
    for nonce, (to, data, gas) in enumerate(calldatas):
        transaction = {
            "chainId": 1, "nonce": nonce, "gas": gas, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1,
            "to": to, "value": 0, "data": data,
        }  # fmt: skip
        raw = bytes(Account.sign_transaction(transaction, KEY).raw_transaction)
        header = chain.create_header_from_parent(chain.get_canonical_head())
        vm = chain.get_vm(header)
        decoded = vm.get_transaction_builder().decode(raw)
        filled, receipts, _ = vm.apply_all_transactions((decoded,), header)
        block = vm.set_block_transactions_and_withdrawals(vm.get_block(), filled, (decoded,), receipts)
        sealed = vm.mine_block(block).block
        chain.chaindb.persist_block(sealed)
        found.append((sealed.header.hash, receipts[0].state_root, sealed.header.gas_used))
    return found


def test_embedded_rules_give_the_blocks_of_plain_py_evm():
    goods = create_address(SENDER, 0)
    people = [Account.from_key(bytes([1]) * 31 + bytes([number])).address for number in range(1, 41)]
    items = [calls.MintItem(number, to, 7) for number, to in enumerate(people)]
    copies = [calls.MintItem(900 + n, to, calls.numbered_token_id(8, 1 + n)) for n, to in enumerate(people)]
    plan = [
        (b"", deployment_data(load_artifact(), base_uri="https://goods.example", royalty_bps=1), DEPLOY_GAS),
        (
            goods,
            calls.encode_define_many([calls.Definition(7, 30, "ipfs://7"), calls.Definition(8, 100)]),
            10**6,
        ),
        (goods, calls.encode_mint_many(items), 3_000_000),
        (goods, calls.encode_mint_many(items), 3_000_000),
        (goods, calls.encode_mint_many(copies), 3_000_000),
        (goods, calls.encode_mint(calls.MintItem(5000, goods, 8)), 500_000),
        *((goods, calls.encode_mint_many(copies[:2]), gas) for gas in range(25_000, 60_000, 3_500)),
        (goods, calls.encode_set_minter(people[0], True), 100_000),
        (goods, calls.encode_set_minter(people[0], False), 100_000),
        (goods, b"\x12\x34\x56\x78", 100_000),
    ]
    plain, ours = blocks(PragueVM, plan), blocks(_VM, plan)
    assert plain == ours
    assert {status for _, status, _ in ours} == {b"", b"\x01"}
