"""The merchant of the benchmark: one article per format, with stock and copies that never run out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MERCHANT = "bench"
UNITS = 10_000_000
FORMATS = ("digital", "physical", "bundle")
"""A third each, in turns."""

_DIGITAL = {"delivery": "token", "edition": {"kind": "capped", "cap": UNITS}}
_PHYSICAL = {"weight_g": 500, "size_mm": [100, 100, 100], "stock": {"depot": UNITS}}


def write_merchant(folder: Path) -> Path:
    """Write the merchant's folder (JSON is YAML) and return it."""
    (folder / "products").mkdir(parents=True)
    merchant = {
        "slug": MERCHANT,
        "name": "Bench GmbH",
        "country": "DE",
        "currencies": ["EUR"],
        "tax": {"scheme": "destination", "registrations": {"DE": "DE123456788"}},
        "shipping": [{"countries": ["DE"], "prices": {"EUR": "4.90"}, "days": [1, 3]}],
        "locations": [
            {"code": "depot", "name": "Depot", "kind": "warehouse", "country": "DE", "priority": 10}
        ],
    }
    (folder / "merchant.yaml").write_text(json.dumps({"merchant": merchant}))
    for name in FORMATS:
        (folder / "products" / f"{name}.yaml").write_text(json.dumps({"product": _product(name)}))
    return folder


def item(name: str) -> dict[str, Any]:
    """Return the quote item that buys one unit in this format."""
    return {"sku": f"BENCH-{name.upper()}", "format": name, "quantity": 1}


def _product(name: str) -> dict[str, Any]:
    digital, physical = name != "physical", name != "digital"
    offer: dict[str, Any] = {"prices": {"EUR": {"digital": "4.90", "physical": "39.00"}.get(name, "42.00")}}
    if name == "bundle":
        offer["digital_share_percent"] = 10
    variant: dict[str, Any] = {"sku": f"BENCH-{name.upper()}", "offers": {name: offer}}
    tax: dict[str, str] = {}
    if digital:
        variant["digital"] = _DIGITAL
        tax["digital"] = "digital_standard"
    if physical:
        variant["physical"] = _PHYSICAL
        tax["physical"] = "goods_standard"
    return {
        "handle": f"bench-{name}",
        "title": {"en": f"Bench {name}"},
        "failure_policy": "all_or_nothing",
        "tax": tax,
        "variants": [variant],
    }
