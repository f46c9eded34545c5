"""The catalog in memory: one immutable snapshot, replaced as a whole when an import changed something.

Quotes and pages are answered from it without touching the database. Another node's import is noticed by
the version row; see `Catalog.refresh_if_stale`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from gateway.catalog.model import (
    Asset,
    Format,
    Location,
    Merchant,
    Place,
    PlaceId,
    Product,
    ProductId,
    Variant,
    VariantId,
    VariantOffer,
)
from gateway.kernel.errors import NotFoundError
from gateway.kernel.subjects import MerchantId


class CatalogSnapshot:
    """Everything on sale at one version of the catalog, with look-ups. Never changed after it is made.

    Look-ups raise NotFoundError with the code in their docstring. Only `offer` refuses what is off sale:
    the others serve orders that were made before.
    """

    def __init__(
        self,
        version: int,
        merchants: Iterable[Merchant] = (),
        products: Iterable[Product] = (),
        places: Iterable[Place] = (),
        assets: Iterable[Asset] = (),
    ) -> None:
        self.version = version
        """Counts imports; 0 is the empty catalog."""
        self._merchants = {merchant.merchant_id: merchant for merchant in merchants}
        self._slugs = {merchant.slug: merchant for merchant in self._merchants.values()}
        self._products = dict(sorted((product.product_id, product) for product in products))
        self._handles = {(item.merchant_id, item.handle): item for item in self._products.values()}
        variants = [variant for item in self._products.values() for variant in item.variants]
        self._variants = {variant.variant_id: variant for variant in variants}
        self._skus = {(variant.merchant_id, variant.sku): variant for variant in variants}
        self._places = {place.place_id: place for place in places}
        self._codes = {(place.merchant_id, place.code): place for place in self._places.values()}
        self._assets = {asset.asset_id: asset for asset in assets}

    @property
    def merchants(self) -> Mapping[MerchantId, Merchant]:
        return MappingProxyType(self._merchants)

    @property
    def products(self) -> Mapping[ProductId, Product]:
        """All products in the order they were first imported, off sale ones included."""
        return MappingProxyType(self._products)

    @property
    def places(self) -> Mapping[PlaceId, Place]:
        return MappingProxyType(self._places)

    def merchant(self, merchant_id: str) -> Merchant:
        """Return the merchant; ``merchant.not_found``."""
        found = self._merchants.get(MerchantId(merchant_id))
        if found is None:
            raise NotFoundError("merchant.not_found", "There is no such merchant.")
        return found

    def merchant_by_slug(self, slug: str) -> Merchant:
        """Return the merchant with this short name; ``merchant.not_found``."""
        found = self._slugs.get(slug)
        if found is None:
            raise NotFoundError("merchant.not_found", "There is no such merchant.")
        return found

    def product(self, product_id: str) -> Product:
        """Return the product; ``product.not_found``."""
        found = self._products.get(ProductId(product_id))
        if found is None:
            raise NotFoundError("product.not_found", "There is no such product.")
        return found

    def product_by_handle(self, merchant_id: str, handle: str) -> Product:
        """Return a merchant's product by its handle; ``product.not_found``."""
        found = self._handles.get((MerchantId(merchant_id), handle))
        if found is None:
            raise NotFoundError("product.not_found", "There is no such product.")
        return found

    def variant(self, merchant_id: str, sku: str) -> Variant:
        """Return a merchant's variant by its SKU, also when it is off sale; ``sku.not_found``."""
        found = self._skus.get((MerchantId(merchant_id), sku))
        if found is None:
            raise NotFoundError("sku.not_found", "There is no such article.", data={"sku": sku[:64]})
        return found

    def variant_by_id(self, variant_id: str) -> Variant:
        """Return the variant, also when it is off sale; ``sku.not_found``."""
        found = self._variants.get(VariantId(variant_id))
        if found is None:
            raise NotFoundError("sku.not_found", "There is no such article.")
        return found

    def offer(self, merchant_id: str, sku: str, format: Format) -> VariantOffer:
        """Return what can be bought now: ``sku.not_found``, or ``format.not_offered`` for this SKU."""
        variant = self._skus.get((MerchantId(merchant_id), sku))
        if variant is None or not variant.active:
            raise NotFoundError("sku.not_found", "There is no such article.", data={"sku": sku[:64]})
        found = variant.offers.get(format)
        if found is None:
            raise NotFoundError(
                "format.not_offered",
                "The article is not sold in this format.",
                data={"sku": variant.sku, "formats": [str(offered) for offered in variant.offers]},
            )
        return found

    def location(self, merchant_id: str, code: str) -> Location:
        """Return a merchant's location by its code; ``location.not_found``."""
        found = self.merchant(merchant_id).location(code)
        if found is None:
            raise NotFoundError("location.not_found", "There is no such location.")
        return found

    def place(self, place_id: str) -> Place:
        """Return the place; ``place.not_found``."""
        found = self._places.get(PlaceId(place_id))
        if found is None:
            raise NotFoundError("place.not_found", "There is no such place.")
        return found

    def place_by_code(self, merchant_id: str, code: str) -> Place:
        """Return a merchant's place by its code; ``place.not_found``."""
        found = self._codes.get((MerchantId(merchant_id), code))
        if found is None:
            raise NotFoundError("place.not_found", "There is no such place.")
        return found

    def asset(self, asset_id: str) -> Asset:
        """Return what is known of a stored model; ``asset.not_found``."""
        found = self._assets.get(asset_id)
        if found is None:
            raise NotFoundError("asset.not_found", "There is no such asset.")
        return found
