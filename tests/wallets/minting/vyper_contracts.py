"""Two small contracts as a merchant might deploy them, compiled when a test asks for them."""

from __future__ import annotations

from functools import cache
from typing import Any

from wallets.minting.chain.deploy import create_address

ITEMS = """
# pragma version 0.4.3
# pragma evm-version cancun

event TransferSingle:
    operator: indexed(address)
    source: indexed(address)
    target: indexed(address)
    id: uint256
    amount: uint256

interface Receiver:
    def onERC1155Received(
        operator: address, source: address, id: uint256, amount: uint256, data: Bytes[1024]
    ) -> bytes4: nonpayable

owner: address
allowed: public(HashMap[address, bool])
balance_of: HashMap[address, HashMap[uint256, uint256]]
most: uint256
made: uint256

@deploy
def __init__(most: uint256):
    self.owner = msg.sender
    self.most = most

@external
def allow(minter: address):
    assert msg.sender == self.owner, "not the owner"
    self.allowed[minter] = True

@external
def mint(to: address, id: uint256, amount: uint256, data: Bytes[1024]):
    assert self.allowed[msg.sender], "not a minter"
    assert self.made < self.most, "no more"
    self.made += 1
    self.balance_of[to][id] += amount
    log TransferSingle(operator=msg.sender, source=empty(address), target=to, id=id, amount=amount)
    if to.codesize != 0:
        answer: bytes4 = extcall Receiver(to).onERC1155Received(msg.sender, empty(address), id, amount, data)
        assert answer == 0xf23a6e61, "refused"

@view
@external
def balanceOf(holder: address, id: uint256) -> uint256:
    return self.balance_of[holder][id]
"""

CARDS = """
# pragma version 0.4.3
# pragma evm-version cancun

event Transfer:
    source: indexed(address)
    target: indexed(address)
    id: indexed(uint256)

minter: address
owner_of: HashMap[uint256, address]
made: uint256

@deploy
def __init__(minter: address):
    self.minter = minter

@external
def safeMint(to: address) -> uint256:
    assert msg.sender == self.minter, "not the minter"
    self.made += 1
    self.owner_of[self.made] = to
    log Transfer(source=empty(address), target=to, id=self.made)
    return self.made

@view
@external
def ownerOf(id: uint256) -> address:
    return self.owner_of[id]
"""


@cache
def bytecode(source: str) -> bytes:
    """Return the creation code of a contract, without the arguments of its constructor."""
    from vyper.compiler import compile_code

    compiled: dict[str, Any] = compile_code(source, output_formats=["bytecode"])
    return bytes.fromhex(compiled["bytecode"][2:])


async def send(chain: Any, signer: Any, key: str, *, to: str | None, data: bytes) -> str:
    """Send a transaction of a key of its own; return its contract's address, or ``to``."""
    sender = await signer.address(key)
    nonce, fees = await chain.nonce(sender), await chain.fees()
    fields: dict[str, Any] = {
        "type": 2,
        "chainId": await chain.chain_id(),
        "nonce": nonce,
        "gas": 3_000_000,
        "maxFeePerGas": fees.max_fee,
        "maxPriorityFeePerGas": fees.priority_fee,
        "value": 0,
        "data": data,
    }
    if to is not None:
        fields["to"] = to
    await chain.send_raw((await signer.sign_transaction(key, fields)).raw)
    return to or create_address(sender, nonce)
