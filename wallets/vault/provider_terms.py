"""What the order side has to know of a provider to use its authorizations. No I/O."""

from __future__ import annotations

from wallets.vault.abilities import MANY
from wallets.vault.port import ProviderTerms
from wallets.vault.providers.port import Capabilities


def terms_of(able: Capabilities, *, default: bool) -> ProviderTerms | None:
    """Return the terms of a provider; None for the default one if it can do everything at once."""
    plain = (
        able.partial_capture
        and able.most_captures >= MANY
        and able.partial_void
        and able.partial_refund
        and able.void_after_capture
        and able.authorizes
        and able.merchant_initiated
        and not able.async_capture_result
    )
    if plain and default:
        return None
    return ProviderTerms(
        able.name,
        able.most_captures,
        able.partial_capture,
        able.partial_refund,
        able.void_after_capture,
        able.merchant_initiated,
        able.async_capture_result,
        able.authorizes,
        able.by_hand,
    )
