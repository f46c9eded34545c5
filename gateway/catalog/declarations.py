"""What merchants write: the shape of ``merchant.yaml``, of a product file and of a product sent as JSON.

Only shapes are stated here, strictly and without unknown fields. Rules that connect several fields or
files are in `gateway.catalog.checks`, so that one round reports the mistakes of both.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from gateway.catalog.model import (
    NO_LOCALE,
    Delivery,
    EditionKind,
    FailurePolicy,
    LocationKind,
    PlaceKind,
    TaxScheme,
)
from gateway.kernel.currencies import EXPONENTS
from wallets.minting.own_calls import LEAST_GAS, MOST_DATA_BYTES, MOST_GAS, Standard

MAX_VARIANTS = 40
MAX_PLACEMENTS = 60


def _known_currency(code: str) -> str:
    if code not in EXPONENTS:
        raise PydanticCustomError("currency", "is not an ISO 4217 currency code")
    return code


def _price_text(value: Any) -> Any:
    if isinstance(value, int | float):
        raise PydanticCustomError(
            "price_number", 'must be text in quotes, such as "12.90": a bare number is not kept exactly'
        )
    return value


def _number_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _per_locale(value: Any) -> Any:
    return {NO_LOCALE: value} if isinstance(value, str) else value


Words20 = Annotated[str, StringConstraints(min_length=1, max_length=20)]
Words80 = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Words120 = Annotated[str, StringConstraints(min_length=1, max_length=120)]
Words4000 = Annotated[str, StringConstraints(min_length=1, max_length=4_000)]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Handle = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$", max_length=40)]
# No colon and no at sign: stock is named <sku>@<location>.
Sku = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Currency = Annotated[str, AfterValidator(_known_currency)]
Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=20)]
Title = Annotated[dict[Locale, Words120], BeforeValidator(_per_locale), Field(min_length=1, max_length=20)]
Description = Annotated[
    dict[Locale, Words4000], BeforeValidator(_per_locale), Field(min_length=1, max_length=20)
]
PriceText = Annotated[str, BeforeValidator(_price_text), StringConstraints(max_length=20)]
Prices = Annotated[dict[Currency, PriceText], Field(min_length=1)]
TokenIdText = Annotated[
    str, BeforeValidator(_number_text), StringConstraints(pattern=r"^(0|[1-9][0-9]{0,77})$")
]
CallArgument = bool | int | Annotated[str, StringConstraints(max_length=400)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
Vector = Annotated[list[Number], Field(min_length=3, max_length=3)]
# Strict mode takes enum members only; documents hold their values.
_ByValue = Field(strict=False)


class Declaration(BaseModel):
    """Base of the shapes: exact types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class TaxDeclaration(Declaration):
    scheme: Annotated[TaxScheme, _ByValue] = TaxScheme.DESTINATION
    shipping_category: str = "goods_standard"
    registrations: dict[Country, Words20] = {}


class ShippingDeclaration(Declaration):
    countries: Annotated[list[Country], Field(min_length=1, max_length=250)]
    prices: Prices
    days: Annotated[list[Annotated[int, Field(ge=0, le=365)]], Field(min_length=2, max_length=2)]
    free_from: dict[Currency, PriceText] = {}


class PayLinkDeclaration(Declaration):
    offered: bool = True
    hours: Annotated[int, Field(ge=1, le=30 * 24)] = 24


class PayoutDeclaration(Declaration):
    most: Prices
    per_day: Prices
    times_per_day: Annotated[int, Field(ge=1, le=1_000)] = 3
    cooling_hours: Annotated[int, Field(ge=0, le=90 * 24)] = 24


class PaymentsDeclaration(Declaration):
    """What is offered besides stored methods. A currency without an amount is not offered."""

    pay_link: PayLinkDeclaration = PayLinkDeclaration()
    pay_at_delivery: dict[Currency, PriceText] = {}
    cash_at_pickup: dict[Currency, PriceText] = {}
    refund_elsewhere: dict[Currency, PriceText] = {}
    payout: PayoutDeclaration | None = None
    approval_hours: Annotated[int, Field(ge=1, le=90 * 24)] = 7 * 24


class ContractDeclaration(Declaration):
    """A contract that the merchant deployed and lets this installation mint on."""

    name: Code
    chain_id: Annotated[int, Field(ge=1, lt=1 << 53)]
    address: Annotated[str, StringConstraints(max_length=42)]
    standard: Annotated[Standard, _ByValue]
    call: Annotated[str, StringConstraints(max_length=400)]
    arguments: Annotated[list[CallArgument], Field(max_length=20)]
    data: Annotated[str, StringConstraints(max_length=2 + 2 * MOST_DATA_BYTES)] = "0x"
    gas: Annotated[int, Field(ge=LEAST_GAS, le=MOST_GAS)] | None = None


