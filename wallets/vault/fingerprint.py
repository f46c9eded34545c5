"""A keyed fingerprint of a card number, to recognize a card without reading it.

A plain hash beside the last four digits could be tried out; HMAC under a key that is not in the database
cannot (PCI DSS 4.0.1, 3.5.1 and 3.5.1.1). It is unique per customer, so no customer learns whether another
one has stored the same card.
"""

from __future__ import annotations

from wallets.vault.kms import Kms
from wallets.vault.secret import Secret

_PURPOSE = b"vitrine.vault.card-fingerprint.v1\x00"


_REFERENCE_PURPOSE = b"vitrine.vault.reference-fingerprint.v1\x00"


async def reference_fingerprint(kms: Kms, key_id: str, kind: str, reference: Secret) -> bytes:
    """Return the 32-byte fingerprint of a reference of the provider, told apart by kind."""
    return await kms.mac(key_id, _REFERENCE_PURPOSE + kind.encode() + b"\x00" + reference.reveal().encode())


async def card_fingerprint(kms: Kms, key_id: str, number: Secret) -> bytes:
    """Return the 32-byte fingerprint of the whole number."""
    return await kms.mac(key_id, _PURPOSE + number.reveal().encode())
