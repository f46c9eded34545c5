"""Cards that arrive encrypted: JWE in compact form (RFC 7516), made in a browser or on a device.

The protected header is ``{"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": ...}``. Any other algorithm is
refused before anything is decrypted, and so are headers that ask for more (``zip``, ``crit``, ``jwk``).

The encrypted JSON object::

    {"iat": 1790000000, "jti": "<at least 128 random bits, base64url>", "sub": "<what it is meant for>",
     "card": {"number": "...", "expiry_month": 12, "expiry_year": 2031, "security_code": "...", "holder": ""}}

``sub`` is the customer's id, or the secret of the page's address where a page made it: nobody who passes it
on can store the card for somebody else. ``iat`` is good for 15 minutes; within that time a ``jti`` is
accepted once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from pydantic_core import from_json
from sqlalchemy import bindparam, delete

from gateway.kernel.clock import Clock
from gateway.kernel.errors import InvalidError
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Store, UnitOfWork
from wallets.vault.card_keys import CardKeys
from wallets.vault.crypto import RecordUnreadableError
from wallets.vault.port import CardEntry
from wallets.vault.tables import sealed_card

ALGORITHM, ENCRYPTION = "RSA-OAEP-256", "A256GCM"
LONGEST = 8 * 1024
"""Characters of a sealed card."""
_WINDOW_MS = 15 * 60_000
_AHEAD_MS = 60_000
"""How far the sender's clock may be ahead of ours."""
_COMPACT = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){4}")
_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{22,128}")
_HEADER = {"alg", "enc", "kid", "typ"}
_CARD: dict[str, type] = {
    "number": str,
    "expiry_month": int,
    "expiry_year": int,
    "security_code": str,
    "holder": str,
}

_SEEN = insert_new(sealed_card)
_GIVE_BACK = Statement(delete(sealed_card).where(sealed_card.c.token_digest == bindparam("token_digest")))
_FORGET = Statement(delete(sealed_card).where(sealed_card.c.seen_at_ms <= bindparam("until_ms")))


async def open_sealed_card(
    store: Store, keys: CardKeys, clock: Clock, sealed: str, subject: str
) -> tuple[CardEntry, str]:
    """Decrypt, check, and use up; return the card and its token's id.

    Raises InvalidError ``card.sealed_invalid``, ``card.sealed_replayed``.
    """
    key_id = _key_id(sealed)
    try:
        private = await keys.private(key_id)
    except RecordUnreadableError:
        private = None
    if private is None:
        raise _invalid("The key is unknown or too old; fetch the present one.")
    try:
        # A key object per use: the library's own keeps what it is given, ours is kept once.
        opened = jwe.decrypt_compact(sealed, RSAKey.import_key(private), [ALGORITHM, ENCRYPTION])
        document = from_json(opened.plaintext or b"", allow_inf_nan=False)
    except (JoseError, ValueError):
        # Nothing is chained: a library's error may quote what it could not read.
        raise _invalid("It does not open.") from None
    card, issued_at_ms, token_id = _checked(document, subject)
    now_ms = clock.now_ms()
    if not now_ms - _WINDOW_MS < issued_at_ms <= now_ms + _AHEAD_MS:
        raise _invalid("It was made too long ago, or by a clock that is wrong.")
    if not await store.write(lambda uow: _use_up(uow, token_id)):
        raise InvalidError("card.sealed_replayed", "This encrypted card was used before.", param="$.sealed")
    return card, token_id


def give_back(uow: UnitOfWork, token_id: str) -> None:
    """Let an encrypted card be sent again: it was opened, and nothing became of it."""
    uow.run(_GIVE_BACK, {"token_digest": hashlib.sha256(token_id.encode()).digest()})


def _use_up(uow: UnitOfWork, token_id: str) -> bool:
    """Note the token id, once. What is too old to be accepted anyway is forgotten."""
    uow.run(_FORGET, {"until_ms": uow.now_ms - 2 * _WINDOW_MS})
    token_digest = hashlib.sha256(token_id.encode()).digest()
    return uow.run(_SEEN, {"token_digest": token_digest, "seen_at_ms": uow.now_ms}) == 1


def _key_id(sealed: str) -> str:
    """Return the key's id from a header that asks for exactly what we do."""
    if len(sealed) > LONGEST or _COMPACT.fullmatch(sealed) is None:
        raise _invalid("Not a JWE in compact form.")
    text = sealed.partition(".")[0]
    try:
        header: Any = from_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        raise _invalid("The header is not JSON.") from None
    if (
        not isinstance(header, dict)
        or not header.keys() <= _HEADER
        or (header.get("alg"), header.get("enc")) != (ALGORITHM, ENCRYPTION)
        or not isinstance(header.get("kid"), str)
    ):
        raise _invalid(f"The header must say {ALGORITHM}, {ENCRYPTION} and the kid, and nothing else.")
    return str(header["kid"])


def _checked(document: Any, subject: str) -> tuple[CardEntry, int, str]:
    if not isinstance(document, dict) or document.keys() != {"iat", "jti", "sub", "card"}:
        raise _invalid("It holds other members than iat, jti, sub and card.")
    issued_at_s, token_id, card = document["iat"], document["jti"], document["card"]
    if type(issued_at_s) is not int or not 0 <= issued_at_s < 2**40:
        raise _invalid("iat must be whole seconds.")
    if not isinstance(token_id, str) or _TOKEN_ID.fullmatch(token_id) is None:
        raise _invalid("jti must be 22 to 128 characters of base64url.")
    if document["sub"] != subject:
        raise _invalid("It was made for another customer or page.")
    if (
        not isinstance(card, dict)
        or card.keys() != _CARD.keys()
        or any(type(card[name]) is not kind for name, kind in _CARD.items())
    ):
        raise _invalid("The card's members are not those that are asked for.")
    entry = CardEntry.typed(
        card["number"], card["expiry_month"], card["expiry_year"], card["security_code"], card["holder"]
    )
    return entry, issued_at_s * 1000, token_id


def _invalid(message: str) -> InvalidError:
    return InvalidError("card.sealed_invalid", message, param="$.sealed")
