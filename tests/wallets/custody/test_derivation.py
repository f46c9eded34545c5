from __future__ import annotations

import pytest
from eth_account.hdaccount import key_from_seed
from eth_account.hdaccount.mnemonic import Mnemonic

from gateway.kernel.errors import InvalidError
from wallets.custody.derivation import branches, parse_key_ref


@pytest.mark.parametrize("index", [0, 1, 77, 2**31 - 1])
@pytest.mark.parametrize(("branch", "account"), [("customer", 0), ("minter", 1), ("treasury", 2)])
def test_keys_are_those_of_bip_32(branch: str, account: int, index: int) -> None:
    seed = bytes(range(64))
    secret = branches(seed)[branch].child_secret(index)
    assert secret.to_bytes(32, "big") == key_from_seed(seed, f"m/44'/60'/{account}'/0/{index}")


def test_the_first_customer_has_the_address_every_wallet_shows_for_the_test_mnemonic() -> None:
    # The mnemonic that anvil and hardhat publish, and the key of their first account.
    seed = Mnemonic.to_seed("test test test test test test test test test test test junk")
    secret = branches(seed)["customer"].child_secret(0)
    assert f"{secret:064x}" == "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"


def test_names_of_keys_are_parsed() -> None:
    assert parse_key_ref("customer/0") == ("customer", 0)
    assert parse_key_ref("minter/12") == ("minter", 12)
    assert parse_key_ref("treasury") == ("treasury", 0)


@pytest.mark.parametrize(
    "name",
    ["", "customer", "customer/", "customer/-1", "customer/01", "customer/1/2", "customer/2147483648",
     "treasury/0", "owner/1", "customer/٣", "customer/99999999999999999999"],
)  # fmt: skip
def test_other_names_have_no_key(name: str) -> None:
    with pytest.raises(InvalidError, match=r"signer\.unknown_key"):
        parse_key_ref(name)


def test_a_key_does_not_show_when_it_is_printed() -> None:
    branch = branches(bytes(range(64)))["customer"]
    assert str(branch.secret) not in repr(branch)
    assert f"{branch.secret:x}" not in repr(branch)
