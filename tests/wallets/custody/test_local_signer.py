from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_utils.address import is_checksum_address
from eth_utils.crypto import keccak

from gateway.kernel.errors import InvalidError
from wallets.custody.local_signer import LocalSigner
from wallets.custody.sealed_seed import SealedSeed
from wallets.signer import Signer

HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


@pytest.fixture
def signer() -> Signer:
    return LocalSigner(SealedSeed(bytes(range(64))))


async def test_addresses_are_checksummed_and_distinct(signer: Signer) -> None:
    names = ["treasury", "minter/0", "minter/1", "customer/0", "customer/1"]
    addresses = [await signer.address(name) for name in names]
    assert len(set(addresses)) == 5
    assert all(is_checksum_address(address) for address in addresses)


async def test_a_signed_transaction_is_the_keys_and_the_same_every_time(signer: Signer) -> None:
    fields = {
        "type": 2,
        "chainId": 1,
        "nonce": 4,
        "gas": 21_000,
        "maxFeePerGas": 2 * 10**9,
        "maxPriorityFeePerGas": 10**9,
        "value": 0,
        "data": b"\1\2",
        "to": await signer.address("treasury"),
    }
    signed = await signer.sign_transaction("minter/0", fields)
    assert Account.recover_transaction(signed.raw) == await signer.address("minter/0")
    assert signed.hash == keccak(signed.raw)
    assert await signer.sign_transaction("minter/0", fields) == signed


@pytest.mark.parametrize("changes", [{}, {"to": None}, {"nonce": 0, "value": 7, "data": bytes(20_000)}])
async def test_transactions_are_encoded_as_eth_account_does(signer: Any, changes: dict[str, Any]) -> None:
    fields = {
        "type": 2,
        "chainId": 131277322940537,
        "nonce": 4,
        "gas": 21_000,
        "maxFeePerGas": 2 * 10**9,
        "maxPriorityFeePerGas": 10**9,
        "value": 0,
        "data": b"\1\2",
        "to": await signer.address("treasury"),
        **changes,
    }
    if fields["to"] is None:
        del fields["to"]
    for index in range(8):
        signed = await signer.sign_transaction(f"minter/{index}", fields)
        expected = Account.sign_transaction(fields, signer._key(f"minter/{index}").secret)
        assert signed.raw == bytes(expected.raw_transaction)
        assert signed.hash == bytes(expected.hash)


async def test_another_type_of_transaction_is_refused(signer: Signer) -> None:
    with pytest.raises(ValueError, match="EIP-1559"):
        await signer.sign_transaction("minter/0", {"type": 1})


async def test_a_signed_digest_is_the_keys_and_in_its_lower_form(signer: Signer) -> None:
    for index in range(20):
        digest = keccak(text=str(index))
        v, r, s = await signer.sign_digest(f"customer/{index}", digest)
        assert v in (27, 28)
        assert 0 < s <= HALF_ORDER
        recovered = Account._recover_hash(digest, vrs=(v, r, s))
        assert recovered == await signer.address(f"customer/{index}")


async def test_a_digest_of_another_length_is_refused(signer: Signer) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        await signer.sign_digest("customer/0", b"short")


async def test_an_unknown_key_is_refused(signer: Signer) -> None:
    with pytest.raises(InvalidError, match=r"signer\.unknown_key"):
        await signer.address("owner/1")


async def test_keys_beyond_the_cache_are_derived_again(signer: Signer) -> None:
    first = await signer.address("customer/0")
    for index in range(5_000):
        await signer.sign_digest(f"customer/{index}", bytes(32)) if index % 100 == 0 else signer._key(
            f"customer/{index}"
        )
    assert len(signer._keys) == 4_096
    assert await signer.address("customer/0") == first
