"""Why a payment was not made, and what a guardian is asked: parts of events and of replies."""

from __future__ import annotations

from typing import Literal

from gateway.protocol.messages import Amount, Integer, MoneyDocument, Wire


class LimitDocument(Wire):
    """The limit that was hit: ``used`` and ``asked`` together are ``over_by`` more than ``allowed``.

    ``unit`` is a currency (then all are minor units of it), ``uses`` or ``attempts``.
    """

    name: Literal["max_amount", "max_uses", "max_item", "max_per_hour", "guardian_above", "attempts"]
    unit: str
    allowed: Amount
    used: Amount
    asked: Amount
    over_by: Amount


class DeclinedDocument(Wire):
    """Why a payment was not made."""

    decline_class: str
    code: str
    message: str
    limit: LimitDocument | None = None
    """Which limit was hit and by how much, where it was one."""
    retry_at: str | None = None
    """From when on the same may be tried again, where the network or the limit says so."""


class GuardianItem(Wire):
    title: str
    quantity: Integer


class GuardianQuestion(Wire):
    """One purchase that waits for its guardian: what, how much, at whom, until when."""

    order_id: str
    approval_id: str
    guardian_id: str
    customer_id: str
    merchant: str
    amount: MoneyDocument
    may_spend_alone: MoneyDocument
    items: list[GuardianItem]
    expires_at: str
