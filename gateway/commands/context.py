"""What commands work with: built once by the composition root, handed to every edge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.catalog.assets import AssetStore
from gateway.catalog.service import Catalog
from gateway.catalog.taxes import TaxTable
from gateway.commands.minting_import import ContractChain
from gateway.identity.passkeys import RelyingParty
from gateway.kernel.clock import Clock
from gateway.kernel.store.unit import Store
from gateway.orders.ownership import Holdings
from gateway.orders.placing import PlaceRules
from gateway.orders.process import ProcessRules
from gateway.orders.quotes import QuoteRules
from gateway.webhooks.signing import SigningKeys
from wallets.custody.accounts import Custody
from wallets.custody.challenges import LinkRules
from wallets.custody.exporting import KeyExports
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
    cards_here: bool = False
    """Whether the vault is inside this process, so that its pages and test cards may pass through here."""
    passkeys: RelyingParty | None = None
    """Who asks for passkeys; None: payments are authenticated by the issuer alone."""
    linking: LinkRules | None = None
    """What customers sign to link wallets of their own; None where nothing is minted."""
    key_exports: KeyExports | None = None
    """Gives customers the keys of their accounts; None where nobody here holds them."""
    holdings: Holdings | None = None
    """Asks the chain who holds tokens now; None where nothing is minted."""
    chain: ContractChain | None = None
    """Tells an import whether merchants' own contracts are there; None where nothing is minted."""
    webhook_keys: SigningKeys | None = None
    """Sign what worlds are sent."""
    card_expected: Callable[[int], None] = lambda until_ms: None
    """Told when a customer was given a page for a card, and until when it may be used."""
