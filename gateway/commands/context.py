"""What commands work with: built once by the composition root, handed to every edge."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.catalog.assets import AssetStore
from gateway.catalog.service import Catalog
from gateway.catalog.taxes import TaxTable
from gateway.kernel.clock import Clock
from gateway.kernel.store.unit import Store
from gateway.orders.placing import PlaceRules
from gateway.orders.process import ProcessRules
from gateway.orders.quotes import QuoteRules
from wallets.custody.accounts import Custody
from wallets.vault.port import Vault


@dataclass(frozen=True, slots=True)
class Context:
    """The capabilities a command may call. ``custody`` is None where nothing is minted."""

    store: Store
    clock: Clock
    catalog: Catalog
    assets: AssetStore
    taxes: TaxTable
    vault: Vault
    custody: Custody | None
    process: ProcessRules
    quotes: QuoteRules = field(default_factory=QuoteRules)
    placing: PlaceRules = field(default_factory=PlaceRules)
