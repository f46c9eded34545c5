"""Taking products in: a merchant's folder, one product as JSON, one uploaded model.

Each is a process of three steps: check everything, store new model files, write one unit of work. Nothing
is written when anything is wrong. An import may be repeated: it changes texts and prices, never the counts
of stock; see `gateway.catalog.recording`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.catalog.assets import MAX_MODEL_BYTES, AssetStore, content_id, picture_problem
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
from gateway.catalog.prepared import NewModel, PreparedImport, PreparedProduct
from gateway.catalog.problems import CatalogInvalidError, Problem
from gateway.catalog.recording import record, record_model, record_product
from gateway.catalog.reports import ImportReport, Inventory, IssuedCopies
from gateway.catalog.sizes import size_problem
from gateway.kernel.errors import InvalidError, NotFoundError
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from gateway.kernel.subjects import MerchantId

Examine = Callable[[PreparedImport], Awaitable[list[Problem]]]
"""Looks at what is outside of the documents, before anything is written; returns warnings. May refuse."""

_ID = re.compile(r"[0-9a-f]{64}")
_LOCKS = ("catalog",)
"""Imports follow one another: they count versions and token numbers up."""


async def import_folder(
    store: Store,
    assets: AssetStore,
    path: Path,
    *,
    issued: IssuedCopies | None = None,
    inventory: Inventory | None = None,
    examine: Examine | None = None,
) -> ImportReport:
    """Import the folder of one merchant, or a folder of such folders.

    ``inventory`` gets the starting stock and the editions in the same unit of work; ``issued`` is asked
    before a cap is lowered, ``examine`` once the documents are found good. Raises CatalogInvalidError with
    every problem found.
    """
    stored = await store.read(load_assets)

    def check() -> PreparedImport:
        known = {its.asset_id: _measured(its) for its in stored if _pictured(assets, its)}
        with ModelWorker() as worker:
            return prepare(path, assets, known, worker)

    prepared: PreparedImport = await asyncio.to_thread(check)
    if examine is not None:
        warnings = await examine(prepared)
        prepared = replace(prepared, warnings=(*prepared.warnings, *warnings))
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
    assets: AssetStore | None = None,
    issued: IssuedCopies | None = None,
    inventory: Inventory | None = None,
) -> ImportReport:
    """Import one product: what a product file holds under ``product``, with models and pictures named by id.

    ``assets`` is where pictures are; without it none can be named.

    Raises CatalogInvalidError with every problem, or NotFoundError ``merchant.not_found``.
    """
    source = SourceDocument("", dict(document), {})
    pictures, missing = await asyncio.to_thread(_stored_pictures, assets, source)

    def unit(uow: UnitOfWork) -> ImportReport:
        merchant = load_merchant(uow, merchant_id)
        if merchant is None:
            raise NotFoundError("merchant.not_found", "There is no such merchant.")
        problems = shape_problems(source, ProductDeclaration)
        problems += product_problems(source, (), MerchantFacts.of(merchant))
        problems += repeated_names([(source, ())])
        models, wrong = _stored_models(uow, source)
        if problems or wrong or missing:
            raise CatalogInvalidError([*problems, *wrong, *missing])
        declaration = ProductDeclaration.model_validate(source.document)
        return record_product(
            uow,
            MerchantId(merchant_id),
            merchant.slug,
            {location.code: location.location_id for location in merchant.locations},
            PreparedProduct(source, (), declaration, {**models, **pictures}),
            issued=issued,
            inventory=inventory,
        )

    return await store.write(unit, locks=_LOCKS)


async def add_picture(assets: AssetStore, data: bytes) -> str:
    """Store one uploaded picture (PNG); products then name it by the id that is returned.

    Raises InvalidError ``picture.invalid``.
    """
    problem = picture_problem(data)
    if problem is not None:
        raise InvalidError("picture.invalid", f"The picture {problem}.")
    return await asyncio.to_thread(assets.put, data, "png")


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

    def is_here() -> bool:
        return known is not None and assets.contains(asset_id) and _pictured(assets, known)

    if known is not None and await asyncio.to_thread(is_here):
        return known

    def check() -> NewModel:
        with ModelWorker() as worker:
            measured = worker.measure(data)
        assets.put(data)
        if measured.picture:
            assets.put(measured.picture, "png")
        return NewModel(asset_id, len(data), measured)

    model = await asyncio.to_thread(check)

    def unit(uow: UnitOfWork) -> Asset:
        record_model(uow, model)
        stored = load_asset(uow, asset_id)
        assert stored is not None
        return stored

    return await store.write(unit)


def _pictured(assets: AssetStore, asset: Asset) -> bool:
    """Whether the model's picture is here, or none can be drawn."""
    return asset.picture_id is not None and (
        asset.picture_id == "" or assets.contains(asset.picture_id, "png")
    )


def _measured(asset: Asset) -> Measured:
    return Measured(asset.extents_m, asset.triangles, asset.watertight)


def _stored_pictures(
    assets: AssetStore | None, source: SourceDocument
) -> tuple[dict[str, str], list[Problem]]:
    """Find the pictures a document names among those stored."""
    found: dict[str, str] = {}
    problems = []
    for path, variant in variants_of(source.document, ()):
        name = variant.get("picture")
        if not isinstance(name, str):
            continue
        if assets is not None and _ID.fullmatch(name) is not None and assets.contains(name, "png"):
            found[name] = name
        else:
            problems.append(source.problem((*path, "picture"), "is not the id of an uploaded picture"))
    return found, problems


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
