"""Hand-packed calldata equals eth_abi's, and answers and events are read back."""

import json

import pytest
from eth_abi import encode
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils import keccak, to_checksum_address
from eth_utils.abi import function_abi_to_4byte_selector

from wallets.minting.chain.deploy import create_address, deployment_data
from wallets.minting.chain.port import Log
from wallets.minting.contract import calls
from wallets.minting.contract.artifact import ARTIFACT_PATH, load_artifact
from wallets.minting.contract.calls import Definition, MintItem, SignedReturn, SkipReason

CONTRACT = to_checksum_address("0x" + "ab" * 20)
PEOPLE = [Account.from_key(bytes([number]) * 32).address for number in (1, 2, 3)]
ITEMS = [MintItem(2**256 - 1, PEOPLE[0], 0), MintItem(5, PEOPLE[1], 2**255, 9), MintItem(0, PEOPLE[2], 7, 0)]
RETURNS = [
    SignedReturn(number, PEOPLE[number], 2**255, 4, 1_800_000_000, 27 + number % 2, 2**255 + 1, 3)
    for number in range(3)
]
RETURN_FIELDS = ("purchase_id", "holder", "token_id", "amount", "deadline_s", "v", "r", "s")


def expected(name: str, values: list) -> bytes:
    (entry,) = [
        item for item in load_artifact().abi if item.get("name") == name and item["type"] == "function"
    ]
    return function_abi_to_4byte_selector(entry) + encode(
        [given["type"] for given in entry["inputs"]], values
    )


@pytest.mark.parametrize(
    ("encoded", "name", "values"),
    [
        (calls.encode_mint(ITEMS[1]), "mint", [5, PEOPLE[1], 2**255, 9]),
        (
            calls.encode_mint_many(ITEMS),
            "mint_many",
            [[2**256 - 1, 5, 0], PEOPLE, [0, 2**255, 7], [1, 9, 0]],
        ),
        (calls.encode_mint_many([]), "mint_many", [[], [], [], []]),
        (calls.encode_define(Definition(1, 2, "ipfs://ü")), "define", [1, 2, "ipfs://ü"]),
        (
            calls.encode_define_many([Definition(1, 2, "a"), Definition(3, 4)]),
            "define_many",
            [[1, 3], [2, 4], ["a", ""]],
        ),
        (
            calls.encode_return(RETURNS[1]),
            "return_to_treasury",
            [getattr(RETURNS[1], field) for field in RETURN_FIELDS],
        ),
        (
            calls.encode_return_many(RETURNS),
            "return_many",
            [[getattr(item, field) for item in RETURNS] for field in RETURN_FIELDS],
        ),
        (calls.encode_are_minted([1, 2**200]), "are_minted", [[1, 2**200]]),
        (calls.encode_are_returned([1]), "are_returned", [[1]]),
        (calls.encode_balance_of(PEOPLE[0], 7), "balanceOf", [PEOPLE[0], 7]),
        (calls.encode_is_minter(PEOPLE[0]), "is_minter", [PEOPLE[0]]),
        (calls.encode_set_minter(PEOPLE[0], True), "set_minter", [PEOPLE[0], True]),
    ],
)
def test_calldata_equals_the_abi_encoding(encoded, name, values):
    assert encoded == expected(name, values)


def test_event_topics_are_those_of_the_contract():
    signatures = {
        item["name"]: keccak(text=f"{item['name']}({','.join(given['type'] for given in item['inputs'])})")
        for item in json.loads(ARTIFACT_PATH.read_text())["abi"]
        if item["type"] == "event"
    }
    assert signatures["PurchaseMinted"] == calls.PURCHASE_MINTED_TOPIC
    assert signatures["PurchaseSkipped"] == calls.PURCHASE_SKIPPED_TOPIC
    assert signatures["PurchaseReturned"] == calls.PURCHASE_RETURNED_TOPIC


def test_more_than_a_batch_is_refused_before_it_is_sent():
    for encoder, item in (
        (calls.encode_mint_many, ITEMS[0]),
        (calls.encode_return_many, RETURNS[0]),
        (calls.encode_define_many, Definition(1, 1)),
        (calls.encode_are_minted, 1),
    ):
        encoder([item] * calls.MAX_BATCH)
        with pytest.raises(ValueError, match="at most 256"):
            encoder([item] * (calls.MAX_BATCH + 1))


