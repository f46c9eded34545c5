"""Writing a prepared import: one unit of work that decides, lets the inventory decide, then writes.

An import adds and changes. A product that is no longer in the folder stays as it is; a variant that is no
longer in its product goes off sale and keeps its row and token number, because orders refer to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from gateway.catalog.declarations import (
    ProductDeclaration,
    VariantDeclaration,
)
from gateway.catalog.editions import edition_changes
from gateway.catalog.loading import read_version
from gateway.catalog.model import Delivery, EditionKind, LocationId, PlaceId, ProductId, VariantId
from gateway.catalog.prepared import NewModel, PreparedImport, PreparedMerchant, PreparedProduct
from gateway.catalog.problems import CatalogInvalidError, Problem
from gateway.catalog.reports import (
    DeclaredContract,
    EditionCap,
    GasLimit,
    ImportedMerchant,
    ImportReport,
    InitialStock,
    Inventory,
    IssuedCopies,
)
from gateway.catalog.rows import asset_row, digital_part, formats, pose, price_rows, settings
from gateway.catalog.tables import (
    asset,
    catalog_counter,
    merchant,
    merchant_location,
    place,
    product,
    stock_seed,
    variant,
    variant_price,
)
from gateway.catalog.token_documents import KEEP, edition_row
from gateway.kernel.documents import decode, encode
from gateway.kernel.store.statements import Statement, insert_into, insert_new, upsert
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import MerchantId
from wallets.minting.copies import was_sold
from wallets.minting.own_calls import describe
from wallets.minting.own_contracts import OwnContract

_MERCHANT = Statement(select(merchant.c.merchant_id).where(merchant.c.slug == bindparam("slug")))
_LOCATIONS = Statement(
    select(merchant_location.c.code, merchant_location.c.location_id).where(
        merchant_location.c.merchant_id == bindparam("merchant_id")
    )
)
_PLACES = Statement(
    select(place.c.code, place.c.place_id).where(place.c.merchant_id == bindparam("merchant_id"))
)
_PRODUCTS = Statement(
    select(product.c.handle, product.c.product_id).where(product.c.merchant_id == bindparam("merchant_id"))
)
_VARIANTS = Statement(
    select(
        variant.c.sku,
        variant.c.variant_id,
        variant.c.product_id,
        variant.c.active,
        variant.c.digital,
        variant.c.token_number,
    ).where(variant.c.merchant_id == bindparam("merchant_id"))
)
_SEEDS = Statement(
    select(stock_seed.c.sku, stock_seed.c.location_id).where(
        stock_seed.c.merchant_id == bindparam("merchant_id")
    )
)
_COUNTER = Statement(select(catalog_counter.c.value).where(catalog_counter.c.name == bindparam("name")))


def _keep(table: Any, key: str, changing: str) -> Statement:
    """Insert rows, or change the named columns of the rows that hold the key."""
    return upsert(table, [key], lambda new: {name: new[name] for name in changing.split()})


_PUT_MERCHANT = _keep(merchant, "merchant_id", "name country settings updated_at_ms")
_PUT_LOCATION = _keep(merchant_location, "location_id", "name kind country priority")
_PUT_PLACE = _keep(place, "place_id", "kind name geo_fence placements")
_PUT_PRODUCT = _keep(product, "product_id", "title description failure_policy tax active updated_at_ms")
_PUT_VARIANT = _keep(
    variant,
    "variant_id",
    "product_id position active title options formats asset_id digital physical token_number picture_id",
)
_DROP_VARIANTS = Statement(
    update(variant).where(variant.c.product_id == bindparam("of_product")).values(active=0)
)
_DROP_PRICES = Statement(delete(variant_price).where(variant_price.c.variant_id == bindparam("variant_id")))
_PUT_PRICE = insert_into(variant_price)
_PUT_SEED = insert_new(stock_seed)
# A model that was stored before pictures were drawn gets its picture.
_PUT_ASSET = upsert(
    asset,
    ["asset_id"],
    lambda new: {"picture_id": func.coalesce(new["picture_id"], asset.c.picture_id)},
)
_SET_COUNTER = _keep(catalog_counter, "name", "value")


def record(
    uow: UnitOfWork,
    prepared: PreparedImport,
    *,
    issued: IssuedCopies | None = None,
    inventory: Inventory | None = None,
) -> ImportReport:
    """Write merchants, products, places and models, and return the report.

    Raises CatalogInvalidError when an edition is changed in a way that breaks a promise; nothing is
    written then.
    """
    recording = _Recording(uow, issued)
    merchants = [recording.merchant(its) for its in prepared.merchants]
    return recording.finish(prepared, merchants, inventory)


def record_product(
    uow: UnitOfWork,
    merchant_id: MerchantId,
    slug: str,
    location_ids: dict[str, LocationId],
    prepared: PreparedProduct,
    *,
    issued: IssuedCopies | None = None,
    inventory: Inventory | None = None,
) -> ImportReport:
    """Write one product of a known merchant. Errors as `record`."""
    recording = _Recording(uow, issued)
    recording.products(merchant_id, location_ids, (prepared,))
    done = ImportedMerchant(merchant_id, slug, 1, len(prepared.declaration.variants), 0)
    return recording.finish(PreparedImport((), (), 0, ()), [done], inventory)


def record_model(uow: UnitOfWork, model: NewModel) -> None:
    """Write the row of one stored model, unless it is there."""
    uow.run(_PUT_ASSET, asset_row(model, uow.now_ms))


@dataclass(frozen=True, slots=True)
class _Existing:
    """What the database knows of one merchant's articles."""

    products: dict[str, str]
    variants: dict[str, Any]
    seeds: set[tuple[str, str]]


