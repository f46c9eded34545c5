"""Whether a signature shows that somebody controls an address: EIP-191, EIP-1271, ERC-6492.

A plain account signs with its key. An account with code decides itself, in a read call with bounded gas; one
that delegates to code by EIP-7702 has both, a key and code. An account that is not deployed yet names the
factory that will, and is asked within the same read call.

What this shows is true at this moment: an account with code may change its mind, and one that is not deployed
was asked after its factory had done what whoever signed wanted done.
"""

from __future__ import annotations

import asyncio
import re
from typing import NamedTuple, Protocol

from coincurve import PublicKey
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import is_checksum_address, to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak

from gateway.kernel.errors import ErrorClass, InvalidError, UnavailableError, VitrineError
from wallets.custody.linking import WalletKind
from wallets.custody.validator.asking import MOST_BYTES, NOBODY, Verdict, answer, question

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_RECOVERY_IDS = {0: 0, 1: 1, 27: 0, 28: 1}
_HEX = re.compile(r"0x(?:[0-9A-Fa-f]{2})+")
_WRAPPED = bytes.fromhex("6492" * 16)
"""Ends a signature of an account that is not deployed yet."""
_DELEGATION = bytes.fromhex("ef0100")
"""Begins the 23 bytes of code of an account that delegates (EIP-7702)."""
_WITHIN_S = 8.0
_QUESTIONS_AT_ONCE = 2
"""To contract accounts. A hostile one takes the embedded chain up to a second, in which nothing is minted."""


class ChainState(Protocol):
    """What is asked of the chain; both raise a VitrineError of class ``retry`` without an answer."""

    async def code(self, address: str) -> bytes:
        """The code at an address; empty for a plain account."""
        ...

    async def run(self, code: bytes) -> bytes:
        """Run creation code at the newest block without keeping anything; returns what it reverted with."""
        ...


class _Wrapped(NamedTuple):
    """ERC-6492: how the account would be deployed, and the signature as the account understands it."""

    factory: str
    factory_data: bytes
    signature: bytes


class AddressProofs:
    """Checks signatures over messages of EIP-4361. Implements `wallets.custody.challenges.Prover`."""

    def __init__(self, chain: ChainState, *, within_s: float = _WITHIN_S) -> None:
        self._chain = chain
        self._within_s = within_s
        self._turns = asyncio.Semaphore(_QUESTIONS_AT_ONCE)

    def is_well_written(self, address: str) -> bool:
        """See `Prover`."""
        return is_checksum_address(address)

    def checksummed(self, address: str) -> str | None:
        """See `Prover`."""
        digits = address[2:]
        if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(address):
            return None
        return to_checksum_address(address)

    async def prove(self, address: str, text: str, signature: str) -> WalletKind:
        """Return how the address has signed the text.

        ``signature`` is hexadecimal after ``0x``. Raises InvalidError ``wallet.link_signature``, and
        UnavailableError ``wallet.chain_unavailable`` if the chain has to be asked and does not answer.
        """
        if _HEX.fullmatch(signature) is None or len(signature) > 2 * (2 * MOST_BYTES + 512):
            raise _refused("it is not 0x and pairs of hexadecimal digits, or too long")
        given, digest = bytes.fromhex(signature[2:]), digest_of(text)
        try:
            async with asyncio.timeout(self._within_s):
                return await self._prove(address, digest, given)
        except TimeoutError as error:
            raise _away() from error
        except VitrineError as error:
            if error.error_class is ErrorClass.RETRY:
                raise _away() from error
            if error.code.startswith("chain."):
                raise _refused("the chain could not ask the account") from error
            raise

    async def _prove(self, address: str, digest: bytes, given: bytes) -> WalletKind:
        code = await self._chain.code(address)
        wrapped = _unwrapped(given)
        has_key = not code or (len(code) == 23 and code.startswith(_DELEGATION))
        if has_key and wrapped is None and recovered_address(digest, given) == address:
            return WalletKind.KEY
        if code:
            inner = given if wrapped is None else wrapped.signature
            if await self._ask(address, digest, _Wrapped(NOBODY, b"", inner)):
                return WalletKind.CONTRACT
        elif wrapped is not None and await self._ask(address, digest, wrapped):
            return WalletKind.UNDEPLOYED
        raise _refused("it is not by the wallet at this address")

    async def _ask(self, address: str, digest: bytes, wrapped: _Wrapped) -> bool:
        if len(wrapped.signature) > MOST_BYTES or len(wrapped.factory_data) > MOST_BYTES:
            raise _refused("it is too long")
        code = question(
            address,
            digest,
            wrapped.signature,
            factory=wrapped.factory,
            factory_data=wrapped.factory_data,
        )
        async with self._turns:
            return answer(await self._chain.run(code)) is Verdict.VALID


def digest_of(text: str) -> bytes:
    """Return what a wallet signs of a text (EIP-191, version E)."""
    content = text.encode()
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(content)).encode() + content)


def recovered_address(digest: bytes, signature: bytes) -> str | None:
    """Return whose key has made the signature; None if it is none.

    65 bytes: r, s in its lower half (EIP-2), and v as 27 and 28 or 0 and 1. With s in the upper half the same
    key would have a second signature over the same text.
    """
    if len(signature) != 65 or signature[64] not in _RECOVERY_IDS:
        return None
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if not 0 < r < _ORDER or not 0 < s <= _ORDER // 2:
        return None
    recoverable = signature[:64] + bytes([_RECOVERY_IDS[signature[64]]])
    try:
        key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except ValueError:
        return None
    return to_checksum_address(keccak(key.format(compressed=False)[1:])[-20:])


def _unwrapped(signature: bytes) -> _Wrapped | None:
    if not signature.endswith(_WRAPPED):
        return None
    try:
        factory, factory_data, inner = decode(["address", "bytes", "bytes"], signature[: -len(_WRAPPED)])
    except (DecodingError, OverflowError) as error:
        raise _refused("its wrapping cannot be read") from error
    if not any(to_canonical_address(factory)):
        raise _refused("it names no factory")
    return _Wrapped(factory, factory_data, inner)


def _refused(why: str) -> InvalidError:
    return InvalidError(
        "wallet.link_signature", f"The signature does not count: {why}.", param="$.body.signature"
    )


def _away() -> UnavailableError:
    return UnavailableError(
        "wallet.chain_unavailable", "The chain does not answer; nothing was linked.", retry_after_ms=2_000
    )