class MintingDeclaration(Declaration):
    gas_per_day: Annotated[int, Field(ge=0, lt=1 << 53)] | None = None
    """0: any. Left out: what the installation allows."""
    contracts: Annotated[list[ContractDeclaration], Field(max_length=50)] = []


class LocationDeclaration(Declaration):
    code: Code
    name: Words80
    kind: Annotated[LocationKind, _ByValue]
    country: Country
    priority: Annotated[int, Field(ge=0, le=1_000)] = 100


class GeoFenceDeclaration(Declaration):
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    radius_m: Annotated[float, Field(gt=0, le=10_000)]


class PlacementDeclaration(Declaration):
    sku: Sku
    position_m: Vector
    rotation: Annotated[list[Number], Field(min_length=4, max_length=4)] | None = None
    """Quaternion x, y, z, w; or give ``yaw_deg``."""
    yaw_deg: Number | None = None
    """Degrees to the left around the upward axis."""
    scale: Annotated[float, Field(gt=0, le=100)] = 1.0


class PlaceDeclaration(Declaration):
    code: Code
    kind: Annotated[PlaceKind, _ByValue]
    name: Title
    geo_fence: GeoFenceDeclaration | None = None
    placements: Annotated[list[PlacementDeclaration], Field(max_length=MAX_PLACEMENTS)] = []


class MerchantDeclaration(Declaration):
    slug: Handle
    name: Words120
    country: Country
    currencies: Annotated[list[Currency], Field(min_length=1, max_length=40)]
    tax: TaxDeclaration = TaxDeclaration()
    shipping: Annotated[list[ShippingDeclaration], Field(max_length=100)] = []
    payments: PaymentsDeclaration = PaymentsDeclaration()
    minting: MintingDeclaration = MintingDeclaration()
    locations: Annotated[list[LocationDeclaration], Field(max_length=500)] = []
    places: Annotated[list[PlaceDeclaration], Field(max_length=500)] = []


class OfferDeclaration(Declaration):
    prices: Prices


class BundleOfferDeclaration(Declaration):
    prices: Prices
    digital_share_percent: Annotated[int, Field(ge=1, le=99)]


class OffersDeclaration(Declaration):
    digital: OfferDeclaration | None = None
    physical: OfferDeclaration | None = None
    bundle: BundleOfferDeclaration | None = None


class EditionDeclaration(Declaration):
    kind: Annotated[EditionKind, _ByValue] = EditionKind.OPEN
    cap: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None


class DigitalDeclaration(Declaration):
    delivery: Annotated[Delivery, _ByValue] = Delivery.ENTITLEMENT
    """A row that nobody can transfer is no crypto-asset; a token is asked for by name."""
    model: FileName | None = None
    edition: EditionDeclaration = EditionDeclaration()
    royalty_bps: Annotated[int, Field(ge=0, le=10_000)] = 0
    license: Annotated[str, StringConstraints(max_length=2_000)] = ""
    contract: Code | None = None
    """The merchant's own contract it is minted on."""
    token_id: TokenIdText | None = None
    """Its id there, or that of the first numbered copy; left out: as on the installation's contract."""


class PhysicalDeclaration(Declaration):
    weight_g: Annotated[int, Field(ge=1, le=10_000_000)]
    size_mm: Annotated[list[Annotated[int, Field(ge=1, le=100_000)]], Field(min_length=3, max_length=3)]
    stock: dict[Code, Annotated[int, Field(ge=0, le=1_000_000_000)]] = {}
    """Starting count per location code; later counts are the inventory's."""


class VariantDeclaration(Declaration):
    sku: Sku
    title: Title | None = None
    options: Annotated[dict[Words80, Words80], Field(max_length=10)] = {}
    model: FileName | None = None
    """What a shop shows when it is not the digital part's model."""
    picture: FileName | None = None
    """A picture (PNG) in the place of the one that is drawn from the model."""
    offers: OffersDeclaration
    digital: DigitalDeclaration | None = None
    physical: PhysicalDeclaration | None = None

    @property
    def shown_model(self) -> str | None:
        return self.model or (self.digital.model if self.digital else None)


class TaxCategories(Declaration):
    digital: str | None = None
    physical: str | None = None


class ProductDeclaration(Declaration):
    handle: Handle
    title: Title
    description: Description | None = None
    failure_policy: Annotated[FailurePolicy, _ByValue] = FailurePolicy.ALL_OR_NOTHING
    status: Literal["active", "withdrawn"] = "active"
    tax: TaxCategories
    variants: Annotated[list[VariantDeclaration], Field(min_length=1, max_length=MAX_VARIANTS)]


class MerchantFile(Declaration):
    """``merchant.yaml``"""

    merchant: MerchantDeclaration


class ProductFile(Declaration):
    """``products/<name>.yaml``"""

    product: ProductDeclaration
