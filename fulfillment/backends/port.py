"""The port of an order backend: the system that picks, packs and ships what was bought.

Our reference (the fulfillment order's id) is the idempotency key of everything asked of it. What happens to
an order comes back over a durable feed of updates, read page by page from a cursor that we keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from gateway.kernel.errors import ConflictError, UnavailableError


class BackendRefusedError(ConflictError):
    """The backend said no for good: nothing was created, and asking again unchanged cannot help."""


class BackendUnavailableError(UnavailableError):
    """No answer, or none that can be trusted: the order may or may not exist there. Look it up with
    `OrderBackend.find`, or send the same reference again."""


@dataclass(frozen=True, slots=True)
class BackendLine:
    sku: str
    quantity: int
    title: str = ""


@dataclass(frozen=True, slots=True)
class BackendOrder:
    """What a backend is asked to ship. ``ship_to`` is plain JSON: name, address lines, city, country."""

    reference: str
    order_id: str
    merchant_id: str
    location_code: str
    ship_to: Mapping[str, Any]
    lines: tuple[BackendLine, ...]


@dataclass(frozen=True, slots=True)
class BackendReceipt:
    """The backend has the order under its own number."""

    reference: str
    backend_reference: str


class CancelAnswer(StrEnum):
    CANCELED = "canceled"
    """It will not be shipped. Also the answer to asking again."""
    TOO_LATE = "too_late"
    """It is being shipped or was; only a return can undo it."""
    UNKNOWN = "unknown"
    """The backend has no order of this reference."""


class UpdateKind(StrEnum):
    ACCEPTED = "accepted"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    CANCELED = "canceled"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Tracking:
    carrier: str
    number: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class BackendUpdate:
    """Something that happened to an order. ``cursor`` is the backend's own word for its place in the feed."""

    cursor: str
    reference: str
    kind: UpdateKind
    at_ms: int
    tracking: Tracking | None = None
    reason: str | None = None


class OrderBackend(Protocol):
    """Adapters: embedded; Vendure, Medusa and signed webhooks later. One contract suite for all of them."""

    name: str
    """Names the backend's cursor and its fulfillment orders; never reused for another system."""

    async def create(self, order: BackendOrder) -> BackendReceipt:
        """Hand over an order. The same reference again gives the same receipt and changes nothing.

        Raises BackendRefusedError (``fulfillment.refused``; ``fulfillment.reference_reused`` when the
        reference stands for another content) or BackendUnavailableError (``fulfillment.unavailable``).
        """
        ...

    async def find(self, reference: str) -> BackendReceipt | None:
        """Return the receipt of an order, or None when the backend surely does not have it.

        Raises BackendUnavailableError when it cannot tell.
        """
        ...

    async def cancel(self, reference: str) -> CancelAnswer:
        """Ask that an order is not shipped. Raises BackendUnavailableError when the answer is not known."""
        ...

    async def updates(self, after: str, limit: int) -> list[BackendUpdate]:
        """Return at most ``limit`` updates behind the cursor ``after``, oldest first.

        The empty cursor stands before the first update. The same cursor gives the same updates again, and
        later ones behind them. Raises BackendUnavailableError.
        """
        ...
