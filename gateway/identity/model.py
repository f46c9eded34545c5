"""Who acts: customers through their devices, merchants and worlds through their keys.

Values and rules, no I/O.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum

DEVICE_TOKEN_PREFIX = "vdt_"  # noqa: S105  # a prefix, not a secret: it lets scanners find leaked tokens
API_KEY_PREFIX = "vmk_"
WORLD_KEY_PREFIX = "vwk_"


class Role(StrEnum):
    DEVICE = "device"
    MERCHANT = "merchant"


@dataclass(frozen=True, slots=True)
class DevicePrincipal:
    """A customer's device that signed in. ``expires_at_ms`` is when its token ends.

    ``world_id`` and ``session_id`` come from whoever issued the token (a world's or an agent's server), never
    from the device: allowances are bound to them.
    """

    customer_id: str
    device_id: str
    expires_at_ms: int
    world_id: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class MerchantPrincipal:
    """A merchant's server, by API key."""

    merchant_id: str


@dataclass(frozen=True, slots=True)
class WorldPrincipal:
    """The server of a world: a game, a virtual place. ``world_id`` is the name that device tokens bind to."""

    world_id: str


def new_secret(prefix: str) -> str:
    """Return a bearer secret of 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return what is stored of a bearer secret. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()
