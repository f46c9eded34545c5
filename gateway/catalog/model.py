"""Merchants, products, offers, places and 3D assets as values: what quote and order code works with.

Everything here is frozen and holds no I/O. The values are built from the database by
`gateway.catalog.loading` and looked up through `gateway.catalog.snapshot`; what merchants write in their
files is `gateway.catalog.declarations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.kernel.ids import Id
from gateway.kernel.money import Money
from gateway.kernel.subjects import MerchantId
from wallets.minting.own_calls import CallDescription

Text = Mapping[str, str]
"""A text per locale (BCP 47 tag); a text without a locale stands under ``und``."""

NO_LOCALE = "und"


class ProductId(Id):
    prefix = "prd"


class VariantId(Id):
    prefix = "var"


class LocationId(Id):
    prefix = "loc"


class PlaceId(Id):
    prefix = "plc"


class Format(StrEnum):
    """How a variant can be bought."""

    DIGITAL = "digital"
    PHYSICAL = "physical"
    BUNDLE = "bundle"

    @property
    def kinds(self) -> tuple[PartKind, ...]:
        """The parts this format consists of."""
        match self:
            case Format.DIGITAL:
                return (PartKind.DIGITAL,)
            case Format.PHYSICAL:
                return (PartKind.PHYSICAL,)
            case Format.BUNDLE:
                return (PartKind.DIGITAL, PartKind.PHYSICAL)


class PartKind(StrEnum):
    """One side of a bundle; becomes one leg of an order line."""

    DIGITAL = "digital"
    PHYSICAL = "physical"


class Delivery(StrEnum):
    """How a digital part reaches its owner."""

    TOKEN = "token"  # noqa: S105 - a word of the domain
    """Minted on the chain as an ERC-1155 token."""
    ENTITLEMENT = "entitlement"
    """A non-transferable row of ours; no chain."""


class EditionKind(StrEnum):
    """How many copies of a digital part there will ever be."""

    OPEN = "open"
    CAPPED = "capped"
    NUMBERED = "numbered"
    """Capped, and every copy has a serial number of its own."""


class FailurePolicy(StrEnum):
    """What happens to the other part of a bundle when one part cannot be secured."""

    ALL_OR_NOTHING = "all_or_nothing"
    EITHER = "either"
    DIGITAL_FIRST = "digital_first"


class LocationKind(StrEnum):
    WAREHOUSE = "warehouse"
    STORE = "store"


class PlaceKind(StrEnum):
    VIRTUAL_SHOP = "virtual_shop"
    STORE = "store"
    STREET = "street"
    HOME = "home"


class TaxScheme(StrEnum):
    """Which country's rate a merchant charges on sales to consumers in another country.

    Directive 2006/112/EC Art. 33 and 58 name the customer's country; Art. 59c lets a seller below
    EUR 10,000 of cross-border sales a year keep its own.
    """

    DESTINATION = "destination"
    ORIGIN = "origin"


@dataclass(frozen=True, slots=True)
class TaxSettings:
    """A merchant's tax choices. ``registrations`` maps a country to the VAT number held there."""

    scheme: TaxScheme
    shipping_category: str
    registrations: Mapping[str, str]

    def taxed_in(self, origin: str, destination: str) -> str:
        """Return the country whose rates apply to a consumer in ``destination``."""
        return destination if self.scheme is TaxScheme.DESTINATION else origin


@dataclass(frozen=True, slots=True)
class ShippingRate:
    """What shipping costs to these countries, and the delivery promise in days."""

    countries: frozenset[str]
    prices: Mapping[str, Money]
    free_from: Mapping[str, Money]
    """Sum of goods per currency from which shipping costs nothing; empty if never."""
    days_min: int
    days_max: int

    def price(self, currency: str) -> Money | None:
        """Return the price in this currency, or None if it is not offered in it."""
        return self.prices.get(currency)


@dataclass(frozen=True, slots=True)
class PaymentPolicy:
    """What a merchant offers besides the customer's stored methods, and how far its staff may go.

    An amount per currency is the most for one order, refund or payout; a currency that is not named is not
    offered. Times are whole hours.
    """

    pay_link: bool = True
    pay_link_hours: int = 24
    pay_at_delivery: Mapping[str, Money] = field(default_factory=dict)
    cash_at_pickup: Mapping[str, Money] = field(default_factory=dict)
    refund_elsewhere: Mapping[str, Money] = field(default_factory=dict)
    """For one refund to another method than the one that paid."""
    payout: Mapping[str, Money] = field(default_factory=dict)
    """For one payout that gives nothing back."""
    payout_per_day: Mapping[str, Money] = field(default_factory=dict)
    """For everything one customer is sent within 24 hours, refunds to another method included."""
    payouts_per_day: int = 3
    payout_cooling_hours: int = 24
    """How long a customer's method must have been stored before money is sent to it."""
    approval_hours: int = 7 * 24
    """How long a request waits for its second person."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where stock lies. ``priority`` breaks ties in routing: lower is preferred."""

    location_id: LocationId
    merchant_id: MerchantId
    code: str
    name: str
    kind: LocationKind
    country: str
    priority: int


