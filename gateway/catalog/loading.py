"""From rows to a snapshot: one read of the whole catalog, at one committed state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import bindparam, select

from gateway.catalog.model import (
    Asset,
    Delivery,
    DigitalPart,
    EditionKind,
    FailurePolicy,
    Format,
    GeoFence,
    Location,
    LocationId,
    LocationKind,
    Merchant,
    Part,
    PartKind,
    PaymentPolicy,
    PhysicalPart,
    Place,
    PlaceId,
    PlaceKind,
    Placement,
    Product,
    ProductId,
    ShippingRate,
    TaxScheme,
    TaxSettings,
    Variant,
    VariantId,
    VariantOffer,
)
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.catalog.tables import (
    asset,
    catalog_counter,
    merchant,
    merchant_location,
    place,
    product,
    variant,
    variant_price,
)
from gateway.kernel.documents import decode
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from gateway.kernel.subjects import MerchantId
from wallets.minting.own_calls import CallDescription, describe

_COUNTER = Statement(select(catalog_counter.c.value).where(catalog_counter.c.name == bindparam("name")))
_SETTINGS = Statement(select(merchant.c.settings).where(merchant.c.merchant_id == bindparam("merchant_id")))
_MERCHANTS = Statement(select(merchant).order_by(merchant.c.merchant_id))
_LOCATIONS = Statement(
    select(merchant_location).order_by(merchant_location.c.priority, merchant_location.c.code)
)
_PLACES = Statement(select(place).order_by(place.c.place_id))
_PRODUCTS = Statement(select(product).order_by(product.c.product_id))
_VARIANTS = Statement(select(variant).order_by(variant.c.product_id, variant.c.position))
_PRICES = Statement(select(variant_price).order_by(variant_price.c.variant_id))
_ASSETS = Statement(select(asset))
_ASSET = Statement(select(asset).where(asset.c.asset_id == bindparam("asset_id")))


def read_version(reader: Reader) -> int:
    """Return the number of the latest import, 0 before the first."""
    found = reader.row(_COUNTER, {"name": "version"})
    return 0 if found is None else found.value


def load_snapshot(reader: Reader) -> CatalogSnapshot:
    """Return the whole catalog as it is committed now."""
    merchants = _merchants(reader)
    contracts = {its.merchant_id: its.contracts for its in merchants}
    return CatalogSnapshot(
        read_version(reader), merchants, _products(reader, contracts), _places(reader), load_assets(reader)
    )


def load_assets(reader: Reader) -> list[Asset]:
    """Return every stored model."""
    return [_asset(row) for row in reader.rows(_ASSETS)]


def load_asset(reader: Reader, asset_id: str) -> Asset | None:
    """Return one stored model."""
    row = reader.row(_ASSET, {"asset_id": asset_id})
    return None if row is None else _asset(row)


def load_merchant(reader: Reader, merchant_id: str) -> Merchant | None:
    """Return one merchant with its locations, in the state this unit or query sees."""
    for found in _merchants(reader):
        if found.merchant_id == merchant_id:
            return found
    return None


def _asset(row: Any) -> Asset:
    x, y, z = decode(row.extents_m)
    return Asset(
        row.asset_id,
        row.media_type,
        row.bytes,
        (x, y, z),
        row.triangles,
        bool(row.watertight),
        row.picture_id,
    )


def _merchants(reader: Reader) -> list[Merchant]:
    locations: dict[str, list[Location]] = defaultdict(list)
    for row in reader.rows(_LOCATIONS):
        locations[row.merchant_id].append(
            Location(
                LocationId(row.location_id),
                MerchantId(row.merchant_id),
                row.code,
                row.name,
                LocationKind(row.kind),
                row.country,
                row.priority,
            )
        )
    found = []
    for row in reader.rows(_MERCHANTS):
        settings = decode(row.settings)
        found.append(
            Merchant(
                MerchantId(row.merchant_id),
                row.slug,
                row.name,
                row.country,
                tuple(settings["currencies"]),
                TaxSettings(
                    TaxScheme(settings["tax"]["scheme"]),
                    settings["tax"]["shipping_category"],
                    MappingProxyType(settings["tax"]["registrations"]),
                ),
                tuple(_shipping_rate(rate) for rate in settings["shipping"]),
                tuple(locations[row.merchant_id]),
                payment_policy(settings),
                _contracts(settings),
            )
        )
    return found


def _contracts(settings: dict[str, Any]) -> MappingProxyType[str, CallDescription]:
    """Return the merchant's own contracts; imports of earlier versions have written none."""
    return MappingProxyType(
        {
            stated["name"]: describe(
                stated["standard"], stated["call"], stated["arguments"], bytes.fromhex(stated["data"][2:])
            )
            for stated in settings.get("minting", {}).get("contracts", [])
        }
    )


def payment_policy_of(reader: Reader, merchant_id: str) -> PaymentPolicy:
    """Return what a merchant offers, as it is committed now; for units, which read no snapshot."""
    row = reader.row(_SETTINGS, {"merchant_id": merchant_id})
    return PaymentPolicy() if row is None else payment_policy(decode(row.settings))


