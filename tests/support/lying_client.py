"""One endpoint's view of a chain in memory: true, away, slow, behind, or lying about some answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.support.fake_chain import FakeChain
from wallets.minting.chain.port import ChainRefused, ChainUnavailable, Fees, Log, Receipt
from wallets.minting.contract.calls import PURCHASE_SKIPPED_TOPIC, SkipReason, encode_are_minted

ARE_MINTED = encode_are_minted([])[:4]
Lie = Callable[..., Any]


class LyingClient:
    """A ChainClient. ``lies`` maps a method to a function of (its true answer, its arguments)."""

    def __init__(self, chain: FakeChain) -> None:
        self.chain = chain
        self.away = False
        self.hangs = False
        self.stands_at: int | None = None
        """Know no block above this one."""
        self.keeps_sent = False
        self.lies: dict[str, Lie] = {}
        self.errors: dict[str, Exception] = {}
        self.asked: Counter[str] = Counter()
        self.closed = False

    async def _answer(self, method: str, *arguments: Any) -> Any:
        self.asked[method] += 1
        if self.hangs:
            await asyncio.sleep(0.05)
            raise ChainUnavailable("no answer")
        if self.away:
            raise ChainUnavailable("away")
        if method in self.errors:
            raise self.errors[method]
        true = await self._true(method, *arguments)
        return self.lies[method](true, *arguments) if method in self.lies else true

    async def _true(self, method: str, *arguments: Any) -> Any:
        if method == "send_raw" and self.keeps_sent:
            return b"\1" * 32
        if method in ("nonce", "call") and (arguments[-1] or 0) >= len(self.chain._blocks):
            raise ChainRefused("unknown block")
        if self.stands_at is None:
            return await getattr(self.chain, method)(*arguments)
        if method == "head":
            return self.stands_at
        if method in ("nonce", "call") and arguments[-1] is None:
            arguments = (*arguments[:-1], self.stands_at)
        answer = await getattr(self.chain, method)(*arguments)
        is_later = method == "receipt" and answer is not None and answer.block_number > self.stands_at
        return None if is_later else answer

    async def chain_id(self) -> int:
        return await self._answer("chain_id")

    async def head(self) -> int:
        return await self._answer("head")

    async def block_hash(self, number: int) -> bytes | None:
        return await self._answer("block_hash", number)

    async def nonce(self, address: str, block: int | None = None) -> int:
        return await self._answer("nonce", address, block)

    async def balance(self, address: str) -> int:
        return await self._answer("balance", address)

    async def call(self, to: str, data: bytes, block: int | None = None) -> bytes:
        return await self._answer("call", to, data, block)

    async def send_raw(self, raw: bytes) -> bytes:
        return await self._answer("send_raw", raw)

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        return await self._answer("receipt", tx_hash)

    async def fees(self) -> Fees:
        return await self._answer("fees")

    async def code(self, address: str) -> bytes:
        return await self._answer("code", address)

    async def close(self) -> None:
        self.closed = True


def _flags(flag: bool) -> Lie:
    def lie(true: bytes, to: str, data: bytes, block: int | None) -> bytes:
        if data[:4] != ARE_MINTED:
            return true
        return true[:64] + int(flag).to_bytes(32, "big") * (len(true) // 32 - 2)

    return lie


def _refused(true: Receipt | None, tx_hash: bytes) -> Receipt:
    """A receipt, made up if there is none, that says of a hundred purchases that their wallets refused."""
    logs = [
        Log(
            "0x" + "0" * 40,
            (PURCHASE_SKIPPED_TOPIC, number.to_bytes(32, "big")),
            int(SkipReason.RECEIVER_REFUSED).to_bytes(32, "big"),
        )
        for number in range(100)
    ]
    made_up = Receipt(tx_hash, 1, b"\7" * 32, True, 21_000, None, tuple(logs))
    return made_up if true is None else replace(true, block_number=1, logs=made_up.logs)


LIES: dict[str, dict[str, Lie]] = {
    "a made-up head": {"head": lambda true: true + 10**6},
    "a head that stands": {"head": lambda true: 1},
    "nonces too high": {"nonce": lambda true, address, block: true + 1},
    "nonces too low": {"nonce": lambda true, address, block: max(0, true - 1)},
    "no nonce at all": {"nonce": lambda true, address, block: 0},
    "all is minted": {"call": _flags(True)},
    "nothing is minted": {"call": _flags(False)},
    "no receipts": {"receipt": lambda true, tx_hash: None},
    "receipts that say refused": {"receipt": _refused},
    "receipts of reverted transactions": {
        "receipt": lambda true, tx_hash: None if true is None else replace(true, succeeded=False, logs=())
    },
    "wrong block hashes": {
        "receipt": lambda true, tx_hash: None if true is None else replace(true, block_hash=b"\3" * 32),
        "block_hash": lambda true, number: b"\3" * 32,
    },
    "no code anywhere": {"code": lambda true, address: b""},
    "code everywhere": {"code": lambda true, address: b"\1"},
    "fees of a fortune": {"fees": lambda true: Fees(10**15, 10**15)},
    "fees of nothing": {"fees": lambda true: Fees(1, 1)},
    "a final state that is not": {
        "head": lambda true: true + 10**6,
        "nonce": lambda true, address, block: true + 1,
        "receipt": _refused,
        "call": _flags(True),
    },
    "a final refusal that is not": {
        "head": lambda true: true + 10**6,
        "nonce": lambda true, address, block: true + 1,
        "receipt": _refused,
        "call": _flags(False),
    },
}