class _Recording:
    """Gathers rows while deciding, so that the writing comes after the last decision."""

    def __init__(self, uow: UnitOfWork, issued: IssuedCopies | None) -> None:
        self._uow = uow
        self._issued = issued
        self._writes: list[tuple[Statement, list[dict[str, Any]]]] = []
        self._problems: list[Problem] = []
        self._stock: list[InitialStock] = []
        self._editions: list[EditionCap] = []
        self._contracts: list[DeclaredContract] = []
        self._gas_limits: list[GasLimit] = []
        self._version = read_version(uow) + 1
        self._token_numbers_before = self._last_token_number = self._counter("token_number")

    def merchant(self, prepared: PreparedMerchant) -> ImportedMerchant:
        """Note everything of one merchant."""
        uow = self._uow
        declared, products = prepared.declaration, prepared.products
        found = uow.row(_MERCHANT, {"slug": declared.slug})
        merchant_id = uow.new_id(MerchantId) if found is None else MerchantId(found.merchant_id)
        of_merchant = {"merchant_id": merchant_id}
        location_ids = {row.code: LocationId(row.location_id) for row in uow.rows(_LOCATIONS, of_merchant)}
        place_ids = {row.code: row.place_id for row in uow.rows(_PLACES, of_merchant)}
        for location in declared.locations:
            location_ids.setdefault(location.code, uow.new_id(LocationId))
        self._note(
            _PUT_MERCHANT,
            [
                {
                    "merchant_id": merchant_id,
                    "slug": declared.slug,
                    "name": declared.name,
                    "country": declared.country,
                    "settings": encode(settings(declared)),
                    "created_at_ms": uow.now_ms,
                    "updated_at_ms": uow.now_ms,
                }
            ],
        )
        self._note(
            _PUT_LOCATION,
            [
                {
                    **location.model_dump(mode="json"),
                    **of_merchant,
                    "location_id": location_ids[location.code],
                }
                for location in declared.locations
            ],
        )
        self._note(
            _PUT_PLACE,
            [
                {
                    **of_merchant,
                    "place_id": place_ids.get(its.code) or uow.new_id(PlaceId),
                    "code": its.code,
                    "kind": its.kind.value,
                    "name": encode(its.name),
                    "geo_fence": None if its.geo_fence is None else encode(its.geo_fence.model_dump()),
                    "placements": encode([pose(placement) for placement in its.placements]),
                }
                for its in declared.places
            ],
        )
        self._note_minting(merchant_id, prepared)
        self.products(merchant_id, location_ids, products)
        variants = sum(len(its.declaration.variants) for its in products)
        return ImportedMerchant(merchant_id, declared.slug, len(products), variants, len(declared.places))

    def products(
        self,
        merchant_id: MerchantId,
        location_ids: dict[str, LocationId],
        products: tuple[PreparedProduct, ...],
    ) -> None:
        """Note products with their variants, prices, starting stock and editions."""
        of_merchant = {"merchant_id": merchant_id}
        existing = _Existing(
            {row.handle: row.product_id for row in self._uow.rows(_PRODUCTS, of_merchant)},
            {row.sku: row for row in self._uow.rows(_VARIANTS, of_merchant)},
            {(row.sku, row.location_id) for row in self._uow.rows(_SEEDS, of_merchant)},
        )
        product_rows, variant_rows, prices, old_products = [], [], [], []
        imported = {existing.products.get(its.declaration.handle) for its in products}
        skus = {variant.sku for its in products for variant in its.declaration.variants}
        self._fix_sold(merchant_id, existing, imported, skus)
        for prepared in products:
            declared = prepared.declaration
            product_id = existing.products.get(declared.handle)
            if product_id is None:
                product_id = self._uow.new_id(ProductId)
            else:
                old_products.append({"of_product": product_id})
            product_rows.append(self._product_row(merchant_id, product_id, declared))
            for position, its in enumerate(declared.variants):
                before = existing.variants.get(its.sku)
                # Within one import an article may move from one product to another.
                if before is not None and before.active and before.product_id not in imported:
                    self._problems.append(
                        prepared.variant_problem(position, ("sku",), f"{its.sku} belongs to another product")
                    )
                row = self._variant_row(merchant_id, product_id, position, its, prepared, existing)
                variant_rows.append(row)
                prices += price_rows(row["variant_id"], its)
                self._note_stock(merchant_id, its, location_ids, existing)
        self._note(_PUT_PRODUCT, product_rows)
        self._note(_DROP_VARIANTS, old_products)
        self._note(_PUT_VARIANT, variant_rows)
        self._note(_DROP_PRICES, [{"variant_id": row["variant_id"]} for row in variant_rows])
        self._note(_PUT_PRICE, prices)

    def finish(
        self, prepared: PreparedImport, merchants: Iterable[ImportedMerchant], inventory: Inventory | None
    ) -> ImportReport:
        """Decide for good, then write."""
        if self._problems:
            raise CatalogInvalidError(self._problems)
        report = ImportReport(
            tuple(merchants),
            tuple(self._stock),
            tuple(self._editions),
            prepared.measured,
            prepared.warnings,
            self._version,
            tuple(self._contracts),
            tuple(self._gas_limits),
        )
        if inventory is not None:
            inventory(self._uow, report)
        now_ms = self._uow.now_ms
        self._note(_PUT_ASSET, [asset_row(model, now_ms) for model in prepared.models])
        self._note(
            _PUT_SEED,
            [
                {
                    "merchant_id": its.merchant_id,
                    "sku": its.sku,
                    "location_id": its.location_id,
                    "seeded_at_ms": now_ms,
                }
                for its in self._stock
            ],
        )
        counters = [{"name": "version", "value": self._version}]
        if self._last_token_number > self._token_numbers_before:
            counters.append({"name": "token_number", "value": self._last_token_number})
        self._note(_SET_COUNTER, counters)
        for statement, rows in self._writes:
            self._uow.run_many(statement, rows)
        return report

    def _note_minting(self, merchant_id: MerchantId, prepared: PreparedMerchant) -> None:
        minting = prepared.declaration.minting
        self._gas_limits.append(GasLimit(merchant_id, minting.gas_per_day))
        for index, its in enumerate(minting.contracts):
            description = describe(its.standard, its.call, its.arguments, bytes.fromhex(its.data[2:]))
            self._contracts.append(
                DeclaredContract(
                    OwnContract(merchant_id, its.name, its.chain_id, its.address, description, its.gas),
                    partial(prepared.contract_problem, index),
                )
            )

    def _note(self, statement: Statement, rows: list[dict[str, Any]]) -> None:
        self._writes.append((statement, rows))

    def _counter(self, name: str) -> int:
        found = self._uow.row(_COUNTER, {"name": name})
        return 0 if found is None else found.value

    def _fix_sold(
        self, merchant_id: MerchantId, existing: _Existing, products: set[str | None], skus: set[str]
    ) -> None:
        """Note what tokens of these products say of themselves, where copies were sold: it stays so."""
        rows = [
            edition_row(self._uow, its.token_number)
            for its in existing.variants.values()
            if its.token_number is not None
            and (its.product_id in products or its.sku in skus)
            and self._was_sold(merchant_id, its.sku, its.token_number)
        ]
        self._note(KEEP, [row for row in rows if row is not None])

    def _was_sold(self, merchant_id: MerchantId, sku: str, item_number: int) -> bool:
        if was_sold(self._uow, item_number):
            return True
        return self._issued is not None and self._issued(self._uow, merchant_id, sku) > 0

    def _product_row(
        self, merchant_id: MerchantId, product_id: str, declared: ProductDeclaration
    ) -> dict[str, Any]:
        return {
            "product_id": product_id,
            "merchant_id": merchant_id,
            "handle": declared.handle,
            "title": encode(declared.title),
            "description": encode(declared.description or {}),
            "failure_policy": declared.failure_policy.value,
            "tax": encode(declared.tax.model_dump(exclude_none=True)),
            "active": int(declared.status == "active"),
            "created_at_ms": self._uow.now_ms,
            "updated_at_ms": self._uow.now_ms,
        }

    def _variant_row(
        self,
        merchant_id: MerchantId,
        product_id: str,
        position: int,
        declared: VariantDeclaration,
        prepared: PreparedProduct,
        existing: _Existing,
    ) -> dict[str, Any]:
        before = existing.variants.get(declared.sku)
        if before is not None:
            issued = self._issued
            copies = None if issued is None else partial(issued, self._uow, merchant_id, declared.sku)
            self._problems += [
                prepared.variant_problem(position, path, message)
                for path, message in edition_changes(
                    None if before.digital is None else decode(before.digital), declared.digital, copies
                )
            ]
        token_number = None if before is None else before.token_number
        digital = declared.digital
        if digital is not None:
            if digital.delivery is Delivery.TOKEN and token_number is None:
                self._last_token_number += 1
                token_number = self._last_token_number
            self._editions.append(
                EditionCap(
                    merchant_id,
                    declared.sku,
                    digital.edition.cap,
                    digital.edition.kind is EditionKind.NUMBERED,
                    token_number if digital.delivery is Delivery.TOKEN else None,
                    digital.contract,
                    None if digital.token_id is None else int(digital.token_id),
                )
            )
        shown = declared.shown_model
        return {
            "variant_id": self._uow.new_id(VariantId) if before is None else before.variant_id,
            "merchant_id": merchant_id,
            "product_id": product_id,
            "sku": declared.sku,
            "position": position,
            "active": 1,
            "title": encode(declared.title or {}),
            "options": encode(declared.options),
            "formats": encode(formats(declared.offers)),
            "asset_id": None if shown is None else prepared.models[shown],
            "digital": None if digital is None else encode(digital_part(digital, prepared.models)),
            "physical": (
                None if declared.physical is None else encode(declared.physical.model_dump(exclude={"stock"}))
            ),
            "token_number": token_number,
            "picture_id": None if declared.picture is None else prepared.models[declared.picture],
        }

    def _note_stock(
        self,
        merchant_id: MerchantId,
        declared: VariantDeclaration,
        location_ids: dict[str, LocationId],
        existing: _Existing,
    ) -> None:
        if declared.physical is None:
            return
        for code, on_hand in declared.physical.stock.items():
            location_id = location_ids[code]
            if (declared.sku, location_id) not in existing.seeds:
                self._stock.append(InitialStock(merchant_id, declared.sku, location_id, code, on_hand))
