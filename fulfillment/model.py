"""What stock, editions and fulfillment orders are made of: ids, states, values. No I/O.

Everything scarce is a **pool**: the units of a SKU at one location (`stock`), or the copies of a digital
edition (`edition`). A **hold** takes units out of what others may buy: first `held` for a quote, then
`reserved` for an order, then `consumed` (gone), `released` (given up) or `expired`.

For every pool, always: on hand = available + held + reserved, and none of them is negative.
For every edition: cap = on hand + issued.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fulfillment.backends.port import Tracking
from fulfillment.states import FulfillmentState
from gateway.kernel.ids import Id
from gateway.kernel.subjects import LegId, MerchantId, OrderId, QuoteId

UNCAPPED_COPIES = 2**53 - 1
"""The cap of an edition without one. It is the largest integer on the wire, so serials stay exact."""


class HoldId(Id):
    prefix = "hold"


class AdjustmentId(Id):
    prefix = "adj"


class FulfillmentOrderId(Id):
    prefix = "ful"


class PoolKind(StrEnum):
    STOCK = "stock"
    EDITION = "edition"


class HoldState(StrEnum):
    HELD = "held"
    """For a quote, until it expires."""
    RESERVED = "reserved"
    """For an order, until the purchase process decides; expiry only reminds it."""
    CONSUMED = "consumed"
    RELEASED = "released"
    EXPIRED = "expired"


class SerialState(StrEnum):
    FREE = "free"
    """Given back; the next one who needs a number gets it."""
    TAKEN = "taken"
    """Belongs to a reservation; its copy is not out yet."""
    ISSUED = "issued"


def stock_pool_id(merchant_id: MerchantId, sku: str, location_code: str) -> str:
    """Return the pool of a merchant's SKU at one of its locations."""
    return f"stock:{merchant_id}:{sku}@{location_code}"


def edition_pool_id(merchant_id: MerchantId, sku: str) -> str:
    """Return the pool of the copies of a SKU's digital edition."""
    return f"edition:{merchant_id}:{sku}"


@dataclass(frozen=True, slots=True)
class Want:
    """So many units of one pool. ``ref`` is the caller's own word for what wants them (a line, a leg);
    it is kept on the hold and handed back."""

    pool_id: str
    quantity: int
    ref: str = ""


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """The most that one account and one device may keep held at a time, over all merchants.

    Reservations of orders do not count: an order is limited by being paid. None means no limit.
    """

    units_per_account: int | None = 20
    units_per_device: int | None = 20
    holds_per_account: int | None = 10
    holds_per_device: int | None = 10


@dataclass(frozen=True, slots=True)
class Held:
    """Units taken out of a pool for a quote, until ``expires_at_ms``."""

    hold_id: HoldId
    pool_id: str
    kind: PoolKind
    sku: str
    quantity: int
    ref: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """Units kept for an order. ``quantity`` is what is still reserved, without consumed and released."""

    hold_id: HoldId
    pool_id: str
    kind: PoolKind
    sku: str
    quantity: int
    ref: str
    location_code: str | None
    numbered: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """Units of one hold that were consumed or released just now."""

    hold_id: HoldId
    pool_id: str
    kind: PoolKind
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class ExpiredReservation:
    """An order whose reservations are past their time and still reserved."""

    order_id: OrderId
    hold_ids: tuple[HoldId, ...]


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What one sweep found. ``released_quotes`` lost their holds; ``expired_reservations`` did not."""

    released_quotes: tuple[QuoteId, ...]
    expired_reservations: tuple[ExpiredReservation, ...]
    more: bool
    """Whether a limit was reached, so that another sweep would find more held units to free."""


@dataclass(frozen=True, slots=True)
class Level:
    """The count of one pool at one moment."""

    pool_id: str
    kind: PoolKind
    sku: str
    location_code: str | None
    on_hand: int
    held: int
    reserved: int
    issued: int
    cap: int | None
    """Copies of an edition that may ever exist; None for stock and for open editions."""
    numbered: bool

    @property
    def available(self) -> int:
        return self.on_hand - self.held - self.reserved


@dataclass(frozen=True, slots=True)
class FulfillmentLine:
    """What is shipped for one leg. ``hold_id`` is the reservation that dispatch consumes."""

    leg_id: LegId
    sku: str
    quantity: int
    title: str = ""
    hold_id: HoldId | None = None


@dataclass(frozen=True, slots=True)
class FulfillmentOrder:
    """A fulfillment order as it stands."""

    fulfillment_order_id: FulfillmentOrderId
    order_id: OrderId
    merchant_id: MerchantId
    location_code: str
    backend: str
    backend_reference: str | None
    state: FulfillmentState
    ship_to: Mapping[str, Any]
    lines: tuple[FulfillmentLine, ...]
    tracking: Tracking | None
    reason: str | None
    contradiction: str | None
    created_at_ms: int
    dispatched_at_ms: int | None
    delivered_at_ms: int | None


@dataclass(frozen=True, slots=True)
class FulfillmentFact:
    """A fulfillment order has come to ``state``. ``at_ms`` is the backend's time when it told one."""

    state: FulfillmentState
    fulfillment_order_id: FulfillmentOrderId
    order_id: OrderId
    merchant_id: MerchantId
    lines: tuple[FulfillmentLine, ...]
    tracking: Tracking | None
    reason: str | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The backend said what cannot be true beside ``state``: shipped though canceled, canceled though
    shipped. The order keeps its state; a person has to look."""

    fulfillment_order_id: FulfillmentOrderId
    order_id: OrderId
    merchant_id: MerchantId
    state: FulfillmentState
    told: FulfillmentState
    at_ms: int
