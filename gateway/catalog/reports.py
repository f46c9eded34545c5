"""What an import did, and what its caller has to hand on.

Stock and editions are counted by the inventory, which the catalog does not know. The caller passes a
function that writes both in the import's own unit of work, so that no article is on sale without its count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.catalog.model import LocationId
from gateway.catalog.problems import Problem
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import MerchantId
from wallets.minting.own_contracts import OwnContract


@dataclass(frozen=True, slots=True)
class InitialStock:
    """A starting count that no import has reported before."""

    merchant_id: MerchantId
    sku: str
    location_id: LocationId
    location_code: str
    on_hand: int


@dataclass(frozen=True, slots=True)
class EditionCap:
    """An edition as it is declared now. ``cap`` is None for an open one."""

    merchant_id: MerchantId
    sku: str
    cap: int | None
    numbered: bool
    token_number: int | None
    contract: str | None = None
    """Name of the merchant's own contract it is minted on."""
    first_token_id: int | None = None
    """Its id there, where the merchant names one."""


@dataclass(frozen=True, slots=True)
class DeclaredContract:
    """A merchant's own contract as it is declared now; ``problem`` tells where in its file a field stands."""

    contract: OwnContract
    problem: Callable[[str, str], Problem]


@dataclass(frozen=True, slots=True)
class GasLimit:
    """What a merchant's mints may use in a day; None: what the installation allows."""

    merchant_id: MerchantId
    per_day: int | None


@dataclass(frozen=True, slots=True)
class ImportedMerchant:
    merchant_id: MerchantId
    slug: str
    products: int
    variants: int
    places: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of one import; it is committed as a whole."""

    merchants: tuple[ImportedMerchant, ...]
    initial_stock: tuple[InitialStock, ...]
    editions: tuple[EditionCap, ...]
    models_measured: int
    warnings: tuple[Problem, ...]
    version: int
    """Version of the catalog with this import in it."""
    contracts: tuple[DeclaredContract, ...] = ()
    gas_limits: tuple[GasLimit, ...] = ()


IssuedCopies = Callable[[Reader, MerchantId, str], int]
"""Returns how many copies of a SKU's edition are held, reserved or issued."""

Inventory = Callable[[UnitOfWork, ImportReport], None]
"""Writes stock and editions of a report. Called before the catalog's own rows are written: it may refuse."""