@pytest.mark.parametrize("item", [MintItem(-1, PEOPLE[0], 1), MintItem(1, PEOPLE[0], 2**256)])
def test_numbers_outside_256_bits_are_refused(item):
    with pytest.raises(OverflowError):
        calls.encode_mint(item)


@pytest.mark.parametrize("address", ["", "0x", "0x12", "ab" * 21, "0x" + "zz" * 20, "0x" + "ab" * 21])
def test_malformed_addresses_are_refused(address):
    with pytest.raises(ValueError):
        calls.encode_mint(MintItem(1, address, 1))


def test_flags_of_another_shape_are_refused():
    answer = encode(["bool[]"], [[True, False, True]])
    assert calls.decode_flags(answer, 3) == [True, False, True]
    for wrong, count in ((answer, 2), (b"", 1), (answer[:-32], 3)):
        with pytest.raises(ValueError, match="flags"):
            calls.decode_flags(wrong, count)


def skipped(contract: str, purchase_id: int, reason: int) -> Log:
    return Log(
        contract, (calls.PURCHASE_SKIPPED_TOPIC, purchase_id.to_bytes(32, "big")), reason.to_bytes(32, "big")
    )


def test_skips_are_read_from_this_contracts_logs_only():
    logs = [
        skipped(CONTRACT, 5, 2),
        skipped(CONTRACT, 5, 1),
        skipped(PEOPLE[0], 6, 1),
        skipped(CONTRACT, 8, 3),
    ]
    logs.append(Log(CONTRACT, (calls.PURCHASE_MINTED_TOPIC, bytes(32)), b""))
    assert calls.purchase_skips(logs, CONTRACT) == {5: SkipReason.SOLD_OUT, 8: SkipReason.RECEIVER_REFUSED}


@pytest.mark.parametrize(("edition", "serial"), [(0, 1), (7, 12), (calls.MAX_EDITION, 2**64 - 1)])
def test_numbered_token_id_splits_into_what_it_was_made_of(edition, serial):
    assert calls.split_token_id(calls.numbered_token_id(edition, serial)) == (edition, serial)


def test_plain_token_id_has_no_serial():
    assert calls.split_token_id(7) == (7, None)
    assert calls.split_token_id(calls.MAX_EDITION) == (calls.MAX_EDITION, None)


@pytest.mark.parametrize(("edition", "serial"), [(-1, 1), (calls.MAX_EDITION + 1, 1), (1, 0), (1, 2**64)])
def test_numbered_token_id_outside_its_range_is_refused(edition, serial):
    with pytest.raises(ValueError, match="serials"):
        calls.numbered_token_id(edition, serial)


def test_signature_may_count_v_from_zero_or_from_27():
    digest = calls.return_digest(1, CONTRACT, purchase_id=1, token_id=2, amount=3, deadline_s=4)
    raw = PrivateKey(b"\x01" * 32).sign_msg_hash(digest).to_bytes()
    values = {"purchase_id": 1, "holder": PEOPLE[0], "token_id": 2, "amount": 3, "deadline_s": 4}
    from_zero = SignedReturn.from_signature(raw, **values)
    from_27 = SignedReturn.from_signature(raw[:64] + bytes([raw[64] + 27]), **values)
    assert from_zero == from_27
    assert from_zero.v in (27, 28)
    for wrong in (raw[:64], raw[:64] + b"\x05", b""):
        with pytest.raises(ValueError, match="65 bytes"):
            SignedReturn.from_signature(wrong, **values)


def test_create_address_is_that_of_the_yellow_paper():
    # A published example: the sender of many tutorials and its first two contracts.
    sender = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"
    assert create_address(sender, 0) == to_checksum_address("0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d")
    assert create_address(sender, 1) == to_checksum_address("0x343c43a37d37dff08ae8c4a11544c718abb4fcf8")


def test_deployment_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="basis points"):
        deployment_data(load_artifact(), base_uri="", royalty_bps=10_001)
    with pytest.raises(ValueError, match="256 bytes"):
        deployment_data(load_artifact(), base_uri="x" * 257)
