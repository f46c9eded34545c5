"""Private keys from a seed, by number (BIP-32), and which path each key name has.

A branch (``m/44'/60'/purpose'/0``) is derived once; each key below it is then one HMAC and one addition.

Customers may take the keys of their accounts, and one such key together with its branch's chain code gives
the whole branch away. So a branch's extended public key is as secret as the seed: it is in no file, and there
is no watching of accounts by it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from coincurve import PrivateKey

from gateway.kernel.errors import InvalidError

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HARDENED = 1 << 31

# BIP-44 with Ethereum's coin type; the account number separates what the keys are for.
BRANCHES = {"customer": 0, "minter": 1, "treasury": 2}


@dataclass(frozen=True, slots=True, repr=False)
class ExtendedKey:
    """A private key with its chain code, from which children are derived."""

    secret: int
    chain_code: bytes
    public: bytes

    @classmethod
    def of(cls, digest: bytes) -> ExtendedKey:
        """Return the key of a master digest (BIP-32, master key generation)."""
        return cls._of(int.from_bytes(digest[:32], "big"), digest[32:])

    @classmethod
    def _of(cls, secret: int, chain_code: bytes) -> ExtendedKey:
        # BIP-32 skips such a number; its probability is below 2**-127.
        assert 0 < secret < _ORDER, "an invalid child key"
        public = PrivateKey.from_int(secret).public_key.format(compressed=True)
        return cls(secret, chain_code, public)

    def child_secret(self, index: int) -> int:
        """Return the private key of a normal child (BIP-32, CKDpriv); ``index`` is below 2**31."""
        secret, _ = self._derive(self.public + index.to_bytes(4, "big"))
        return secret

    def child(self, index: int) -> ExtendedKey:
        """Return a normal child, index below 2**31."""
        return self._of(*self._derive(self.public + index.to_bytes(4, "big")))

    def hardened(self, index: int) -> ExtendedKey:
        """Return a hardened child: it does not follow from public keys."""
        data = b"\0" + self.secret.to_bytes(32, "big") + (_HARDENED | index).to_bytes(4, "big")
        return self._of(*self._derive(data))

    def _derive(self, data: bytes) -> tuple[int, bytes]:
        digest = hmac.digest(self.chain_code, data, hashlib.sha512)
        left = int.from_bytes(digest[:32], "big")
        secret = (left + self.secret) % _ORDER
        assert left < _ORDER and secret, "an invalid child key"
        return secret, digest[32:]


def branches(seed: bytes) -> dict[str, ExtendedKey]:
    """Return the branch of every kind of key name."""
    root = ExtendedKey.of(hmac.digest(b"Bitcoin seed", seed, hashlib.sha512)).hardened(44).hardened(60)
    return {kind: root.hardened(account).child(0) for kind, account in BRANCHES.items()}


def parse_key_ref(key_ref: str) -> tuple[str, int]:
    """Return (branch, index) of ``customer/<n>``, ``minter/<n>`` or ``treasury``.

    Raises InvalidError ``signer.unknown_key``.
    """
    kind, _, number = key_ref.partition("/")
    if key_ref == "treasury":
        return "treasury", 0
    canonical = number.isascii() and number.isdecimal() and str(int(number[:12])) == number
    if kind not in ("customer", "minter") or not canonical or int(number) >= _HARDENED:
        raise InvalidError("signer.unknown_key", "There is no key of this name.")
    return kind, int(number)
