"""The goods contract on an embedded chain of its own, and contracts that receive its tokens."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi import decode, encode
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils import keccak, to_checksum_address
from vyper import compile_code

from wallets.minting.chain.deploy import DEPLOY_GAS, create_address, deployment_data
from wallets.minting.chain.embedded_chain import CHAIN_ID, EvmChain
from wallets.minting.chain.port import Receipt
from wallets.minting.contract import calls
from wallets.minting.contract.artifact import load_artifact
from wallets.minting.contract.calls import Definition, MintItem, SignedReturn, SkipReason

OWNER, MINTER, HOLDER, STRANGER = (bytes([number]) * 32 for number in (1, 2, 3, 4))
EDITION = 7
GAS = 16_000_000

TRANSFER_SINGLE = keccak(text="TransferSingle(address,address,address,uint256,uint256)")
TRANSFER_BATCH = keccak(text="TransferBatch(address,address,address,uint256[],uint256[])")

RECEIVER = """
# pragma version 0.4.3
# pragma evm-version cancun
interface Goods:
    def safeTransferFrom(
        sender: address, to: address, id: uint256, amount: uint256, data: Bytes[4]
    ): nonpayable
TAKER: constant(address) = 0x00000000000000000000000000000000000000AA
mode: uint256
waste: uint256
@deploy
def __init__(mode: uint256):
    self.mode = mode
@external
def onERC1155Received(o: address, f: address, id: uint256, amount: uint256, data: Bytes[1024]) -> bytes4:
    assert self.mode != 1, "no thanks"
    if self.mode == 2:
        for i: uint256 in range(1_000_000):
            self.waste += i
    if self.mode == 3:
        return 0x00000001
    if self.mode == 4:
        extcall Goods(msg.sender).safeTransferFrom(self, TAKER, id, amount, b"")
    return 0xF23A6E61
@external
def onERC1155BatchReceived(
    o: address, f: address, ids: DynArray[uint256, 64], amounts: DynArray[uint256, 64], data: Bytes[1024]
) -> bytes4:
    assert self.mode != 1, "no thanks"
    return 0xBC197C81
"""
ACCEPTS, REFUSES, BURNS_GAS, ANSWERS_WRONG, PASSES_ON = range(5)


def address_of(key: bytes) -> str:
    """The account of a private key."""
    return Account.from_key(key).address


def calldata(signature: str, *arguments: Any) -> bytes:
    """A call by its signature, such as ``"define(uint256,uint256,string)"``, and its arguments."""
    types = signature[signature.index("(") + 1 : -1]
    return keccak(text=signature)[:4] + encode(types.split(",") if types else [], arguments)


@cache
def receiver_bytecode() -> bytes:
    """The creation code of `RECEIVER` without its argument, the mode."""
    return bytes.fromhex(compile_code(RECEIVER, output_formats=["bytecode"])["bytecode"][2:])


class Reverted(Exception):
    """The transaction was refused as a whole."""


@dataclass
class Goods:
    """The deployed contract, with its owner, one other minter and a block for every call."""

    chain: EvmChain
    address: str = ""

    def transact(self, key: bytes, data: bytes, to: str | bytes | None = None, gas: int = GAS) -> Receipt:
        """Send a transaction to the contract (or ``to``; ``b""`` creates one). Raises Reverted."""
        sender = address_of(key)
        signed = Account.sign_transaction(
            {
                "chainId": CHAIN_ID,
                "nonce": self.chain.nonce(sender, None),
                "gas": gas,
                "maxFeePerGas": 10**10,
                "maxPriorityFeePerGas": 1,
                "to": self.address if to is None else to,
                "value": 0,
                "data": data,
            },
            key,
        )
        receipt = self.chain.receipt(self.chain.send_raw(bytes(signed.raw_transaction)))
        assert receipt is not None
        if not receipt.succeeded:
            raise Reverted
        return receipt

    def send(self, key: bytes, signature: str, *arguments: Any) -> Receipt:
        """Call a function by its signature in a transaction. Raises Reverted."""
        return self.transact(key, calldata(signature, *arguments))

    def ask(self, signature: str, *arguments: Any, answer: str) -> Any:
        """Call a view and decode its one answer of the type ``answer``."""
        return decode([answer], self.chain.call(self.address, calldata(signature, *arguments), None))[0]

    def mint(self, *items: MintItem, key: bytes = MINTER) -> Receipt:
        """Mint purchases in one transaction."""
        return self.transact(key, calls.encode_mint_many(items))

    def skips(self, receipt: Receipt) -> dict[int, SkipReason]:
        """What a transaction left out, by purchase number."""
        return calls.purchase_skips(receipt.logs, self.address)

    def balance(self, holder: str, token_id: int = EDITION) -> int:
        """Tokens of a holder."""
        return self.ask("balanceOf(address,uint256)", holder, token_id, answer="uint256")

    def minted(self, token_id: int = EDITION) -> int:
        """Tokens ever minted of an edition, or of a numbered copy."""
        return self.ask("minted(uint256)", token_id, answer="uint256")

    def receiver(self, mode: int) -> str:
        """Deploy a recipient with code; the modes stand beside its source."""
        return self.deploy(receiver_bytecode() + encode(["uint256"], [mode]))

    def deploy(self, code: bytes) -> str:
        """Create a contract from the owner's account and return its address."""
        address = self.transact(OWNER, code, to=b"").contract_address
        assert address is not None
        return address


def open_goods(chain: EvmChain) -> Goods:
    """Deploy the committed build with a minter besides the owner, and the open edition `EDITION`."""
    chain.fund([address_of(key) for key in (OWNER, MINTER, HOLDER, STRANGER)])
    goods = Goods(chain)
    expected = create_address(address_of(OWNER), chain.nonce(address_of(OWNER), None))
    data = deployment_data(load_artifact(), base_uri="https://goods.example/{id}.json", royalty_bps=500)
    receipt = goods.transact(OWNER, data, to=b"", gas=DEPLOY_GAS)
    assert receipt.contract_address == expected
    goods.address = expected
    goods.transact(OWNER, calls.encode_set_minter(address_of(MINTER), True))
    goods.transact(MINTER, calls.encode_define(Definition(EDITION, calls.OPEN_EDITION, "ipfs://seven")))
    return goods


def person(number: int) -> str:
    """An account nobody has the key of."""
    return to_checksum_address(keccak(number.to_bytes(4, "big"))[:20])


def signed_return(
    goods: Goods,
    purchase_id: int,
    *,
    key: bytes = HOLDER,
    holder: bytes = HOLDER,
    token_id: int = EDITION,
    amount: int = 1,
    **changes: Any,
) -> SignedReturn:
    """A return signed by ``key`` for ``holder``; ``changes`` replace what is signed or what is sent."""
    values = {"purchase_id": purchase_id, "token_id": token_id, "amount": amount}
    values["deadline_s"] = changes.pop("deadline_s", int(time.time()) + 3600)
    digest = calls.return_digest(
        changes.pop("chain_id", CHAIN_ID), changes.pop("contract", goods.address), **values
    )
    signature = PrivateKey(key).sign_msg_hash(digest).to_bytes()
    return SignedReturn.from_signature(signature, holder=address_of(holder), **{**values, **changes})
