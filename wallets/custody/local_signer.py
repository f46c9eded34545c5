"""The signer port over a sealed seed on this machine.

A signature takes about half a millisecond with coincurve, so it is made on the event loop: handing it to a
thread would cost a tenth of that and gain nothing, since Python holds its lock meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rlp
from coincurve import PrivateKey
from eth_hash.auto import keccak

from gateway.kernel.errors import ForbiddenError
from wallets.custody.derivation import branches, parse_key_ref
from wallets.custody.sealed_seed import SealedSeed
from wallets.signer import PrivateKey as ExportedKey
from wallets.signer import Signature, SignedTransaction

_CACHED_KEYS = 4_096

# EIP-1559: 0x02 || rlp([chain id, nonce, priority fee, fee, gas, to, value, data, access list, y, r, s]).
_TYPE = b"\x02"
_NUMBERS = ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas")


class LocalSigner:
    """Signs with keys derived from a seed. Implements `wallets.signer.Signer` and `KeyHolder`."""

    def __init__(self, seed: SealedSeed) -> None:
        self._branches = branches(seed.reveal())
        self._keys: OrderedDict[str, PrivateKey] = OrderedDict()

    @classmethod
    def open(cls, directory: Path) -> LocalSigner:
        """Open the seed of a keys directory, or create it on first use."""
        return cls(SealedSeed.open(directory))

    async def address(self, key_ref: str) -> str:
        """See Signer."""
        public = self._key(key_ref).public_key.format(compressed=False)
        # The last 20 bytes of the hash of the public key without its prefix: yellow paper, appendix F.
        return _checksummed(keccak(public[1:])[-20:])

    async def sign_transaction(self, key_ref: str, fields: Mapping[str, Any]) -> SignedTransaction:
        """See Signer."""
        if fields["type"] != 2:
            raise ValueError("only EIP-1559 transactions (type 2) are signed")
        body = [fields[name] for name in _NUMBERS]
        to = bytes.fromhex(fields["to"][2:]) if "to" in fields else b""
        body += [to, fields["value"], fields["data"], []]
        v, r, s = await self.sign_digest(key_ref, keccak(_TYPE + rlp.encode(body)))
        raw = _TYPE + rlp.encode([*body, v - 27, r, s])
        return SignedTransaction(raw, keccak(raw))

    async def sign_digest(self, key_ref: str, digest: bytes) -> Signature:
        """See Signer."""
        if len(digest) != 32:
            raise ValueError("a digest has 32 bytes")
        # 65 bytes: r, s, recovery id. libsecp256k1 answers with the lower s and takes its nonce from RFC
        # 6979.
        signature = self._key(key_ref).sign_recoverable(digest, hasher=None)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        return Signature(27 + signature[64], r, s)

    async def export_key(self, key_ref: str) -> ExportedKey:
        """See KeyHolder."""
        kind, _ = parse_key_ref(key_ref)
        if kind != "customer":
            raise ForbiddenError("signer.not_exportable", "This key is not a customer's own.")
        return ExportedKey(self._key(key_ref).secret)

    def _key(self, key_ref: str) -> PrivateKey:
        key = self._keys.get(key_ref)
        if key is not None:
            self._keys.move_to_end(key_ref)
            return key
        kind, index = parse_key_ref(key_ref)
        key = PrivateKey.from_int(self._branches[kind].child_secret(index))
        self._keys[key_ref] = key
        if len(self._keys) > _CACHED_KEYS:
            self._keys.popitem(last=False)
        return key

    def __repr__(self) -> str:
        return "LocalSigner(...)"


def _checksummed(address: bytes) -> str:
    """Write an address with the checksum in the case of its letters (EIP-55)."""
    digits = address.hex()
    checks = keccak(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if check >= "8" else digit for digit, check in zip(digits, checks, strict=False)
    )
