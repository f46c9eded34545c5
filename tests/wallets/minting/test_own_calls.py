"""Described calls: their parameters, their values, and the events that tell of a new token."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from wallets.minting.chain.port import Log
from wallets.minting.contract.own_tokens import (
    TRANSFER_SINGLE_TOPIC,
    TRANSFER_TOPIC,
    encode_own,
    minted_id,
)
from wallets.minting.own_calls import CallDescription, Placeholder, Standard, call_problems, parameters

CONTRACT = "0x52908400098527886E0F7030069857D2E4169EE7"
HOLDER = "0x8617E340B3D01FA5F11F306F4090FD50E238070D"
OTHER = "0xde709f2102306220921060314715629080e2fb77"
ALL = dict.fromkeys(Placeholder, 0) | {Placeholder.TO: HOLDER, Placeholder.DATA: b""}


@pytest.mark.parametrize(
    "call",
    [
        "mint", "mint()x", "mint(address )", "mint(uint)", "mint(uint7)", "mint(uint264)", "mint(bytes33)",
        "mint(bytes0)", "mint(uint08)", "mint(uint256[])", "mint((address,uint256))", "1mint(address)",
        "mint(address,)", "mint(" + ",".join(["bool"] * 13) + ")",
    ],
)  # fmt: skip
def test_what_is_no_signature_is_refused(call: str) -> None:
    with pytest.raises(ValueError, match=r"is no|write uint256|are the most"):
        parameters(call)


def test_a_call_is_encoded_as_the_abi_says() -> None:
    call = "give(uint64,address,bool,string,bytes4,int8,bytes)"
    arguments = ("serial", "to", True, "to", "0x01020304", "-5", "data")
    assert not list(call_problems(Standard.ERC721, call, arguments, "0xaa", address=CONTRACT))
    description = CallDescription(Standard.ERC721, call, arguments, b"\xaa")
    data = encode_own(description, ALL | {Placeholder.SERIAL: 7, Placeholder.DATA: b"\xaa"})
    types = ["uint64", "address", "bool", "string", "bytes4", "int8", "bytes"]
    values = [7, HOLDER, True, "to", b"\x01\x02\x03\x04", -5, b"\xaa"]
    assert data == keccak(text=call)[:4] + encode(types, values)


@given(
    arguments=st.lists(
        st.one_of(st.sampled_from([*Placeholder, HOLDER, "0x", "7"]), st.integers(), st.booleans(), st.text()),
        max_size=4,
    ),
    types=st.lists(
        st.sampled_from(["address", "uint256", "uint64", "uint8", "int16", "bytes", "bytes2", "bool", "string"]),
        max_size=4,
    ),
)  # fmt: skip
def test_what_passes_the_checks_can_be_encoded(arguments: list[Any], types: list[str]) -> None:
    call = f"mint({','.join(types)})"
    if any(call_problems(Standard.ERC721, call, arguments, "0x", address=CONTRACT)):
        return
    encode_own(CallDescription(Standard.ERC721, call, tuple(arguments)), ALL)


def _word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def _single(
    *,
    contract: str = CONTRACT,
    source: bytes = bytes(32),
    to: str = HOLDER,
    token_id: int = 4,
    amount: int = 2,
) -> Log:
    data = token_id.to_bytes(32, "big") + amount.to_bytes(32, "big")
    return Log(contract, (TRANSFER_SINGLE_TOPIC, _word(OTHER), source, _word(to)), data)


@pytest.mark.parametrize(
    "log",
    [
        _single(contract=OTHER),
        _single(source=_word(OTHER)),
        _single(to=OTHER),
        _single(token_id=5),
        _single(amount=3),
        Log(CONTRACT, (TRANSFER_TOPIC, bytes(32), _word(HOLDER), (4).to_bytes(32, "big")), b""),
        Log(CONTRACT, (TRANSFER_SINGLE_TOPIC,), b""),
    ],
)
def test_only_the_event_of_this_mint_counts(log: Log) -> None:
    asked: dict[str, Any] = {"token_id": 4, "amount": 2}
    assert minted_id([log], Standard.ERC1155, CONTRACT, HOLDER, **asked) is None
    assert minted_id([log, _single()], Standard.ERC1155, CONTRACT, HOLDER, **asked) == 4


def test_an_id_the_contract_chose_is_read_and_erc20_is_not_taken_for_it() -> None:
    coin = Log(CONTRACT, (TRANSFER_TOPIC, bytes(32), _word(HOLDER)), (9).to_bytes(32, "big"))
    card = Log(CONTRACT, (TRANSFER_TOPIC, bytes(32), _word(HOLDER), (9).to_bytes(32, "big")), b"")
    asked: dict[str, Any] = {"token_id": None, "amount": 1}
    assert minted_id([coin], Standard.ERC721, CONTRACT, HOLDER, **asked) is None
    assert minted_id([coin, card], Standard.ERC721, CONTRACT, HOLDER, **asked) == 9


def test_a_text_that_cannot_be_encoded_is_refused() -> None:
    problems = call_problems(
        Standard.ERC721, "give(address,string)", ("to", "half \ud800"), "0x", address=CONTRACT
    )
    assert [(one.field, one.argument) for one in problems] == [("arguments", 1)]
