"""Ids that several capabilities refer to without knowing each other."""

from __future__ import annotations

from gateway.kernel.ids import Id


class MerchantId(Id):
    prefix = "mer"


class CustomerId(Id):
    prefix = "cus"


class DeviceId(Id):
    prefix = "dev"


class QuoteId(Id):
    prefix = "quo"


class OrderId(Id):
    prefix = "ord"


class LineId(Id):
    prefix = "lin"


class LegId(Id):
    """A leg is the unit of fulfillment and of capture: one line's mint, entitlement or shipment."""

    prefix = "leg"


class PaymentMethodId(Id):
    """A token of the vault: a stored payment method of one customer."""

    prefix = "pm"


class OperationId(Id):
    """One thing asked of a payment provider, made before it is asked and reused until it is answered."""

    prefix = "op"
