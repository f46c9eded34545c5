"""From a merchant's folder to a prepared import: read, check, measure, and report every mistake at once.

A folder holds ``merchant.yaml``, ``products/*.yaml``, ``models/*.glb`` and ``pictures/*.png``. A folder
without ``merchant.yaml`` is a folder of such folders. Everything here blocks and touches no database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.catalog.assets import (
    MAX_MODEL_BYTES,
    MAX_PICTURE_BYTES,
    AssetStore,
    content_id,
    picture_problem,
)
from gateway.catalog.checks import (
    MerchantFacts,
    merchant_problems,
    placement_problems,
    product_problems,
    repeated_names,
    series_warnings,
    shape_problems,
    variants_of,
)
from gateway.catalog.declarations import MerchantFile, ProductFile
from gateway.catalog.files import SourceDocument, read_yaml
from gateway.catalog.models3d import Measured, ModelWorker
from gateway.catalog.prepared import NewModel, PreparedImport, PreparedMerchant, PreparedProduct
from gateway.catalog.problems import CatalogInvalidError, FieldPath, Problem
from gateway.catalog.sizes import size_problem
from gateway.catalog.taxes import TaxTable
from gateway.kernel.errors import InvalidError

MAX_PRODUCTS = 1_000
"""Most products of one import: it is one transaction, and others wait while it is written (about 0.3 ms
each)."""
_TOP: FieldPath = ("product",)


def prepare(
    path: Path, assets: AssetStore, known: Mapping[str, Measured], worker: ModelWorker
) -> PreparedImport:
    """Read, check and measure a folder. ``known`` are the models measured before, by asset id.

    Raises CatalogInvalidError with all problems; then no file was stored.
    """
    return _Preparation(path, assets, known, worker).run()


@dataclass(slots=True)
class _Models:
    """The models of one import by file, each read, checked and measured once."""

    by_file: dict[Path, tuple[str, Measured] | str] = field(default_factory=dict)
    new: dict[str, tuple[NewModel, Path]] = field(default_factory=dict)
    measured: int = 0


class _Preparation:
    def __init__(
        self, path: Path, assets: AssetStore, known: Mapping[str, Measured], worker: ModelWorker
    ) -> None:
        self._path = path
        self._assets = assets
        self._known = known
        self._worker = worker
        self._models = _Models()
        self._pictures: dict[str, bytes] = {}
        self._taxes = TaxTable.load()
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def run(self) -> PreparedImport:
        merchants: list[PreparedMerchant] = []
        slugs: dict[str, str] = {}
        for folder in self._folders():
            prepared = self._merchant(folder)
            if prepared is None:
                continue
            merchants.append(prepared)
            name = f"{folder.name}/merchant.yaml"
            if (first := slugs.setdefault(prepared.declaration.slug, name)) != name:
                self.problems.append(Problem(name, None, "merchant.slug", f"is used already in {first}"))
        count = sum(len(prepared.products) for prepared in merchants)
        if count > MAX_PRODUCTS:
            self.problems.append(
                Problem(str(self._path), None, "", f"{MAX_PRODUCTS} products are the most at once")
            )
        if self.problems:
            raise CatalogInvalidError(self.problems)
        for model, file in self._models.new.values():
            data = file.read_bytes()
            if content_id(data) != model.asset_id:
                raise CatalogInvalidError(
                    [Problem(str(file), None, "", "the file changed during the import")]
                )
            self._assets.put(data)
            if model.measured.picture:
                self._assets.put(model.measured.picture, "png")
        for picture in self._pictures.values():
            self._assets.put(picture, "png")
        return PreparedImport(
            tuple(merchants),
            tuple(model for model, _ in self._models.new.values()),
            self._models.measured,
            tuple(sorted(self.warnings)),
        )

    def _folders(self) -> list[Path]:
        if (self._path / "merchant.yaml").is_file():
            return [self._path]
        folders = sorted(found.parent for found in self._path.glob("*/merchant.yaml"))
        if not folders:
            self.problems.append(Problem(str(self._path), None, "", "there is no merchant.yaml here"))
        return folders

    def _merchant(self, folder: Path) -> PreparedMerchant | None:
        """Check one merchant's folder. Returns None if it has problems, which are noted."""
        before = len(self.problems)
        prefix = "" if folder == self._path else f"{folder.name}/"
        source = self._read(folder / "merchant.yaml", f"{prefix}merchant.yaml")
        if source is not None:
            self.problems += shape_problems(source, MerchantFile) + merchant_problems(source)
        facts = None if source is None else MerchantFacts.declared(source.document)
        products: list[SourceDocument] = []
        complete = True
        for file in sorted((folder / "products").glob("*.yaml")):
            product = self._read(file, f"{prefix}products/{file.name}")
            if product is None:
                complete = False
                continue
            products.append(product)
            self.problems += shape_problems(product, ProductFile)
            if facts is not None:
                self.problems += product_problems(product, _TOP, facts)
        self.problems += repeated_names([(product, _TOP) for product in products])
        if source is not None and complete:
            skus = {
                entry.get("sku") for product in products for _, entry in variants_of(product.document, _TOP)
            }
            self.problems += placement_problems(source, {sku for sku in skus if isinstance(sku, str)})
        models = [self._product_models(folder, product) for product in products]
        if source is None or len(self.problems) > before:
            return None
        merchant = MerchantFile.model_validate(source.document).merchant
        untaxed = {
            country for rate in merchant.shipping for country in rate.countries
        } - self._taxes.countries
        if untaxed:
            self.warnings.append(
                source.problem(
                    ("merchant", "shipping"),
                    f"no tax rates are known for {', '.join(sorted(untaxed))}: quotes will be refused",
                )
            )
        for product in products:
            self.warnings += series_warnings(product, _TOP)
        return PreparedMerchant(
            source,
            merchant,
            tuple(
                PreparedProduct(
                    product, _TOP, ProductFile.model_validate(product.document).product, its_models
                )
                for product, its_models in zip(products, models, strict=True)
            ),
        )

    def _read(self, file: Path, name: str) -> SourceDocument | None:
        source, problems = read_yaml(file, name)
        self.problems += problems
        return source

    def _product_models(self, folder: Path, product: SourceDocument) -> dict[str, str]:
        """Check and measure the models a product names; return their asset ids by that name."""
        found: dict[str, str] = {}
        for path, variant in variants_of(product.document, _TOP):
            digital, physical = variant.get("digital"), variant.get("physical")
            if isinstance(picture := variant.get("picture"), str):
                picture_id, problem = self._picture(folder, picture)
                found[picture] = picture_id
                if problem is not None:
                    self.problems.append(product.problem((*path, "picture"), problem))
            for owner, at in ((variant, path), (digital, (*path, "digital"))):
                name = owner.get("model") if isinstance(owner, dict) else None
                if not isinstance(name, str):
                    continue
                here = (*at, "model")
                outcome = self._model(folder, name)
                if isinstance(outcome, str):
                    self.problems.append(product.problem(here, outcome))
                    continue
                found[name], measured = outcome
                if measured.suspect:
                    largest = max(measured.extents_m)
                    self.warnings.append(
                        product.problem(here, f"the model is {largest:g} m long; is that right?")
                    )
                wrong = size_problem(measured.extents_m, physical)
                if wrong is not None:
                    self.problems.append(product.problem(here, wrong))
        return found

    def _picture(self, folder: Path, name: str) -> tuple[str, str | None]:
        """Return the id of a picture file, and why it is refused."""
        file = folder / "pictures" / name
        if file.name != name or name.startswith("."):
            return "", "must be the name of a file in the folder pictures"
        try:
            with file.open("rb") as opened:
                data = opened.read(MAX_PICTURE_BYTES + 1)
        except OSError:
            return "", f"there is no file pictures/{file.name}"
        picture_id = content_id(data)
        self._pictures[picture_id] = data
        return picture_id, picture_problem(data)

    def _model(self, folder: Path, name: str) -> tuple[str, Measured] | str:
        """Return asset id and measures of a model file, or why it is refused."""
        file = folder / "models" / name
        if file.name != name or name.startswith("."):
            return "must be the name of a file in the folder models"
        if file not in self._models.by_file:
            self._models.by_file[file] = self._measured(file)
        return self._models.by_file[file]

    def _measured(self, file: Path) -> tuple[str, Measured] | str:
        try:
            if file.stat().st_size > MAX_MODEL_BYTES:
                return f"model.too_large: {file.name} has more than {MAX_MODEL_BYTES} bytes"
            data = file.read_bytes()
        except OSError:
            return f"there is no file models/{file.name}"
        asset_id = content_id(data)
        known = self._known.get(asset_id)
        if known is None:
            try:
                self._models.measured += 1
                known = self._worker.measure(data)
            except InvalidError as error:
                return f"{error.code}: {error.message}"
        if asset_id not in self._known or not self._assets.contains(asset_id):
            self._models.new[asset_id] = (NewModel(asset_id, len(data), known), file)
        return asset_id, known
