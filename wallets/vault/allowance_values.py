"""Allowances as the port gives and takes them: terms, what was spent, limits, a guardian's approval."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from gateway.kernel.ids import Id
from gateway.kernel.money import Money
from gateway.kernel.subjects import PaymentMethodId

_DELEGATED = re.compile(r"vt_[0-9a-f]{32}")


class AllowanceId(Id):
    """A scoped, revocable permission to spend from one stored payment method.

    A delegated token is the id of its allowance: ``vt_`` and 128 random bits.
    """

    prefix = "alw"

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(text) if _DELEGATED.fullmatch(text) else super().parse(text)


class AllowanceReason(StrEnum):
    ONE_TIME = "one_time"
    """One order: one or a few authorizations, e.g. a decline and a second try."""
    MULTI_CAPTURE = "multi_capture"
    """One order that is captured in parts or authorized again for the parts that ship late."""
    RECURRING = "recurring"
    """Several orders, within the limits."""


@dataclass(frozen=True, slots=True)
class AllowanceTerms:
    """What the customer allowed. Terms never change; another permission is another allowance.

    None in a scope (`order_id`, `place_id`, `world_id` and so on) means any, in a limit none.
    `expires_at_ms` is inclusive: at that millisecond the allowance is already invalid (ACP 2.5).
    """

    allowance_id: AllowanceId
    payment_method_id: PaymentMethodId
    customer_id: str
    merchant_id: str
    order_id: str | None
    channel: str | frozenset[str]
    """The only channel, or several."""
    place_id: str | None
    device_id: str | None
    reason: AllowanceReason
    max_amount: Money
    """For all authorizations together that were not declined or voided."""
    max_uses: int
    """Authorizations that were not declined, failed or wholly voided."""
    expires_at_ms: int
    not_before_ms: int = 0
    world_id: str | None = None
    """The virtual world; a place is inside one."""
    device_key: str | None = None
    """RFC 7638 thumbprint of the key the device must hold."""
    category: str | None = None
    """The only product category it pays for."""
    max_item: Money | None = None
    """For one unit of one item."""
    max_per_hour: Money | None = None
    """For everything within any 60 minutes."""
    guardian_id: str | None = None
    """Who must approve what is above `guardian_above`; set for a minor's allowance."""
    guardian_above: Money | None = None
    """None with a guardian: every authorization needs the approval."""
    session_id: str | None = None
    """The checkout or play session; an order's session is named by its `Authorize.session_id`."""


@dataclass(frozen=True, slots=True)
class SpentItem:
    """One line of what is bought, as far as an allowance has rules about it."""

    category: str
    unit_price: Money


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit that refused a spend, and by how much it would be exceeded. Whole units of `unit`."""

    name: str
    """``max_amount``, ``max_uses``, ``max_item``, ``max_per_hour``, ``guardian_above``, ``attempts``."""
    unit: str
    """A currency, ``uses`` or ``attempts``."""
    allowed: int
    used: int
    asked: int
    retry_at_ms: int | None = None
    """From when on the same could pass, where waiting is all it takes."""

    @property
    def over_by(self) -> int:
        return self.used + self.asked - self.allowed


@dataclass(frozen=True, slots=True)
class Allowance:
    """A granted allowance and what was spent of it."""

    terms: AllowanceTerms
    used: Money
    """By authorizations that were not declined, failed or voided."""
    used_count: int
    used_last_hour: Money | None
    """None without `AllowanceTerms.max_per_hour`."""
    created_at_ms: int
    revoked_at_ms: int | None = None

    @property
    def left(self) -> Money:
        return self.terms.max_amount - self.used

    @property
    def uses_left(self) -> int:
        return self.terms.max_uses - self.used_count


class ApprovalId(Id):
    """A guardian's answer to one purchase."""

    prefix = "apr"


class ApprovalState(StrEnum):
    APPROVED = "approved"
    USED = "used"
    """It carries an authorization; it is free again only if the issuer declines that one or it fails."""
    DECLINED = "declined"
    """The guardian said no, or took an unused approval back."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Approval:
    """What a guardian approves or declines: one order at one merchant, up to an amount, for a while.

    Whoever asks has authenticated the guardian; the vault only compares ids.
    """

    approval_id: ApprovalId
    """Made by the caller, so that a repeat is recognized."""
    allowance_id: AllowanceId
    guardian_id: str
    merchant_id: str
    order_id: str
    max_amount: Money
    expires_at_ms: int
    """Inclusive, as for allowances."""
