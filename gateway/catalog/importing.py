"""Taking products in: a merchant's folder, one product as JSON, one uploaded model.

Each is a process of three steps: check everything, store new model files, write one unit of work. Nothing
is written when anything is wrong. An import may be repeated: it changes texts and prices, never the counts
of stock; see `gateway.catalog.recording`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.catalog.assets import MAX_MODEL_BYTES, AssetStore, content_id
from gateway.catalog.checks import (
    MerchantFacts,
    product_problems,
    repeated_names,
    shape_problems,
    variants_of,
)
from gateway.catalog.declarations import ProductDeclaration
from gateway.catalog.files import SourceDocument
from gateway.catalog.folders import prepare
from gateway.catalog.loading import load_asset, load_assets, load_merchant
from gateway.catalog.model import Asset
from gateway.catalog.models3d import Measured, ModelWorker
from gateway.catalog.prepared import NewModel, PreparedProduct
from gateway.catalog.problems import CatalogInvalidError, Problem
from gateway.catalog.recording import record, record_model, record_product
from gateway.catalog.reports import ImportReport, Inventory, IssuedCopies
from gateway.catalog.sizes import size_problem
from gateway.kernel.errors import InvalidError, NotFoundError
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from gateway.kernel.subjects import MerchantId

_LOCKS = ("catalog",)
"""Imports follow one another: they count versions and token numbers up."""


async def import_folder(
    store: Store,
    assets: AssetStore,
    path: Path,
    *,
    issued: IssuedCopies | None = None,
    inventory: Inventory | None = None,
) -> ImportReport:
    """Import the folder of one merchant, or a folder of such folders.

    ``inventory`` gets the starting stock and the editions in the same unit of work; ``issued`` is asked
    before a cap is lowered. Raises CatalogInvalidError with every problem found.
    """
    known = {its.asset_id: _measured(its) for its in await store.read(load_assets)}

    def check() -> Any:
        with ModelWorker() as worker:
            return prepare(path, assets, known, worker)

    prepared = await asyncio.to_thread(check)
    return await store.write(
        lambda uow: record(uow, prepared, issued=issued, inventory=inventory),
        lane=Lane.BACKGROUND,
        locks=_LOCKS,
    )


async def import_product(
    store: Store,
    merchant_id: str,
    document: Mapping[str, Any],
    *,
    issued: IssuedCopies | None = None,
    inventory: Inventory | None = None,
) -> ImportReport:
    """Import one product: what a product file holds under ``product``, with models named by asset id.

    Raises CatalogInvalidError with every problem, or NotFoundError ``merchant.not_found``.
    """
    source = SourceDocument("", dict(document), {})

    def unit(uow: UnitOfWork) -> ImportReport:
        merchant = load_merchant(uow, merchant_id)
        if merchant is None:
            raise NotFoundError("merchant.not_found", "There is no such merchant.")
        problems = shape_problems(source, ProductDeclaration)
        problems += product_problems(source, (), MerchantFacts.of(merchant))
        problems += repeated_names([(source, ())])
        models, wrong = _stored_models(uow, source)
        if problems or wrong:
            raise CatalogInvalidError([*problems, *wrong])
        declaration = ProductDeclaration.model_validate(source.document)
        return record_product(
            uow,
            MerchantId(merchant_id),
            merchant.slug,
            {location.code: location.location_id for location in merchant.locations},
            PreparedProduct(source, (), declaration, models),
            issued=issued,
            inventory=inventory,
        )

    return await store.write(unit, locks=_LOCKS)


async def add_model(store: Store, assets: AssetStore, data: bytes) -> Asset:
    """Check, measure and store one uploaded GLB; products then name it by its asset id.

    Raises InvalidError ``model.<reason>``. A model that is known already is not measured again.
    """
    if len(data) > MAX_MODEL_BYTES:
        raise InvalidError(
            "model.too_large", f"The file has {len(data)} bytes; {MAX_MODEL_BYTES} are the most."
        )
    asset_id = await asyncio.to_thread(content_id, data)
    known = await store.read(lambda reader: load_asset(reader, asset_id))
    if known is not None and await asyncio.to_thread(assets.contains, asset_id):
        return known

    def check() -> NewModel:
        with ModelWorker() as worker:
            measured = worker.measure(data) if known is None else _measured(known)
        assets.put(data)
        return NewModel(asset_id, len(data), measured)

    model = await asyncio.to_thread(check)

    def unit(uow: UnitOfWork) -> Asset:
        record_model(uow, model)
        stored = load_asset(uow, asset_id)
        assert stored is not None
        return stored

    return await store.write(unit)


def _measured(asset: Asset) -> Measured:
    return Measured(asset.extents_m, asset.triangles, asset.watertight)


def _stored_models(reader: Reader, source: SourceDocument) -> tuple[dict[str, str], list[Problem]]:
    """Find the models a document names among those stored; compare their size with the physical part."""
    found: dict[str, str] = {}
    problems = []
    for path, variant in variants_of(source.document, ()):
        digital = variant.get("digital")
        for owner, at in ((variant, path), (digital, (*path, "digital"))):
            name = owner.get("model") if isinstance(owner, dict) else None
            if not isinstance(name, str):
                continue
            here = (*at, "model")
            asset = load_asset(reader, name)
            if asset is None:
                problems.append(source.problem(here, "is not the id of an uploaded model"))
                continue
            found[name] = asset.asset_id
            wrong = size_problem(asset.extents_m, variant.get("physical"))
            if wrong is not None:
                problems.append(source.problem(here, wrong))
    return found, problems
