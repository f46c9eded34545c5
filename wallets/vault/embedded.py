"""The vault with the simulated acquirer: inside the gateway's process, or as what `http.serving` serves.

Own files, own keys, test cards only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gateway.kernel.clock import Clock
from gateway.kernel.ids import IdSource
from gateway.kernel.precedence import Precedence
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import Store
from wallets.vault.audit import Actor
from wallets.vault.audit_sealing import AuditSealer
from wallets.vault.card_keys import generate
from wallets.vault.keys import establish_keys
from wallets.vault.opening import KeyPlace, OpenKeys, open_keys, open_store
from wallets.vault.passed_methods import WalletTrust
from wallets.vault.providers import simulated_tables
from wallets.vault.providers.manual import CashDesk
from wallets.vault.providers.simulated import SimulatedAcquirer, SimulatedDebit
from wallets.vault.providers.voucher import VoucherBook
from wallets.vault.registry import Providers
from wallets.vault.whole import WholeVault


class EmbeddedVault(WholeVault):
    """`Vault` for one process. It takes only test numbers: a live provider needs a process of its own."""

    def __init__(
        self,
        store: Store,
        acquirer: SimulatedAcquirer,
        keys: OpenKeys,
        clock: Clock,
        ids: IdSource,
        *,
        deadline_ms: int,
        pages_url: str = "",
        make_card_key: Callable[[], RSAPrivateKey] = generate,
        trust: WalletTrust | None = None,
        country: str | None = None,
    ) -> None:
        assert acquirer.capabilities.test_numbers is not None
        cash, vouchers = CashDesk(store, country=country), VoucherBook(store)
        super().__init__(
            store,
            Providers([acquirer, SimulatedDebit(acquirer), cash, vouchers], deadline_ms=deadline_ms),
            keys.kms,
            clock,
            ids,
            deadline_ms=deadline_ms,
            pages_url=pages_url,
            make_card_key=make_card_key,
            trust=trust,
            cash=cash,
            vouchers=vouchers,
        )
        self.cash = cash
        self.vouchers = vouchers
        self.acquirer = acquirer
        """The outside world of this vault: hosted challenges, and its account of effects for tests."""
        self._keys = keys
        self.sealer = AuditSealer(store, keys.kms, self.ring, keys.anchor, Actor("vault", "vault", "process"))

    async def close(self) -> None:
        """Finish what waits, seal the audit trail, close both databases and the keys."""
        try:
            await self.pruner.stop()
            await self.sealer.stop()
        finally:
            await self.store.close()
            await self.acquirer.close()
            await self._keys.close()


async def open_embedded_vault(
    directory: Path,
    clock: Clock,
    ids: IdSource,
    *,
    deadline_ms: int = 10_000,
    slow_ms: int = 2_000,
    keys_dir: Path | None = None,
    key_place: KeyPlace | None = None,
    database_url: str = "",
    pages_url: str = "",
    make_card_key: Callable[[], RSAPrivateKey] = generate,
    trust: WalletTrust | None = None,
    country: str | None = None,
    precedence: Precedence | None = None,
    rehearse: bool = False,
    strict: bool = False,
) -> EmbeddedVault:
    """Open ``vault.db``, ``acquirer.db`` and ``keys/`` under ``directory``, making what is missing.

    ``deadline_ms`` bounds a call to the acquirer; ``slow_ms`` is how long its slow card takes. With
    ``database_url`` the vault's own tables are in PostgreSQL instead. ``pages_url`` is where browsers
    reach card pages; ``make_card_key`` makes key pairs for them. ``key_place`` says that the keys are
    elsewhere than in ``keys_dir``. Key files are only made together with a new database: a database without
    its keys is an error, since nothing in it could be read again. Raises KeyUseError for missing or
    unprotected keys. ``trust`` names the roots of wallets, ``country`` the one whose cash rounding applies.
    ``precedence`` says when a customer waits for something in this process.
    """
    place = key_place or KeyPlace(keys_dir or directory / "keys")
    keys = await asyncio.to_thread(open_keys, place)
    store = await asyncio.to_thread(
        open_store,
        directory,
        database_url,
        clock,
        ids,
        precedence=precedence,
        rehearse=rehearse,
        strict=strict,
    )
    try:
        await establish_keys(store, keys.kms, keys.first, keys.maker)
        acquirer_path = directory / "acquirer.db"
        await asyncio.to_thread(simulated_tables.create_schema, acquirer_path)
        acquirer = SimulatedAcquirer(
            SqliteStore(acquirer_path, clock, ids, precedence=precedence, rehearse=rehearse, strict=strict),
            clock,
            slow_ms=slow_ms,
        )
    except BaseException:
        await store.close()
        raise
    vault = EmbeddedVault(
        store,
        acquirer,
        keys,
        clock,
        ids,
        deadline_ms=deadline_ms,
        pages_url=pages_url,
        make_card_key=make_card_key,
        trust=trust,
        country=country,
    )
    await vault.sealer.start()
    vault.pruner.start()
    return vault