def payment_policy(settings: dict[str, Any]) -> PaymentPolicy:
    """Return the policy in a merchant's settings; merchants of versions before 0.2 have named none."""
    stated: dict[str, Any] = {
        name: _prices(value) if isinstance(value, dict) else value
        for name, value in settings.get("payments", {}).items()
    }
    return PaymentPolicy(**stated)


def _shipping_rate(settings: dict[str, Any]) -> ShippingRate:
    days_min, days_max = settings["days"]
    return ShippingRate(
        frozenset(settings["countries"]),
        _prices(settings["prices"]),
        _prices(settings["free_from"]),
        days_min,
        days_max,
    )


def _prices(amounts: dict[str, int]) -> MappingProxyType[str, Money]:
    return MappingProxyType({currency: Money(amount, currency) for currency, amount in amounts.items()})


def _products(reader: Reader, contracts: Mapping[MerchantId, Mapping[str, CallDescription]]) -> list[Product]:
    prices: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in reader.rows(_PRICES):
        prices[row.variant_id][row.format][row.currency] = row.amount_minor
    variants: dict[str, list[Any]] = defaultdict(list)
    for row in reader.rows(_VARIANTS):
        variants[row.product_id].append(row)
    found = []
    for row in reader.rows(_PRODUCTS):
        bare = Product(
            ProductId(row.product_id),
            MerchantId(row.merchant_id),
            row.handle,
            MappingProxyType(decode(row.title)),
            MappingProxyType(decode(row.description)),
            FailurePolicy(row.failure_policy),
            MappingProxyType({PartKind(kind): category for kind, category in decode(row.tax).items()}),
            bool(row.active),
            (),
        )
        its_variants = tuple(
            _variant(bare, its_row, prices[its_row.variant_id], contracts[bare.merchant_id])
            for its_row in variants[row.product_id]
        )
        found.append(
            Product(
                bare.product_id,
                bare.merchant_id,
                bare.handle,
                bare.title,
                bare.description,
                bare.failure_policy,
                bare.tax_categories,
                bare.active,
                its_variants,
            )
        )
    return found


def _variant(
    of: Product, row: Any, prices: dict[str, dict[str, int]], contracts: Mapping[str, CallDescription]
) -> Variant:
    digital = None
    if row.digital is not None:
        stored = decode(row.digital)
        contract = stored.get("contract")
        digital = DigitalPart(
            Delivery(stored["delivery"]),
            stored["asset_id"],
            EditionKind(stored["edition"]),
            stored["cap"],
            stored["royalty_bps"],
            stored["license"],
            row.token_number if stored["delivery"] == Delivery.TOKEN else None,
            contract,
            contract in contracts and contracts[contract].is_single,
        )
    physical = None
    if row.physical is not None:
        stored = decode(row.physical)
        length, width, height = stored["size_mm"]
        physical = PhysicalPart(stored["weight_g"], (length, width, height))
    title = MappingProxyType(decode(row.title)) or of.title
    offers = {}
    for name, terms in decode(row.formats).items():
        kind = Format(name)
        offers[kind] = VariantOffer(
            of.merchant_id,
            of.product_id,
            VariantId(row.variant_id),
            row.sku,
            kind,
            title,
            of.failure_policy,
            _prices(prices[name]),
            _parts(kind, of, terms.get("digital_share_percent")),
            digital if PartKind.DIGITAL in kind.kinds else None,
            physical if PartKind.PHYSICAL in kind.kinds else None,
        )
    return Variant(
        VariantId(row.variant_id),
        of.merchant_id,
        of.product_id,
        row.sku,
        title,
        MappingProxyType(decode(row.options)),
        of.active and bool(row.active),
        row.asset_id,
        MappingProxyType(offers),
        digital,
        physical,
        row.picture_id,
    )


def _parts(format: Format, of: Product, digital_share_percent: int | None) -> tuple[Part, ...]:
    if digital_share_percent is None:
        return tuple(Part(kind, of.tax_categories[kind], 100) for kind in format.kinds)
    shares = {PartKind.DIGITAL: digital_share_percent, PartKind.PHYSICAL: 100 - digital_share_percent}
    return tuple(Part(kind, of.tax_categories[kind], shares[kind]) for kind in format.kinds)


def _places(reader: Reader) -> list[Place]:
    found = []
    for row in reader.rows(_PLACES):
        fence = None if row.geo_fence is None else decode(row.geo_fence)
        found.append(
            Place(
                PlaceId(row.place_id),
                MerchantId(row.merchant_id),
                row.code,
                PlaceKind(row.kind),
                MappingProxyType(decode(row.name)),
                None if fence is None else GeoFence(fence["latitude"], fence["longitude"], fence["radius_m"]),
                tuple(
                    Placement(
                        stored["sku"],
                        tuple(stored["position_m"]),
                        tuple(stored["rotation"]),
                        stored["scale"],
                    )
                    for stored in decode(row.placements)
                ),
            )
        )
    return found
