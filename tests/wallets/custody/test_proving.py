"""Signatures of keys, of contract accounts (EIP-1271) and of accounts that are not deployed yet (ERC-6492)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from gateway.kernel.errors import InvalidError, UnavailableError
from tests.wallets.custody.accounts_on_chain import (
    HOSTILE,
    OWNER,
    STRANGER,
    OnChain,
    deploying,
    embedded,
    on_anvil,
    owned_by,
    signed,
    to_come,
    wrapped,
)
from wallets.custody.linking import WalletKind
from wallets.custody.proving import AddressProofs, digest_of, recovered_address
from wallets.custody.validator import build
from wallets.custody.validator.asking import MOST_BYTES, Verdict, answer, question
from wallets.minting.chain.port import CallReverted, ChainRefused, ChainUnavailable

TEXT = "shop.example wants you to sign in with your Ethereum account:\nand so on"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture(params=["embedded", "anvil"])
async def chain(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OnChain]:
    async with (embedded if request.param == "embedded" else on_anvil)(tmp_path) as found:
        yield found


async def refused(proofs: AddressProofs, address: str, signature: str, text: str = TEXT) -> None:
    with pytest.raises(InvalidError, match=r"wallet\.link_signature"):
        await proofs.prove(address, text, signature)


# --- Keys -------------------------------------------------------------------------------------------


def test_a_key_is_recovered_as_every_wallet_signs() -> None:
    for number in range(30):
        account, text = Account.from_key(keccak(text=f"key {number}")), f"text {number}\n\u00e9"
        signature = bytes.fromhex(signed(account, text)[2:])
        assert recovered_address(digest_of(text), signature) == account.address
        other_v = signature[:64] + bytes([signature[64] - 27])
        assert recovered_address(digest_of(text), other_v) == account.address


def test_a_signature_in_another_form_is_nobodys() -> None:
    digest = digest_of(TEXT)
    good = bytes.fromhex(signed(OWNER, TEXT)[2:])
    r, s, v = good[:32], int.from_bytes(good[32:64], "big"), good[64]
    upper = r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v])
    for form in (
        upper,
        good[:64],
        good + b"\0",
        b"",
        good[:64] + bytes([v + 2]),
        good[:64] + bytes([v + 10]),
        bytes(32) + good[32:],
        r + bytes(32) + good[64:],
        ORDER.to_bytes(32, "big") + good[32:],
        r + ORDER.to_bytes(32, "big") + good[64:],
        b"\xff" * 65,
    ):
        assert recovered_address(digest, form) is None


async def test_a_key_links_its_own_address_alone(chain: OnChain) -> None:
    good = signed(OWNER, TEXT)
    assert await chain.proofs.prove(OWNER.address, TEXT, good) is WalletKind.KEY
    await refused(chain.proofs, STRANGER.address, good)
    await refused(chain.proofs, OWNER.address, good, TEXT + " ")
    await refused(chain.proofs, OWNER.address, signed(STRANGER, TEXT))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "0x0",
        "0xzz",
        "1234",
        "0X1234",
        "0x12 34",
        "0x1234\n",
        "0x\u0661\u0661",
        "0x" + "00" * 17_000,
    ],
)
async def test_what_is_not_hexadecimal_is_refused_before_anybody_is_asked(text: str) -> None:
    class Nobody:
        async def code(self, address: str) -> bytes:
            raise AssertionError

        run = code

    await refused(AddressProofs(Nobody()), OWNER.address, text)


# --- Contract accounts ------------------------------------------------------------------------------


async def test_a_contract_account_decides_itself(chain: OnChain) -> None:
    wallet = await chain.deploy(owned_by(OWNER.address))
    assert await chain.proofs.prove(wallet, TEXT, signed(OWNER, TEXT)) is WalletKind.CONTRACT
    await refused(chain.proofs, wallet, signed(STRANGER, TEXT))
    await refused(chain.proofs, wallet, signed(OWNER, TEXT + "."))
    await refused(chain.proofs, wallet, "0x00")


async def test_no_other_answer_than_the_standards_means_yes(chain: OnChain) -> None:
    for what, runtime in HOSTILE.items():
        account = await chain.deploy(deploying(bytes.fromhex(runtime)))
        began = time.monotonic()
        await refused(chain.proofs, account, signed(OWNER, TEXT))
        assert time.monotonic() - began < 6, what


async def test_an_account_with_code_of_its_own_has_no_key(chain: OnChain) -> None:
    """Whoever had the key before there was code cannot go round it."""
    if chain.node is None:
        pytest.skip("only a test node puts code at a chosen address")
    await chain.node.ask("anvil_setCode", OWNER.address, "0x5f5ffd")
    await refused(chain.proofs, OWNER.address, signed(OWNER, TEXT))


async def test_a_delegated_account_has_a_key_and_code(chain: OnChain) -> None:
    """EIP-7702: the account signs itself, and so does the code that it delegates to."""
    await chain.delegate(OWNER, await chain.deploy(owned_by(STRANGER.address)))
    assert await chain.proofs.prove(OWNER.address, TEXT, signed(OWNER, TEXT)) is WalletKind.KEY
    assert await chain.proofs.prove(OWNER.address, TEXT, signed(STRANGER, TEXT)) is WalletKind.CONTRACT
    await refused(chain.proofs, OWNER.address, signed(Account.create(), TEXT))


# --- Accounts to come -------------------------------------------------------------------------------


async def test_an_account_to_come_is_asked_as_its_factory_would_deploy_it(chain: OnChain) -> None:
    factory = await chain.factory()
    account, data = to_come(factory, owned_by(OWNER.address))
    given = wrapped(factory, data, signed(OWNER, TEXT))
    assert await chain.proofs.prove(account, TEXT, given) is WalletKind.UNDEPLOYED
    assert await chain.client.code(account) == b"", "nothing was left behind"
    await refused(chain.proofs, account, wrapped(factory, data, signed(STRANGER, TEXT)))
    await refused(chain.proofs, account, given, TEXT + ".")
    await refused(chain.proofs, account, signed(OWNER, TEXT))
    # For another address than what the factory deploys.
    await refused(chain.proofs, STRANGER.address, given)
    other, _ = to_come(factory, owned_by(OWNER.address), keccak(b"salt"))
    await refused(chain.proofs, other, given)


async def test_once_deployed_the_wrapping_is_taken_off_and_its_factory_not_called(chain: OnChain) -> None:
    factory = await chain.factory()
    wallet = await chain.deploy(owned_by(OWNER.address))
    bad = await chain.deploy(deploying(bytes.fromhex(HOSTILE["loops"])))
    given = signed(OWNER, TEXT)
    for named in (factory, bad, STRANGER.address):
        assert (
            await chain.proofs.prove(wallet, TEXT, wrapped(named, b"\0" * 64, given)) is WalletKind.CONTRACT
        )
    await refused(chain.proofs, wallet, wrapped(factory, b"", signed(STRANGER, TEXT)))


async def test_a_factory_that_does_not_deploy_proves_nothing(chain: OnChain) -> None:
    factory = await chain.factory()
    account, data = to_come(factory, owned_by(OWNER.address))
    good = signed(OWNER, TEXT)
    loops = await chain.deploy(deploying(bytes.fromhex(HOSTILE["loops"])))
    reverts = await chain.deploy(deploying(bytes.fromhex(HOSTILE["reverts"])))
    for named, called_with in ((loops, data), (reverts, data), (factory, b""), (factory, data[:-1]),
                               (STRANGER.address, data)):  # fmt: skip
        await refused(chain.proofs, account, wrapped(named, called_with, good))


async def test_a_broken_wrapping_is_refused(chain: OnChain) -> None:
    zero = "0x" + "00" * 20
    for given in (
        "0x" + "6492" * 16,
        "0x00" + "6492" * 16,
        signed(OWNER, TEXT) + "6492" * 16,
        wrapped(zero, b"", signed(OWNER, TEXT)),
        # A key signs for itself without any wrapping.
        wrapped(STRANGER.address, b"", signed(OWNER, TEXT)),
        wrapped(STRANGER.address, b"\0" * (MOST_BYTES + 1), signed(OWNER, TEXT)),
        # Lengths that no machine counts.
        "0x" + "".join(f"{number:064x}" for number in (1, 96, 96, 1 << 63)) + "6492" * 16,
    ):
        await refused(chain.proofs, OWNER.address, given)


async def test_contracts_read_calls_cost_a_bounded_time_on_the_embedded_chain(tmp_path: Path) -> None:
    async with embedded(tmp_path) as chain:
        loops = deploying(bytes.fromhex(HOSTILE["loops"]))
        factory = await chain.factory()
        account, data = to_come(factory, loops)
        began = time.monotonic()
        await refused(chain.proofs, account, wrapped(factory, data, "0x00"))
        assert time.monotonic() - began < 8


async def test_what_has_no_code_is_called_by_nobody(tmp_path: Path) -> None:
    """A precompiled contract as the factory: BLAKE2 costs one unit of gas per round, and here 20 us."""
    data = (400_000).to_bytes(4, "big") + bytes(208) + b"\x01"
    async with embedded(tmp_path) as chain:
        began = time.monotonic()
        await refused(chain.proofs, STRANGER.address, wrapped("0x" + "00" * 19 + "09", data, "0x00"))
        assert time.monotonic() - began < 3


# --- The validator ----------------------------------------------------------------------------------


def test_the_committed_validator_is_what_its_source_compiles_to() -> None:
    assert build.ARTIFACT_PATH.read_text(encoding="utf-8") == build.build()
    assert json.loads(build.build())["compiler"] == "vyper 0.4.3"


async def test_a_validator_that_is_sent_leaves_nothing(chain: OnChain) -> None:
    """It is never sent; if it were, it would revert."""
    wallet = await chain.deploy(owned_by(OWNER.address))
    code = question(wallet, digest_of(TEXT), bytes.fromhex(signed(OWNER, TEXT)[2:]))
    with pytest.raises(CallReverted) as told:
        await chain.client.call(None, code)
    assert answer(told.value.return_data) is Verdict.VALID
    with pytest.raises(AssertionError):
        await chain.deploy(code)


async def test_longer_signatures_reach_the_account_whole(chain: OnChain) -> None:
    """A contract that answers yes exactly when the hash of its whole input is the expected one."""
    signature = bytes(number % 251 for number in range(MOST_BYTES))
    digest = digest_of(TEXT)
    calldata = (
        bytes.fromhex("1626ba7e") + digest + (64).to_bytes(32, "big") + len(signature).to_bytes(32, "big")
    )
    expected = keccak(calldata + signature)
    # calldatacopy(0, 0, calldatasize); if keccak(0, calldatasize) == expected, mstore and return yes.
    runtime = "365f5f37" + "365f20" + "7f" + expected.hex() + "14" + "602f57" + "5f5ffd"
    runtime += "5b" + "631626ba7e60e01b5f52" + "60205ff3"
    assert bytes.fromhex(runtime)[0x2F] == 0x5B
    account = await chain.deploy(deploying(bytes.fromhex(runtime)))
    assert await chain.proofs.prove(account, TEXT, "0x" + signature.hex()) is WalletKind.CONTRACT
    await refused(chain.proofs, account, "0x" + signature[:-1].hex())
    await refused(chain.proofs, account, "0x" + signature.hex() + "00")


def test_only_the_validators_own_answer_is_read() -> None:
    yes = keccak(text="vitrine validator 1") + (2).to_bytes(32, "big")
    assert answer(yes) is Verdict.VALID
    for other in (b"", yes[:-1], yes + b"\0", yes[32:] * 2, yes[:32] + (3).to_bytes(32, "big"), bytes(64)):
        assert answer(other) is None


# --- A chain that does not answer -------------------------------------------------------------------


class Troubled:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def code(self, address: str) -> bytes:
        if self.error is None:
            await asyncio.sleep(60)
            raise AssertionError
        raise self.error

    async def run(self, code: bytes) -> bytes:
        raise AssertionError


async def test_only_two_contracts_are_asked_at_a_time_and_keys_do_not_wait_for_them() -> None:
    class Slow:
        asked = 0

        async def code(self, address: str) -> bytes:
            return b"" if address == OWNER.address else b"\x5b\x5f\x56"

        async def run(self, code: bytes) -> bytes:
            self.asked += 1
            await asyncio.Event().wait()
            raise AssertionError

    chain = Slow()
    proofs = AddressProofs(chain, within_s=0.1)
    questions = [asyncio.create_task(proofs.prove(STRANGER.address, TEXT, "0x00")) for _ in range(6)]
    await asyncio.sleep(0.02)
    assert await proofs.prove(OWNER.address, TEXT, signed(OWNER, TEXT)) is WalletKind.KEY
    assert chain.asked == 2
    answers = await asyncio.gather(*questions, return_exceptions=True)
    assert {type(one) for one in answers} == {UnavailableError}
    # Turns are given back.
    with pytest.raises(UnavailableError):
        await proofs.prove(STRANGER.address, TEXT, "0x00")
    assert chain.asked > 2


@pytest.mark.parametrize("error", [ChainUnavailable("away"), None])
async def test_a_chain_that_is_away_is_asked_again_later(error: Any) -> None:
    with pytest.raises(UnavailableError, match=r"wallet\.chain_unavailable"):
        await AddressProofs(Troubled(error), within_s=0.05).prove(OWNER.address, TEXT, signed(OWNER, TEXT))


async def test_what_the_node_refuses_proves_nothing() -> None:
    await refused(AddressProofs(Troubled(ChainRefused("no"))), OWNER.address, signed(OWNER, TEXT))
