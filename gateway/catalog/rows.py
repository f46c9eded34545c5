"""From declarations to the values of columns: pure functions without decisions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.catalog.assets import GLB_MEDIA_TYPE, content_id
from gateway.catalog.declarations import (
    DigitalDeclaration,
    MerchantDeclaration,
    MintingDeclaration,
    OffersDeclaration,
    PaymentsDeclaration,
    PlacementDeclaration,
    VariantDeclaration,
)
from gateway.catalog.models3d import Measured
from gateway.catalog.prepared import NewModel
from gateway.kernel.documents import encode
from gateway.kernel.money import Money


def settings(declared: MerchantDeclaration) -> dict[str, Any]:
    return {
        "currencies": declared.currencies,
        "tax": declared.tax.model_dump(mode="json"),
        "shipping": [
            {
                "countries": rate.countries,
                "prices": _minor(rate.prices),
                "free_from": _minor(rate.free_from),
                "days": rate.days,
            }
            for rate in declared.shipping
        ],
        "payments": _payments(declared.payments),
        "minting": _minting(declared.minting),
    }


def _payments(declared: PaymentsDeclaration) -> dict[str, Any]:
    payout = declared.payout
    return {
        "pay_link": declared.pay_link.offered,
        "pay_link_hours": declared.pay_link.hours,
        "pay_at_delivery": _minor(declared.pay_at_delivery),
        "cash_at_pickup": _minor(declared.cash_at_pickup),
        "refund_elsewhere": _minor(declared.refund_elsewhere),
        "approval_hours": declared.approval_hours,
        **(
            {}
            if payout is None
            else {
                "payout": _minor(payout.most),
                "payout_per_day": _minor(payout.per_day),
                "payouts_per_day": payout.times_per_day,
                "payout_cooling_hours": payout.cooling_hours,
            }
        ),
    }


def _minting(declared: MintingDeclaration) -> dict[str, Any]:
    return {
        "gas_per_day": declared.gas_per_day,
        "contracts": [
            {
                **its.model_dump(mode="json", exclude={"arguments"}),
                # Numbers of a call may be longer than a number of JSON.
                "arguments": [str(one) if type(one) is int else one for one in its.arguments],
            }
            for its in declared.contracts
        ],
    }


def _minor(prices: dict[str, str]) -> dict[str, int]:
    return {currency: Money.parse(text, currency).amount_minor for currency, text in prices.items()}


def price_rows(variant_id: str, declared: VariantDeclaration) -> list[dict[str, Any]]:
    return [
        {"variant_id": variant_id, "format": name, "currency": currency, "amount_minor": amount}
        for name in ("digital", "physical", "bundle")
        if (offer := getattr(declared.offers, name)) is not None
        for currency, amount in _minor(offer.prices).items()
    ]


def formats(declared: OffersDeclaration) -> dict[str, dict[str, int]]:
    """Return the offered formats with their terms; the prices have rows of their own."""
    offered: dict[str, dict[str, int]] = {}
    if declared.digital is not None:
        offered["digital"] = {}
    if declared.physical is not None:
        offered["physical"] = {}
    if declared.bundle is not None:
        offered["bundle"] = {"digital_share_percent": declared.bundle.digital_share_percent}
    return offered


def digital_part(declared: DigitalDeclaration, models: Mapping[str, str]) -> dict[str, Any]:
    return {
        "delivery": declared.delivery.value,
        "asset_id": None if declared.model is None else models[declared.model],
        "edition": declared.edition.kind.value,
        "cap": declared.edition.cap,
        "royalty_bps": declared.royalty_bps,
        "license": declared.license,
        "contract": declared.contract,
        "token_id": declared.token_id,
    }


def pose(declared: PlacementDeclaration) -> dict[str, Any]:
    """Return a placement with a unit quaternion, from a quaternion or from degrees around y."""
    if declared.rotation is not None:
        length = math.sqrt(sum(value * value for value in declared.rotation))
        rotation = [round(value / length, 9) for value in declared.rotation]
    else:
        half = math.radians(declared.yaw_deg or 0.0) / 2
        rotation = [0.0, round(math.sin(half), 9), 0.0, round(math.cos(half), 9)]
    return {
        "sku": declared.sku,
        "position_m": declared.position_m,
        "rotation": rotation,
        "scale": declared.scale,
    }


def picture_id(measured: Measured) -> str | None:
    """Return the column of a model's picture: see the table."""
    if measured.picture is None:
        return None
    return content_id(measured.picture) if measured.picture else ""


def asset_row(model: NewModel, now_ms: int) -> dict[str, Any]:
    return {
        "asset_id": model.asset_id,
        "media_type": GLB_MEDIA_TYPE,
        "bytes": model.bytes,
        "extents_m": encode(list(model.measured.extents_m)),
        "triangles": model.measured.triangles,
        "watertight": int(model.measured.watertight),
        "picture_id": picture_id(model.measured),
        "created_at_ms": now_ms,
    }
