"""How the provider of an intent's authorization lets it be used, kept as text with the intent."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gateway.kernel.documents import decode, encode
from wallets.vault.port import ProviderTerms


def terms_text(terms: ProviderTerms | None) -> str | None:
    """Return the text to store; None for a provider that can do everything at once."""
    return None if terms is None else encode(asdict(terms))


def terms_of(intent: Any) -> ProviderTerms | None:
    """Return the terms of the intent's present authorization."""
    return None if intent.provider_terms is None else ProviderTerms(**decode(intent.provider_terms))
