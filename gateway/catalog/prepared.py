"""Documents that passed every check, with their models, ready to be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.catalog.declarations import MerchantDeclaration, ProductDeclaration
from gateway.catalog.files import SourceDocument
from gateway.catalog.models3d import Measured
from gateway.catalog.problems import FieldPath, Problem


@dataclass(frozen=True, slots=True)
class PreparedProduct:
    """A product; ``models`` maps what the document calls a model or a picture to its id."""

    source: SourceDocument
    top: FieldPath
    declaration: ProductDeclaration
    models: Mapping[str, str]

    def variant_problem(self, index: int, path: FieldPath, message: str) -> Problem:
        """Return a problem in one variant."""
        return self.source.problem((*self.top, "variants", index, *path), message)


@dataclass(frozen=True, slots=True)
class PreparedMerchant:
    source: SourceDocument
    declaration: MerchantDeclaration
    products: tuple[PreparedProduct, ...]

    def contract_problem(self, index: int, field: str, message: str) -> Problem:
        """Return a problem in one of the merchant's own contracts."""
        return self.source.problem(("merchant", "minting", "contracts", index, field), message)


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model that the catalog has not measured before."""

    asset_id: str
    bytes: int
    measured: Measured


@dataclass(frozen=True, slots=True)
class PreparedImport:
    merchants: tuple[PreparedMerchant, ...]
    models: tuple[NewModel, ...]
    measured: int
    """How many models had to be measured; those known from before are not."""
    warnings: tuple[Problem, ...]