@dataclass(frozen=True, slots=True)
class Merchant:
    """A seller on this installation. ``currencies`` are those it sells in, the first is its own."""

    merchant_id: MerchantId
    slug: str
    name: str
    country: str
    currencies: tuple[str, ...]
    tax: TaxSettings
    shipping: tuple[ShippingRate, ...]
    locations: tuple[Location, ...]
    payments: PaymentPolicy = field(default_factory=PaymentPolicy)
    contracts: Mapping[str, CallDescription] = field(default_factory=dict)
    """Its own contracts by name, and how a mint there is called."""

    def shipping_rate(self, country: str) -> ShippingRate | None:
        """Return the first rate that serves this country, or None: the merchant does not ship there."""
        for rate in self.shipping:
            if country in rate.countries:
                return rate
        return None

    def location(self, code: str) -> Location | None:
        """Return the location with this code."""
        for location in self.locations:
            if location.code == code:
                return location
        return None


def picture_path(picture_id: str | None) -> str | None:
    """Return where a picture is served, or None where there is none."""
    return f"/v1/assets/{picture_id}.png" if picture_id else None


@dataclass(frozen=True, slots=True)
class Asset:
    """A stored 3D model. ``asset_id`` is the SHA-256 of its bytes in hex.

    ``extents_m`` are width, height and depth in metres (x, y, z; y is up, glTF 2.0 section 3.4) with all
    node transforms applied.
    """

    asset_id: str
    media_type: str
    bytes: int
    extents_m: tuple[float, float, float]
    triangles: int
    watertight: bool
    picture_id: str | None = None
    """SHA-256 of a picture of it; empty where none can be drawn, None where none was tried."""

    @property
    def url(self) -> str:
        """Path on the gateway; the content behind it never changes."""
        return f"/v1/assets/{self.asset_id}.glb"

    @property
    def picture_url(self) -> str | None:
        """Path of its picture on the gateway (PNG), or None."""
        return picture_path(self.picture_id)


@dataclass(frozen=True, slots=True)
class Part:
    """One side of an offer. ``weight`` is its share of the price, in percent."""

    kind: PartKind
    tax_category: str
    weight: int


@dataclass(frozen=True, slots=True)
class DigitalPart:
    """What the customer gets digitally."""

    delivery: Delivery
    asset_id: str | None
    edition: EditionKind
    cap: int | None
    """Copies there will ever be; None for an open edition."""
    royalty_bps: int
    """Share of later sales that goes to the creator, in basis points (ERC-2981)."""
    license: str
    token_number: int | None
    """ERC-1155 id of the edition, given once and never reused; None unless delivered as a token."""
    contract: str | None = None
    """Name of the merchant's own contract it is minted on. From there no token comes back to us."""
    single: bool = False
    """Whether each copy is a mint of its own, though it has no number."""

    @property
    def limited(self) -> bool:
        """Whether copies must be reserved before they are sold."""
        return self.cap is not None


@dataclass(frozen=True, slots=True)
class PhysicalPart:
    """The thing itself. ``size_mm`` is length, width, height."""

    weight_g: int
    size_mm: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class VariantOffer:
    """A variant in one format: all a quote needs. Prices include VAT.

    ``parts`` has one entry per leg; split a price with
    ``price.allocate([part.weight for part in parts])``. ``digital`` and ``physical`` are set only when
    the format includes them.
    """

    merchant_id: MerchantId
    product_id: ProductId
    variant_id: VariantId
    sku: str
    format: Format
    title: Text
    failure_policy: FailurePolicy
    prices: Mapping[str, Money]
    parts: tuple[Part, ...]
    digital: DigitalPart | None
    physical: PhysicalPart | None

    def price(self, currency: str) -> Money | None:
        """Return the price of one piece, or None when it is not sold in this currency."""
        return self.prices.get(currency)


@dataclass(frozen=True, slots=True)
class Variant:
    """One SKU. ``active`` is false once its merchant took it off sale; orders may still refer to it."""

    variant_id: VariantId
    merchant_id: MerchantId
    product_id: ProductId
    sku: str
    title: Text
    options: Mapping[str, str]
    active: bool
    asset_id: str | None
    """The model a shop shows; the digital part's own unless the merchant names another."""
    offers: Mapping[Format, VariantOffer]
    digital: DigitalPart | None
    physical: PhysicalPart | None
    picture_id: str | None = None
    """The merchant's own picture; None: the one drawn from the model."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product with its variants in the order the merchant wrote them."""

    product_id: ProductId
    merchant_id: MerchantId
    handle: str
    title: Text
    description: Text
    failure_policy: FailurePolicy
    tax_categories: Mapping[PartKind, str]
    active: bool
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class GeoFence:
    """A circle on the ground: WGS 84 degrees and metres."""

    latitude: float
    longitude: float
    radius_m: float


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a variant stands in a place.

    Metres in the place's right-handed frame with y up; ``rotation`` is a unit quaternion x, y, z, w
    (glTF 2.0 section 3.5.3); ``scale`` is uniform, 1 is the real size.
    """

    sku: str
    position_m: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    scale: float


@dataclass(frozen=True, slots=True)
class Place:
    """A virtual shop, a store, a street pop-up or a home, with what is placed in it."""

    place_id: PlaceId
    merchant_id: MerchantId
    code: str
    kind: PlaceKind
    name: Text
    geo_fence: GeoFence | None
    placements: tuple[Placement, ...]
