"""The ids under which a world knows a player's items.

Each is a leg's id, encrypted under the key of the player's consent: the same item has another id in every
world, so worlds that compare notes find nothing, and nobody has to store them.
"""

from __future__ import annotations

import re

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.kernel.clock import rfc3339

_PREFIX = "itm_"
_SHAPE = re.compile(r"itm_[0-9a-f]{32}")
_LEG = "leg_"
_LEG_HEX, _BLOCK = 28, 16


def item_id_of(item_key: str, leg_id: str) -> str:
    """Return the id of a leg's item for whoever has this key (16 bytes, hex)."""
    block = bytes.fromhex(leg_id.removeprefix(_LEG)).ljust(_BLOCK, b"\0")
    encryptor = _cipher(item_key).encryptor()
    return _PREFIX + (encryptor.update(block) + encryptor.finalize()).hex()


def leg_id_of(item_key: str, item_id: str) -> str | None:
    """Return the leg behind an id, or None if it was not made with this key."""
    if _SHAPE.fullmatch(item_id) is None:
        return None
    decryptor = _cipher(item_key).decryptor()
    block = decryptor.update(bytes.fromhex(item_id.removeprefix(_PREFIX))) + decryptor.finalize()
    text = block.hex()
    return _LEG + text[:_LEG_HEX] if not int(text[_LEG_HEX:], 16) else None


def to_the_second(at_ms: int) -> str:
    """Return when something happened as worlds are told: milliseconds would name the fact like an id."""
    return rfc3339(at_ms // 1000 * 1000)


def _cipher(item_key: str) -> Cipher[modes.ECB]:
    # A single block, and never the same one twice: the cipher is used as a permutation, and needs no mode.
    return Cipher(algorithms.AES(bytes.fromhex(item_key)), modes.ECB())  # noqa: S305  # one block
