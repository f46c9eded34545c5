"""The vault as a program opens it: operations, cards that come in by pages or encrypted, and closing."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gateway.kernel.clock import Clock
from gateway.kernel.ids import IdSource
from gateway.kernel.store.unit import Store
from wallets.vault.card_intake import CardIntake
from wallets.vault.card_keys import CardKeys, generate
from wallets.vault.kms import Kms
from wallets.vault.passed_methods import WalletTrust
from wallets.vault.port import CardKey, CardSession, MethodPage, StoredMethod
from wallets.vault.providers.manual import CashDesk
from wallets.vault.providers.port import Provider
from wallets.vault.providers.voucher import VoucherBook
from wallets.vault.pruning import Pruner
from wallets.vault.registry import Providers
from wallets.vault.service import VaultService


class WholeVault(VaultService):
    """`Vault`, complete."""

    def __init__(
        self,
        store: Store,
        provider: Provider | Providers,
        kms: Kms,
        clock: Clock,
        ids: IdSource,
        *,
        deadline_ms: int = 10_000,
        pages_url: str = "",
        make_card_key: Callable[[], RSAPrivateKey] = generate,
        trust: WalletTrust | None = None,
        cash: CashDesk | None = None,
        vouchers: VoucherBook | None = None,
    ) -> None:
        super().__init__(
            store,
            provider,
            kms,
            clock,
            ids,
            deadline_ms=deadline_ms,
            trust=trust,
            cash=cash,
            vouchers=vouchers,
        )
        self.store = store
        self.pruner = Pruner(store)
        """Whoever opens the vault starts and stops it."""
        self.intake = CardIntake(
            store,
            clock,
            CardKeys(store, kms, clock, ids, self.ring, make_card_key),
            self.store_card,
            pages_url=pages_url,
        )
        """For the pages; everybody else uses the methods below."""

    async def open_card_session(self, customer_id: str, return_url: str | None) -> CardSession:
        return await self.intake.open_session(customer_id, return_url)

    async def card_key(self) -> CardKey:
        return await self.intake.key()

    async def store_sealed_card(self, customer_id: str, sealed: str) -> StoredMethod:
        return await self.intake.store_sealed(customer_id, sealed)

    async def methods_since(self, cursor: str, limit: int) -> MethodPage:
        return await self.intake.methods_since(cursor, limit)
