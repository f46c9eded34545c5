"""A standing or delegated allowance as one attempt spends it. Values only.

An attempt without one is paid under an allowance of its own, for its order alone. One with it names a
permission that the customer gave before; the vault checks its scopes and limits against what is said here.
It is kept with the attempt, so that every further attempt which follows from it spends the same allowance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.kernel.documents import decode, encode
from gateway.kernel.money import Money
from gateway.kernel.subjects import PaymentMethodId
from wallets.vault.port import AllowanceId, AllowanceReason, AllowanceTerms, SpentItem


@dataclass(frozen=True, slots=True)
class Spending:
    """An allowance's terms, and on what, where and by which device it is spent."""

    terms: AllowanceTerms
    device_id: str | None = None
    items: tuple[SpentItem, ...] = ()
    world_id: str | None = None
    session_id: str | None = None
    device_key: str | None = None
    """RFC 7638 thumbprint of a key that the device has proved to hold."""

    def document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "terms": _terms_document(self.terms),
            "device_id": self.device_id,
            "items": [[item.category, *_plain(item.unit_price)] for item in self.items],
            "world_id": self.world_id,
            "session_id": self.session_id,
            "device_key": self.device_key,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Spending:
        """Read back `document`."""
        return cls(
            terms=_terms(document["terms"]),
            device_id=document["device_id"],
            items=tuple(
                SpentItem(category, Money(amount_minor, currency))
                for category, amount_minor, currency in document["items"]
            ),
            world_id=document["world_id"],
            session_id=document["session_id"],
            device_key=document["device_key"],
        )


def spending_text(spending: Spending | None) -> str | None:
    """Return what an attempt's row holds."""
    return None if spending is None else encode(spending.document())


def spending_of(attempt: Any) -> Spending | None:
    """Return what an attempt spends, or None under an allowance for its order alone."""
    return None if attempt.spending is None else Spending.from_document(decode(attempt.spending))


def allowance_of(attempt: Any) -> str | None:
    """Return the name of the allowance that an attempt spends, or None under one for its order alone."""
    spending = spending_of(attempt)
    return None if spending is None else str(spending.terms.allowance_id)


def _terms_document(terms: AllowanceTerms) -> dict[str, Any]:
    return {
        "allowance_id": terms.allowance_id,
        "payment_method_id": terms.payment_method_id,
        "customer_id": terms.customer_id,
        "merchant_id": terms.merchant_id,
        "order_id": terms.order_id,
        "channels": [terms.channel] if isinstance(terms.channel, str) else sorted(terms.channel),
        "place_id": terms.place_id,
        "device_id": terms.device_id,
        "reason": terms.reason.value,
        "max_amount": _plain(terms.max_amount),
        "max_uses": terms.max_uses,
        "expires_at_ms": terms.expires_at_ms,
        "not_before_ms": terms.not_before_ms,
        "world_id": terms.world_id,
        "device_key": terms.device_key,
        "category": terms.category,
        "max_item": _plain_or_none(terms.max_item),
        "max_per_hour": _plain_or_none(terms.max_per_hour),
        "guardian_id": terms.guardian_id,
        "guardian_above": _plain_or_none(terms.guardian_above),
        "session_id": terms.session_id,
    }


def _terms(document: Mapping[str, Any]) -> AllowanceTerms:
    channels = document["channels"]
    return AllowanceTerms(
        allowance_id=AllowanceId(document["allowance_id"]),
        payment_method_id=PaymentMethodId(document["payment_method_id"]),
        customer_id=document["customer_id"],
        merchant_id=document["merchant_id"],
        order_id=document["order_id"],
        channel=channels[0] if len(channels) == 1 else frozenset(channels),
        place_id=document["place_id"],
        device_id=document["device_id"],
        reason=AllowanceReason(document["reason"]),
        max_amount=Money(*document["max_amount"]),
        max_uses=document["max_uses"],
        expires_at_ms=document["expires_at_ms"],
        not_before_ms=document["not_before_ms"],
        world_id=document["world_id"],
        device_key=document["device_key"],
        category=document["category"],
        max_item=_money_or_none(document["max_item"]),
        max_per_hour=_money_or_none(document["max_per_hour"]),
        guardian_id=document["guardian_id"],
        guardian_above=_money_or_none(document["guardian_above"]),
        session_id=document["session_id"],
    )


def _plain(amount: Money) -> list[Any]:
    return [amount.amount_minor, amount.currency]


def _plain_or_none(amount: Money | None) -> list[Any] | None:
    return None if amount is None else _plain(amount)


def _money_or_none(plain: list[Any] | None) -> Money | None:
    return None if plain is None else Money(*plain)
