"""The signer port: whoever holds the keys of minters, the treasury and custodial accounts.

Keys are named; none is handed out but a customer's own, to that customer. Names: ``minter/<n>``,
``treasury``, ``customer/<account index>``. Adapters: a sealed seed on this machine
(`wallets.custody.local_signer`), or a vault process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """``raw`` is what a node takes; ``hash`` its 32-byte transaction hash."""

    raw: bytes
    hash: bytes


class Signature(NamedTuple):
    """A recoverable ECDSA signature over secp256k1. ``v`` is 27 or 28; ``s`` is in its lower half (EIP-2)."""

    v: int
    r: int
    s: int


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A customer's private key on its way to them: 32 bytes, which show nothing when printed."""

    secret: bytes

    def __repr__(self) -> str:
        return "PrivateKey(...)"


class KeyHolder(Protocol):
    """A signer that holds the keys itself and can give one to its owner; a key service cannot."""

    async def export_key(self, key_ref: str) -> PrivateKey:
        """Return the key of a custodial account.

        Raises ForbiddenError ``signer.not_exportable`` for every other key, InvalidError
        ``signer.unknown_key``.
        """
        ...


class Signer(Protocol):
    """Raises VitrineError ``signer.unknown_key`` for a name it has no key for, UnavailableError
    ``signer.unavailable`` when it cannot answer now. Signing is deterministic (RFC 6979): the same question
    has the same answer.
    """

    async def address(self, key_ref: str) -> str:
        """Return the checksummed address (EIP-55) of a key."""
        ...

    async def sign_transaction(self, key_ref: str, fields: Mapping[str, Any]) -> SignedTransaction:
        """Sign an EIP-1559 transaction given by its JSON-RPC field names (``chainId``, ``nonce``, ``gas``,
        ...).

        Quantities are integers, ``data`` is bytes, ``to`` a checksummed address or absent for a deployment.
        """
        ...

    async def sign_digest(self, key_ref: str, digest: bytes) -> Signature:
        """Sign 32 bytes that the caller hashed, for instance an EIP-712 digest."""
        ...
