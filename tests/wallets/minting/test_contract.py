"""Rules of the ERC-1155 contract, run on the embedded chain."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from eth_abi import decode
from eth_utils import keccak, to_checksum_address

from tests.wallets.minting.contract_world import (
    ACCEPTS,
    ANSWERS_WRONG,
    BURNS_GAS,
    EDITION,
    HOLDER,
    MINTER,
    OWNER,
    PASSES_ON,
    REFUSES,
    STRANGER,
    TRANSFER_BATCH,
    TRANSFER_SINGLE,
    Reverted,
    address_of,
    calldata,
    open_goods,
    person,
    signed_return,
)
from wallets.minting.chain.deploy import ZERO_ADDRESS
from wallets.minting.chain.embedded_chain import CHAIN_ID, EvmChain
from wallets.minting.chain.port import CallReverted
from wallets.minting.contract import build, calls
from wallets.minting.contract.artifact import ARTIFACT_PATH, load_artifact
from wallets.minting.contract.calls import Definition, MintItem, SignedReturn, SkipReason


@pytest.fixture
def goods(tmp_path: Path):
    chain = EvmChain(tmp_path / "chain.sqlite3")
    yield open_goods(chain)
    chain.close()


# The committed build


def test_build_check_accepts_the_committed_artifact_and_nothing_else(tmp_path, monkeypatch):
    text = build.build()
    assert text == ARTIFACT_PATH.read_text()
    monkeypatch.setattr(build, "build", lambda: text)
    assert build.main(["--check"]) == 0
    for other in (text.replace("vyper 0.4.3", "vyper 0.4.4"), text + " "):
        changed = tmp_path / "goods.json"
        changed.write_text(other)
        monkeypatch.setattr(build, "ARTIFACT_PATH", changed)
        assert build.main(["--check"]) == 1
    monkeypatch.setattr(build, "ARTIFACT_PATH", tmp_path / "missing.json")
    assert build.main(["--check"]) == 1


def test_deployed_code_is_the_committed_runtime_and_within_the_size_limit(goods):
    code = goods.chain.code(goods.address)
    assert code == load_artifact().runtime_bytecode
    assert len(code) < 24_576 * 0.75


# Roles


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("set_minter(address,bool)", (address_of(STRANGER), True)),
        ("set_paused(bool)", (True,)),
        ("set_treasury(address)", (address_of(STRANGER),)),
        ("set_royalty(address,uint256)", (address_of(STRANGER), 1)),
        ("set_base_uri(string)", ("x",)),
        ("set_uri(uint256,string)", (EDITION, "x")),
        ("transfer_ownership(address)", (address_of(STRANGER),)),
    ],
)
def test_only_the_owner_administers(goods, signature, arguments):
    for key in (MINTER, STRANGER):
        with pytest.raises(Reverted):
            goods.send(key, signature, *arguments)
    goods.send(OWNER, signature, *arguments)


def test_only_minters_define_mint_and_return(goods):
    for data in (
        calls.encode_define(Definition(9, 1)),
        calls.encode_define_many([Definition(9, 1)]),
        calls.encode_mint(MintItem(1, person(1), EDITION)),
        calls.encode_mint_many([MintItem(1, person(1), EDITION)]),
        calls.encode_return(signed_return(goods, 1)),
        calls.encode_return_many([signed_return(goods, 1)]),
    ):
        with pytest.raises(Reverted):
            goods.transact(STRANGER, data)


def test_removed_minter_cannot_mint(goods):
    goods.transact(OWNER, calls.encode_set_minter(address_of(MINTER), False))
    with pytest.raises(Reverted):
        goods.mint(MintItem(1, person(1), EDITION))


def test_ownership_changes_only_when_the_candidate_accepts(goods):
    goods.send(OWNER, "transfer_ownership(address)", address_of(STRANGER))
    assert goods.ask("owner()", answer="address") == address_of(OWNER).lower()
    with pytest.raises(Reverted):
        goods.send(HOLDER, "accept_ownership()")
    goods.send(STRANGER, "accept_ownership()")
    assert goods.ask("owner()", answer="address") == address_of(STRANGER).lower()
    with pytest.raises(Reverted):
        goods.send(OWNER, "set_paused(bool)", True)


def test_withdrawn_ownership_offer_cannot_be_accepted(goods):
    goods.send(OWNER, "transfer_ownership(address)", address_of(STRANGER))
    goods.send(OWNER, "transfer_ownership(address)", ZERO_ADDRESS)
    with pytest.raises(Reverted):
        goods.send(STRANGER, "accept_ownership()")


def test_mint_isolated_is_only_for_the_contract_itself(goods):
    signature = "mint_isolated(address,uint256,address,uint256,uint256)"
    for key in (OWNER, MINTER):
        with pytest.raises(Reverted):
            goods.send(key, signature, address_of(key), 1, person(1), EDITION, 1)


def test_pause_stops_minting_returns_and_transfers_until_resumed(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    goods.send(OWNER, "set_paused(bool)", True)
    transfer = "safeTransferFrom(address,address,uint256,uint256,bytes)"
    with pytest.raises(Reverted):
        goods.mint(MintItem(2, person(1), EDITION))
    with pytest.raises(Reverted):
        goods.transact(MINTER, calls.encode_return(signed_return(goods, 1)))
    with pytest.raises(Reverted):
        goods.send(HOLDER, transfer, address_of(HOLDER), person(1), EDITION, 1, b"")
    goods.send(OWNER, "set_paused(bool)", False)
    goods.send(HOLDER, transfer, address_of(HOLDER), person(1), EDITION, 1, b"")
    assert goods.balance(person(1)) == 1


# Editions


def test_edition_is_defined_once(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 5)))
    with pytest.raises(Reverted):
        goods.transact(MINTER, calls.encode_define(Definition(9, 6)))
    assert goods.ask("max_supply(uint256)", 9, answer="uint256") == 5
    assert goods.ask("is_defined(uint256)", 9, answer="bool")
    assert not goods.ask("is_defined(uint256)", 10, answer="bool")


@pytest.mark.parametrize(
    ("edition", "cap"), [(9, 0), (9, 2**128), (2**191, 1), (calls.numbered_token_id(EDITION, 1), 1)]
)
def test_impossible_editions_are_refused(goods, edition, cap):
    with pytest.raises(Reverted):
        goods.transact(MINTER, calls.encode_define(Definition(edition, cap)))


def test_catalog_import_is_one_transaction_and_may_be_repeated(goods):
    definitions = [Definition(100 + number, number + 1, f"ipfs://{number}") for number in range(60)]
    goods.transact(MINTER, calls.encode_define_many(definitions))
    goods.transact(MINTER, calls.encode_define_many([Definition(100, 999, "ipfs://other"), *definitions]))
    assert goods.ask("max_supply(uint256)", 100, answer="uint256") == 1
    assert goods.ask("uri(uint256)", 100, answer="string") == "ipfs://0"
    assert goods.ask("max_supply(uint256)", 159, answer="uint256") == 60


def test_uri_is_the_items_own_or_the_base(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 5)))
    assert goods.ask("uri(uint256)", EDITION, answer="string") == "ipfs://seven"
    assert goods.ask("uri(uint256)", 9, answer="string") == "https://goods.example/{id}.json"
    numbered = calls.numbered_token_id(EDITION, 3)
    assert goods.ask("uri(uint256)", numbered, answer="string") == "ipfs://seven"
    goods.send(OWNER, "set_uri(uint256,string)", EDITION, "ipfs://new")
    assert goods.ask("uri(uint256)", numbered, answer="string") == "ipfs://new"


# Minting


def test_batch_mints_every_item_with_its_event(goods):
    items = [MintItem(number, person(number), EDITION, number) for number in range(1, 6)]
    receipt = goods.mint(*items)
    assert goods.skips(receipt) == {}
    assert [goods.balance(item.to) for item in items] == [1, 2, 3, 4, 5]
    assert goods.minted() == 15
    transfers = [log for log in receipt.logs if log.topics[0] == TRANSFER_SINGLE]
    assert [decode(["uint256", "uint256"], log.data) for log in transfers] == [
        (EDITION, item.amount) for item in items
    ]
    for log, item in zip(transfers, items, strict=True):
        operator, sender, to = (to_checksum_address(topic[12:]) for topic in log.topics[1:])
        assert (operator, sender, to) == (address_of(MINTER), ZERO_ADDRESS, item.to)
    minted = [log.topics[1] for log in receipt.logs if log.topics[0] == calls.PURCHASE_MINTED_TOPIC]
    assert [int.from_bytes(topic, "big") for topic in minted] == [1, 2, 3, 4, 5]


def test_duplicate_in_a_batch_is_skipped(goods):
    receipt = goods.mint(MintItem(1, person(1), EDITION), MintItem(1, person(2), EDITION))
    assert goods.skips(receipt) == {1: SkipReason.ALREADY_MINTED}
    assert (goods.balance(person(1)), goods.balance(person(2)), goods.minted()) == (1, 0, 1)


def test_replayed_batch_changes_nothing(goods):
    items = [MintItem(250 + number, person(number), EDITION) for number in range(10)]
    goods.mint(*items)
    receipt = goods.mint(*items)
    assert goods.skips(receipt) == {item.purchase_id: SkipReason.ALREADY_MINTED for item in items}
    assert goods.minted() == 10
    assert all(goods.balance(item.to) == 1 for item in items)


def test_single_mint_of_a_used_number_is_skipped_not_reverted(goods):
    item = MintItem(2**256 - 1, person(1), EDITION)
    assert goods.skips(goods.transact(MINTER, calls.encode_mint(item))) == {}
    receipt = goods.transact(MINTER, calls.encode_mint(item))
    assert goods.skips(receipt) == {item.purchase_id: SkipReason.ALREADY_MINTED}
    assert goods.minted() == 1


def test_used_numbers_can_be_asked_for(goods):
    goods.mint(MintItem(255, person(1), EDITION), MintItem(256, person(1), EDITION))
    asked = [254, 255, 256, 257]
    answer = goods.chain.call(goods.address, calls.encode_are_minted(asked), None)
    assert calls.decode_flags(answer, 4) == [False, True, True, False]
    assert goods.ask("is_minted(uint256)", 255, answer="bool")
    assert not goods.ask("is_minted(uint256)", 511, answer="bool")


def test_cap_is_never_exceeded_and_sold_out_is_skipped(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 3)))
    receipt = goods.mint(*(MintItem(number, person(number), 9) for number in range(1, 6)))
    assert goods.skips(receipt) == {4: SkipReason.SOLD_OUT, 5: SkipReason.SOLD_OUT}
    assert goods.minted(9) == 3
    receipt = goods.transact(MINTER, calls.encode_mint(MintItem(4, person(4), 9)))
    assert goods.skips(receipt) == {4: SkipReason.SOLD_OUT}
    assert goods.minted(9) == 3


def test_amount_that_fits_is_minted_after_one_that_does_not(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 3)))
    receipt = goods.mint(
        MintItem(1, person(1), 9, 2), MintItem(2, person(2), 9, 2), MintItem(3, person(3), 9, 1)
    )
    assert goods.skips(receipt) == {2: SkipReason.SOLD_OUT}
    assert goods.minted(9) == 3


@pytest.mark.parametrize("amount", [0, 2**128, 2**256 - 1])
@pytest.mark.parametrize("encoder", [calls.encode_mint, lambda item: calls.encode_mint_many([item])])
def test_impossible_amount_is_skipped_without_failing_the_batch(goods, amount, encoder):
    goods.mint(MintItem(1, person(1), EDITION))
    receipt = goods.transact(MINTER, encoder(MintItem(2, person(1), EDITION, amount)))
    assert goods.skips(receipt) == {2: SkipReason.SOLD_OUT}
    assert goods.minted() == 1


def test_undefined_edition_is_skipped(goods):
    receipt = goods.mint(MintItem(1, person(1), 404), MintItem(2, person(2), EDITION))
    assert goods.skips(receipt) == {1: SkipReason.SOLD_OUT}
    assert goods.balance(person(2)) == 1


def test_skipped_purchase_can_be_minted_later(goods):
    goods.mint(MintItem(1, person(1), 9))
    goods.transact(MINTER, calls.encode_define(Definition(9, 1)))
    assert goods.skips(goods.mint(MintItem(1, person(1), 9))) == {}


def test_editions_and_number_words_may_alternate_within_a_batch(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 100)))
    items = [
        MintItem(1000 * (number % 3) + number, person(number), (EDITION, 9)[number % 2])
        for number in range(12)
    ]
    assert goods.skips(goods.mint(*items)) == {}
    assert (goods.minted(), goods.minted(9)) == (6, 6)
    receipt = goods.mint(*items)
    assert len(goods.skips(receipt)) == 12
    assert (goods.minted(), goods.minted(9)) == (6, 6)


def test_arrays_of_unequal_length_are_refused(goods):
    signature = "mint_many(uint256[],address[],uint256[],uint256[])"
    with pytest.raises(Reverted):
        goods.send(MINTER, signature, [1, 2], [person(1), person(2)], [EDITION], [1, 1])


def test_batch_above_the_bound_is_refused(goods):
    signature = "mint_many(uint256[],address[],uint256[],uint256[])"
    count = calls.MAX_BATCH + 1
    with pytest.raises(Reverted):
        goods.send(MINTER, signature, [*range(count)], [person(1)] * count, [EDITION] * count, [1] * count)


# Recipients with code


def test_accepting_contract_receives(goods):
    shop = goods.receiver(ACCEPTS)
    receipt = goods.mint(MintItem(1, person(1), EDITION), MintItem(2, shop, EDITION, 4))
    assert goods.skips(receipt) == {}
    assert goods.balance(shop) == 4
    transfers = [log for log in receipt.logs if log.topics[0] == TRANSFER_SINGLE]
    assert to_checksum_address(transfers[1].topics[1][12:]) == address_of(MINTER)


@pytest.mark.parametrize("mode", [REFUSES, BURNS_GAS, ANSWERS_WRONG])
def test_refusing_receiver_is_skipped_and_its_neighbours_are_minted(goods, mode):
    goods.transact(MINTER, calls.encode_define(Definition(9, 3)))
    bad = goods.receiver(mode)
    receipt = goods.mint(
        MintItem(1, person(1), 9), MintItem(2, bad, 9), MintItem(3, person(3), 9), MintItem(4, person(4), 9)
    )
    assert goods.skips(receipt) == {2: SkipReason.RECEIVER_REFUSED}
    assert (goods.balance(bad, 9), goods.minted(9)) == (0, 3)
    assert [goods.balance(person(number), 9) for number in (1, 3, 4)] == [1, 1, 1]
    assert not goods.ask("is_minted(uint256)", 2, answer="bool")


def test_gas_burning_receiver_burns_no_more_than_its_allowance(goods):
    clean = goods.mint(*(MintItem(number, person(number), EDITION) for number in range(9)))
    items = [MintItem(100 + number, person(20 + number), EDITION) for number in range(9)]
    burner = goods.receiver(BURNS_GAS)
    receipt = goods.mint(*items, MintItem(200, burner, EDITION))
    assert receipt.gas_used < clean.gas_used + 230_000


def test_too_little_gas_for_the_allowance_fails_the_whole_not_the_recipient(goods):
    shop = goods.receiver(ACCEPTS)
    with pytest.raises(Reverted):
        goods.transact(MINTER, calls.encode_mint(MintItem(1, shop, EDITION)), gas=230_000)
    assert goods.skips(goods.transact(MINTER, calls.encode_mint(MintItem(1, shop, EDITION)))) == {}


def test_receiver_may_pass_the_token_on(goods):
    relay = goods.receiver(PASSES_ON)
    assert goods.skips(goods.mint(MintItem(1, relay, EDITION))) == {}
    assert goods.balance("0x00000000000000000000000000000000000000AA") == 1


def test_sold_out_for_a_contract_is_told_as_sold_out(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 1)))
    shop = goods.receiver(ACCEPTS)
    receipt = goods.mint(MintItem(1, person(1), 9), MintItem(2, shop, 9))
    assert goods.skips(receipt) == {2: SkipReason.SOLD_OUT}


def test_zero_address_and_the_contract_itself_are_refused(goods):
    receipt = goods.mint(MintItem(1, ZERO_ADDRESS, EDITION), MintItem(2, goods.address, EDITION))
    assert goods.skips(receipt) == {1: SkipReason.RECEIVER_REFUSED, 2: SkipReason.RECEIVER_REFUSED}


# Numbered copies


def test_every_serial_exists_once(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 3)))
    first = calls.numbered_token_id(9, 1)
    receipt = goods.mint(
        MintItem(1, person(1), first),
        MintItem(2, person(2), first),
        MintItem(3, person(3), calls.numbered_token_id(9, 3)),
        MintItem(4, person(4), calls.numbered_token_id(9, 4)),
        MintItem(5, person(5), calls.numbered_token_id(9, 1) - 1),
        MintItem(6, person(6), calls.numbered_token_id(9, 2), 2),
    )
    assert goods.skips(receipt) == dict.fromkeys((2, 4, 5, 6), SkipReason.SOLD_OUT)
    assert goods.balance(person(1), first) == 1
    assert (goods.minted(9), goods.minted(first), goods.minted(first + 1)) == (2, 1, 0)
    assert goods.ask("max_supply(uint256)", first, answer="uint256") == 1
    assert goods.ask("max_supply(uint256)", calls.numbered_token_id(9, 4), answer="uint256") == 0
    receipt = goods.transact(MINTER, calls.encode_mint(MintItem(2, person(2), first)))
    assert goods.skips(receipt) == {2: SkipReason.SOLD_OUT}


@pytest.mark.parametrize("amount", [0, 2, 2**256 - 1])
@pytest.mark.parametrize("encoder", [calls.encode_mint, lambda item: calls.encode_mint_many([item])])
def test_numbered_copy_is_minted_as_one(goods, amount, encoder):
    goods.transact(MINTER, calls.encode_define(Definition(9, calls.OPEN_EDITION)))
    copy = calls.numbered_token_id(9, 2)
    receipt = goods.transact(MINTER, encoder(MintItem(1, person(1), copy, amount)))
    assert goods.skips(receipt) == {1: SkipReason.SOLD_OUT}
    assert goods.skips(goods.transact(MINTER, encoder(MintItem(1, person(1), copy, 1)))) == {}
    assert (goods.minted(copy), goods.minted(9)) == (1, 1)


def test_numbered_and_plain_copies_share_the_cap(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 2)))
    receipt = goods.mint(
        MintItem(1, person(1), 9),
        MintItem(2, person(2), calls.numbered_token_id(9, 1)),
        MintItem(3, person(3), calls.numbered_token_id(9, 2)),
    )
    assert goods.skips(receipt) == {3: SkipReason.SOLD_OUT}
    assert goods.minted(9) == 2


def test_numbered_copy_of_an_undefined_edition_is_skipped(goods):
    receipt = goods.mint(MintItem(1, person(1), calls.numbered_token_id(404, 1)))
    assert goods.skips(receipt) == {1: SkipReason.SOLD_OUT}


# Returns


def returned(goods, purchase_id):
    answer = goods.chain.call(goods.address, calls.encode_are_returned([purchase_id]), None)
    assert calls.decode_flags(answer, 1) == [goods.ask("is_returned(uint256)", purchase_id, answer="bool")]
    return calls.decode_flags(answer, 1)[0]


def test_return_moves_the_token_to_the_owner_by_default(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION, 3))
    receipt = goods.transact(MINTER, calls.encode_return(signed_return(goods, 1, amount=3)))
    assert (goods.balance(address_of(HOLDER)), goods.balance(address_of(OWNER))) == (0, 3)
    assert returned(goods, 1)
    assert [log.topics[0] for log in receipt.logs] == [calls.PURCHASE_RETURNED_TOPIC, TRANSFER_SINGLE]
    assert goods.minted() == 3


def test_return_goes_to_the_treasury_that_is_set(goods):
    assert goods.ask("treasury()", answer="address") == address_of(OWNER).lower()
    goods.send(OWNER, "set_treasury(address)", person(9))
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    goods.transact(MINTER, calls.encode_return(signed_return(goods, 1)))
    assert goods.balance(person(9)) == 1


def test_return_happens_once_and_a_repeat_is_skipped(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION), MintItem(2, address_of(HOLDER), EDITION))
    signed = signed_return(goods, 1)
    goods.transact(MINTER, calls.encode_return(signed))
    receipt = goods.transact(MINTER, calls.encode_return(signed))
    assert goods.skips(receipt) == {1: SkipReason.ALREADY_RETURNED}
    assert goods.balance(address_of(HOLDER)) == 1


def test_returned_purchase_is_not_minted_again(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    goods.transact(MINTER, calls.encode_return(signed_return(goods, 1)))
    assert goods.skips(goods.mint(MintItem(1, address_of(HOLDER), EDITION))) == {1: SkipReason.ALREADY_MINTED}


SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def bad_returns(goods):
    good = signed_return(goods, 1)
    mirrored = replace(good, v=55 - good.v, s=SECP256K1_ORDER - good.s)
    late = int(time.time()) - 60
    return {
        "wrong signer": (signed_return(goods, 1, key=STRANGER), SkipReason.BAD_SIGNATURE),
        "signed for another purchase": (
            replace(signed_return(goods, 2), purchase_id=1),
            SkipReason.BAD_SIGNATURE,
        ),
        "signed for another amount": (replace(good, amount=2), SkipReason.BAD_SIGNATURE),
        "signed for another token": (replace(good, token_id=9), SkipReason.BAD_SIGNATURE),
        "deadline moved": (replace(good, deadline_s=good.deadline_s + 1), SkipReason.BAD_SIGNATURE),
        "signed for another chain": (signed_return(goods, 1, chain_id=1), SkipReason.BAD_SIGNATURE),
        "signed for another contract": (
            signed_return(goods, 1, contract=person(1)),
            SkipReason.BAD_SIGNATURE,
        ),
        "mirrored signature": (mirrored, SkipReason.BAD_SIGNATURE),
        "expired": (signed_return(goods, 1, deadline_s=late), SkipReason.EXPIRED),
        "never minted": (signed_return(goods, 77), SkipReason.NOT_MINTED),
        "more than held": (signed_return(goods, 1, amount=9), SkipReason.NOT_HELD),
        "nothing": (signed_return(goods, 1, amount=0), SkipReason.NOT_HELD),
    }


def test_return_without_a_valid_signature_is_refused(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION, 2), MintItem(2, address_of(HOLDER), EDITION))
    for name, (signed, _) in bad_returns(goods).items():
        with pytest.raises(Reverted):
            goods.transact(MINTER, calls.encode_return(signed))
        assert goods.balance(address_of(HOLDER)) == 3, name
    assert not returned(goods, 1)


def test_bad_return_in_a_batch_is_skipped_with_its_reason(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION, 2), MintItem(2, address_of(HOLDER), EDITION))
    for name, (signed, reason) in bad_returns(goods).items():
        receipt = goods.transact(MINTER, calls.encode_return_many([signed]))
        assert goods.skips(receipt) == {signed.purchase_id: reason}, name
    good = signed_return(goods, 2)
    receipt = goods.transact(MINTER, calls.encode_return_many([signed_return(goods, 77), good, good]))
    assert goods.skips(receipt) == {77: SkipReason.NOT_MINTED, 2: SkipReason.ALREADY_RETURNED}
    assert goods.balance(address_of(HOLDER)) == 2
    assert returned(goods, 2)


def test_return_without_a_signer_is_refused(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION))
    nobody = SignedReturn(1, ZERO_ADDRESS, EDITION, 1, int(time.time()) + 60, 27, 0, 0)
    with pytest.raises(Reverted):
        goods.transact(MINTER, calls.encode_return(nobody))


def test_numbered_copy_keeps_its_serial_when_it_returns(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 3)))
    copy = calls.numbered_token_id(9, 2)
    goods.mint(MintItem(1, address_of(HOLDER), copy))
    goods.transact(MINTER, calls.encode_return(signed_return(goods, 1, token_id=copy)))
    assert goods.balance(address_of(OWNER), copy) == 1
    assert goods.skips(goods.mint(MintItem(2, address_of(HOLDER), copy))) == {2: SkipReason.SOLD_OUT}


def test_domain_separator_is_of_this_chain_and_this_contract(goods):
    separator = goods.ask("DOMAIN_SEPARATOR()", answer="bytes32")
    assert separator == calls.domain_separator(CHAIN_ID, goods.address)
    assert separator != calls.domain_separator(1, goods.address)


def test_typed_data_of_a_return_is_what_wallets_sign(goods):
    from eth_account.messages import encode_typed_data

    message = encode_typed_data(
        {"name": "Vitrine Goods", "version": "1", "chainId": CHAIN_ID, "verifyingContract": goods.address},
        {
            "ReturnToTreasury": [
                {"name": name, "type": "uint256"} for name in ("purchase_id", "id", "amount", "deadline")
            ]
        },
        {"purchase_id": 1, "id": EDITION, "amount": 2, "deadline": 3},
    )
    digest = calls.return_digest(
        CHAIN_ID, goods.address, purchase_id=1, token_id=EDITION, amount=2, deadline_s=3
    )
    assert keccak(b"\x19" + message.version + message.header + message.body) == digest


# The standards


def test_interfaces_of_erc_165(goods):
    def supports(interface: str) -> bool:
        return goods.ask("supportsInterface(bytes4)", bytes.fromhex(interface), answer="bool")

    assert all(supports(interface) for interface in ("01ffc9a7", "d9b67a26", "0e89341c", "2a55205a"))
    assert not supports("ffffffff")
    assert not supports("80ac58cd")


def test_royalty_is_the_owners_until_it_is_set(goods):
    data = calldata("royaltyInfo(uint256,uint256)", EDITION, 10_000)
    assert decode(["address", "uint256"], goods.chain.call(goods.address, data, None)) == (
        address_of(OWNER).lower(),
        500,
    )
    goods.send(OWNER, "set_royalty(address,uint256)", person(5), 250)
    assert decode(["address", "uint256"], goods.chain.call(goods.address, data, None)) == (
        person(5).lower(),
        250,
    )
    with pytest.raises(Reverted):
        goods.send(OWNER, "set_royalty(address,uint256)", person(5), 10_001)


def test_holder_and_approved_operator_may_transfer_and_others_not(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION, 5))
    transfer = "safeTransferFrom(address,address,uint256,uint256,bytes)"
    goods.send(HOLDER, transfer, address_of(HOLDER), person(1), EDITION, 2, b"note")
    with pytest.raises(Reverted):
        goods.send(STRANGER, transfer, address_of(HOLDER), person(1), EDITION, 1, b"")
    goods.send(HOLDER, "setApprovalForAll(address,bool)", address_of(STRANGER), True)
    goods.send(STRANGER, transfer, address_of(HOLDER), person(1), EDITION, 1, b"")
    assert (goods.balance(address_of(HOLDER)), goods.balance(person(1))) == (2, 3)
    for to, amount in ((person(1), 3), (ZERO_ADDRESS, 1), (goods.receiver(REFUSES), 1)):
        with pytest.raises(Reverted):
            goods.send(HOLDER, transfer, address_of(HOLDER), to, EDITION, amount, b"")
    shop = goods.receiver(ACCEPTS)
    goods.send(HOLDER, transfer, address_of(HOLDER), shop, EDITION, 1, b"")
    assert goods.balance(shop) == 1


def test_transfer_to_oneself_keeps_the_balance(goods):
    goods.mint(MintItem(1, address_of(HOLDER), EDITION, 5))
    transfer = "safeTransferFrom(address,address,uint256,uint256,bytes)"
    goods.send(HOLDER, transfer, address_of(HOLDER), address_of(HOLDER), EDITION, 5, b"")
    assert goods.balance(address_of(HOLDER)) == 5


def test_batch_transfer_moves_all_or_nothing(goods):
    goods.transact(MINTER, calls.encode_define(Definition(9, 10)))
    goods.mint(MintItem(1, address_of(HOLDER), EDITION, 5), MintItem(2, address_of(HOLDER), 9, 1))
    transfer = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
    with pytest.raises(Reverted):
        goods.send(HOLDER, transfer, address_of(HOLDER), person(1), [EDITION, 9], [1, 2], b"")
    with pytest.raises(Reverted):
        goods.send(HOLDER, transfer, address_of(HOLDER), goods.receiver(REFUSES), [EDITION, 9], [1, 1], b"")
    receipt = goods.send(
        HOLDER, transfer, address_of(HOLDER), goods.receiver(ACCEPTS), [EDITION, 9], [1, 1], b""
    )
    assert [log.topics[0] for log in receipt.logs] == [TRANSFER_BATCH]
    balances = "balanceOfBatch(address[],uint256[])"
    assert goods.ask(balances, [address_of(HOLDER)] * 2, [EDITION, 9], answer="uint256[]") == (4, 0)


def test_refusal_tells_its_reason(goods):
    with pytest.raises(CallReverted) as refused:
        goods.chain.call(goods.address, calls.encode_mint(MintItem(1, person(1), EDITION)), None)
    assert refused.value.reason == "minter"


# Cost


@pytest.mark.parametrize(("numbered", "gas_per_item"), [(False, 31_000), (True, 33_000)])
def test_gas_of_a_batch_of_one_hundred_stays_within_its_bound(goods, numbered, gas_per_item):
    goods.transact(MINTER, calls.encode_define(Definition(9, 10_000)))
    tokens = [calls.numbered_token_id(9, number) if numbered else 9 for number in range(1, 202)]
    goods.mint(*(MintItem(number, person(number), tokens[number]) for number in range(100)))
    receipt = goods.mint(*(MintItem(number, person(number), tokens[number]) for number in range(100, 200)))
    assert goods.skips(receipt) == {}
    assert receipt.gas_used < 100 * gas_per_item
