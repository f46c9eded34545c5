"""What an item costs in gas in a batch of 100, beside a plain ERC-721 mint on the same EVM.

The committed contract, the calldata of our own encoder, and recipients that never held anything, on the
embedded chain's EVM with Prague rules. Recipients and numbers follow from counters, so the figures only
change when the code does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from statistics import mean

from eth_utils.crypto import keccak

from bench import solidity
from bench.figures import Figure, not_measured
from bench.run import Run
from wallets.custody.local_signer import LocalSigner
from wallets.custody.sealed_seed import SealedSeed
from wallets.minting.chain.deploy import DEPLOY_GAS, deployment_data
from wallets.minting.chain.embedded_chain import CHAIN_ID, EvmChain
from wallets.minting.chain.port import Receipt
from wallets.minting.contract.artifact import load_artifact
from wallets.minting.contract.calls import (
    OPEN_EDITION,
    Definition,
    MintItem,
    encode_define_many,
    encode_mint_many,
    purchase_skips,
)
from wallets.minting.model import token_id_of

_BATCH = 100
_PIECES = 20
_MOST_GAS = 1 << 24
_KEY = "minter/0"
_OPEN, _NUMBERED = 1, 2
_PIECE_MINT = keccak(text="mint(address,uint256)")[:4]


class _Chain:
    """A chain of our own and one key that sends to it."""

    def __init__(self, chain: EvmChain, signer: LocalSigner) -> None:
        self._chain = chain
        self._signer = signer
        self._nonces = itertools.count()

    async def transact(self, data: bytes, to: str | None, gas: int = _MOST_GAS) -> Receipt:
        """Have it in a block, without failing."""
        fees = self._chain.fees()
        fields = {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": next(self._nonces),
            "gas": gas,
            "maxFeePerGas": fees.max_fee,
            "maxPriorityFeePerGas": fees.priority_fee,
            "value": 0,
            "data": data,
        }
        signed = await self._signer.sign_transaction(_KEY, fields if to is None else {**fields, "to": to})
        receipt = self._chain.receipt(self._chain.send_raw(signed.raw))
        assert receipt is not None
        assert receipt.succeeded, "a transaction of the measurement was reverted"
        return receipt

    async def deploy(self, creation: bytes) -> str:
        """Return the address of a new contract."""
        address = (await self.transact(creation, None, DEPLOY_GAS)).contract_address
        assert address is not None
        return address


async def measure(run: Run) -> list[Figure]:
    """Return the figures of gas."""
    batches = run.scale.gas_batches
    signer = LocalSigner(SealedSeed(bytes(range(64))))
    recipients = _recipients()
    # On this thread on purpose: nothing here is timed, and nothing else happens meanwhile.
    with closing(EvmChain(run.folder / "gas.db")) as evm:
        evm.fund([await signer.address(_KEY)])
        chain = _Chain(evm, signer)
        goods = await chain.deploy(deployment_data(load_artifact(), base_uri="https://example.com/{id}.json"))
        definitions = [Definition(_OPEN, OPEN_EDITION), Definition(_NUMBERED, 10**6)]
        await chain.transact(encode_define_many(definitions), goods)
        numbers = itertools.count(1)
        open_gas = await _batches(chain, goods, batches, recipients, numbers, numbered=False)
        numbered_gas = await _batches(chain, goods, batches, recipients, numbers, numbered=True)
        piece_gas = await _pieces(chain, recipients)
    workload = (
        f"{{}}, gas used by mint_many / {_BATCH}, each item to a recipient of its own who held nothing; "
        f"purchase numbers in order; mean of {batches} batches from the edition's first (dearest "
        f"{{}}); the committed contract, our encoder, py-evm, Prague"
    )
    numbered = mean(numbered_gas)
    figures = [
        Figure(
            "gas_item_numbered_b100",
            numbered,
            "gas",
            33_500,
            "lower",
            workload.format("numbered copies", f"{max(numbered_gas):,.0f}"),
        ),
        Figure(
            "gas_item_open_b100",
            mean(open_gas),
            "gas",
            32_500,
            "lower",
            workload.format("open edition", f"{max(open_gas):,.0f}"),
        ),
    ]
    if piece_gas is None:
        reason = solidity.missing() or "the compiler gave no contract"
        figures.append(not_measured("gas_vs_erc721", "ratio", 0.47, "lower", reason))
    else:
        figures.append(
            Figure(
                "gas_vs_erc721",
                numbered / piece_gas,
                "ratio",
                0.47,
                "lower",
                f"gas_item_numbered_b100 / {piece_gas:,.0f}, a transaction with one _safeMint of "
                f"OpenZeppelin's ERC721 {solidity.PACKAGES['@openzeppelin/contracts']} to a recipient who "
                f"held nothing (solc {solidity.PACKAGES['solc']}, optimizer at 200 runs), mean of {_PIECES} "
                f"on the same chain",
            )
        )
    return figures


async def _batches(
    chain: _Chain,
    goods: str,
    count: int,
    recipients: Iterator[str],
    numbers: Iterator[int],
    *,
    numbered: bool,
) -> list[float]:
    """Mint so many batches and return the gas per item of each."""
    serials = itertools.count(1)
    used = []
    for _ in range(count):
        items = [
            MintItem(
                next(numbers),
                next(recipients),
                token_id_of(_NUMBERED, next(serials)) if numbered else token_id_of(_OPEN, None),
            )
            for _ in range(_BATCH)
        ]
        receipt = await chain.transact(encode_mint_many(items), goods)
        assert not purchase_skips(receipt.logs, goods), "an item of the measurement was left out"
        used.append(receipt.gas_used / _BATCH)
    return used


async def _pieces(chain: _Chain, recipients: Iterator[str]) -> float | None:
    """Return what a plain mint costs; None without a compiler for it."""
    creation = solidity.open_contract("OpenPieces")
    if creation is None:
        return None
    pieces = await chain.deploy(creation)
    used = []
    for number in range(1, _PIECES + 1):
        to = bytes.fromhex(next(recipients)[2:])
        receipt = await chain.transact(
            _PIECE_MINT + to.rjust(32, b"\0") + number.to_bytes(32, "big"), pieces, 200_000
        )
        used.append(receipt.gas_used)
    return mean(used)


def _recipients() -> Iterator[str]:
    for number in itertools.count():
        yield "0x" + keccak(number.to_bytes(32, "big"))[-20:].hex()
