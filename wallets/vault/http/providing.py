"""The vault that a process serves, with the providers its settings name.

Without a live provider's key it is the simulated acquirer: inside this process, or one of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from gateway.kernel.clock import Clock
from gateway.kernel.ids import IdSource
from gateway.kernel.subjects import OperationId
from wallets.vault.audit import Actor
from wallets.vault.audit_sealing import AuditSealer
from wallets.vault.embedded import open_embedded_vault
from wallets.vault.http.settings import VaultSettings, VaultSettingsError
from wallets.vault.keys import establish_keys
from wallets.vault.opening import open_keys, open_store
from wallets.vault.providers.bank_page import bank_routes
from wallets.vault.providers.manual import CashDesk
from wallets.vault.providers.port import Provider
from wallets.vault.providers.voucher import VoucherBook
from wallets.vault.registry import Providers
from wallets.vault.secret import Secret
from wallets.vault.whole import WholeVault


async def open_served_vault(
    settings: VaultSettings, clock: Clock, ids: IdSource, closing: AsyncExitStack
) -> tuple[WholeVault, list[BaseRoute]]:
    """Return the vault and the pages of its provider, if the provider's pages are here.

    ``closing`` closes what was opened. Raises KeyUseError, VaultSettingsError.
    """
    if not (settings.acquirer_url or settings.stripe_key or settings.stripe_key_file):
        return await _with_simulated_acquirer(settings, clock, ids, closing)
    outside = await _outside(settings)
    for close in _closers(outside):
        closing.push_async_callback(close)
    place = settings.key_place
    # Where no test data is named, cards are real and money moves: as in production, whatever was said.
    if any(
        one.capabilities.test_numbers is None and one.capabilities.test_references is None for one in outside
    ):
        place = replace(place, production=True)
    keys = await asyncio.to_thread(open_keys, place)
    closing.push_async_callback(keys.close)
    store = await asyncio.to_thread(open_store, settings.data_dir, settings.database_url, clock, ids)
    closing.push_async_callback(store.close)
    await establish_keys(store, keys.kms, keys.first, keys.maker)
    cash, vouchers = CashDesk(store), VoucherBook(store)
    vault = WholeVault(
        store,
        Providers([*outside, cash, vouchers], deadline_ms=settings.provider_deadline_ms),
        keys.kms,
        clock,
        ids,
        deadline_ms=settings.provider_deadline_ms,
        pages_url=settings.base_url,
        cash=cash,
        vouchers=vouchers,
    )
    sealer = AuditSealer(store, keys.kms, vault.ring, keys.anchor, Actor("vault", "vault", "process"))
    closing.push_async_callback(sealer.stop)
    await sealer.start()
    vault.pruner.start()
    closing.push_async_callback(vault.pruner.stop)
    return vault, []


async def _with_simulated_acquirer(
    settings: VaultSettings, clock: Clock, ids: IdSource, closing: AsyncExitStack
) -> tuple[WholeVault, list[BaseRoute]]:
    """Open the vault with the simulated acquirer inside; this process serves its bank pages too."""
    if settings.production:
        raise VaultSettingsError(
            "in production the vault needs a live provider: VITRINE_VAULT_STRIPE_KEY_FILE"
        )
    vault = await open_embedded_vault(
        settings.data_dir,
        clock,
        ids,
        deadline_ms=settings.provider_deadline_ms,
        slow_ms=settings.acquirer_slow_ms,
        key_place=settings.key_place,
        database_url=settings.database_url,
        pages_url=settings.base_url,
    )
    closing.push_async_callback(vault.close)

    async def decided(operation_id: OperationId) -> None:
        # Asked at once: whoever looks next at the vault's list of changes finds it there.
        await vault.operation(operation_id)

    return vault, bank_routes(vault.acquirer, decided)


async def _outside(settings: VaultSettings) -> list[Provider]:
    timeout_ms = settings.provider_deadline_ms
    signed_with: tuple[Secret, ...] = ()
    if settings.webhook_key or settings.webhook_key_file:
        signed_with = (await _secret(settings.webhook_key, settings.webhook_key_file, "WEBHOOK_KEY"),)
    if settings.acquirer_url:
        from wallets.vault.providers.acquirer.client import AcquirerClient

        if settings.production:
            raise VaultSettingsError(
                "in production the simulated acquirer is refused: VITRINE_VAULT_ACQUIRER_URL"
            )
        key = await _secret(settings.acquirer_key, settings.acquirer_key_file, "ACQUIRER_KEY")
        return [
            AcquirerClient(settings.acquirer_url, key, webhook_keys=signed_with, timeout_ms=timeout_ms),
            AcquirerClient(settings.acquirer_url, key, timeout_ms=timeout_ms, debits=True),
        ]
    from wallets.vault.providers.stripe import StripeProvider, StripeSettings

    key = await _secret(settings.stripe_key, settings.stripe_key_file, "STRIPE_KEY")
    stripe = StripeSettings(key, webhook_secrets=signed_with, timeout_ms=timeout_ms)
    if settings.stripe_url:
        stripe = replace(stripe, base_url=settings.stripe_url)
    return [StripeProvider(stripe)]


async def _secret(given: str, file: Path | None, name: str) -> Secret:
    """Return a key from its file, or as it was given. Raises VaultSettingsError."""
    if file is not None:
        try:
            return Secret((await asyncio.to_thread(file.read_text)).strip())
        except OSError as error:
            raise VaultSettingsError(f"VITRINE_VAULT_{name}_FILE cannot be read: {error.strerror}") from None
    if not given:
        raise VaultSettingsError(f"VITRINE_VAULT_{name} or VITRINE_VAULT_{name}_FILE is missing")
    return Secret(given)


def _closers(providers: Sequence[Any]) -> list[Callable[[], Awaitable[None]]]:
    return [one.close for one in providers if hasattr(one, "close")]
