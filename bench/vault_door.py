"""What reaching the vault costs beside its own work: HTTP to another process, and cards that come encrypted.

Both are CPU of client and server together, in one process, per call, so that no waiting is in them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from joserfc import jwe
from joserfc.jwk import RSAKey
from pydantic_core import to_json

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.subjects import CustomerId
from wallets.vault import credentials
from wallets.vault.credentials import Role
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault
from wallets.vault.http.access import Access
from wallets.vault.http.api import create_vault_api
from wallets.vault.http.serving import VaultServer
from wallets.vault.http.settings import VaultSettings
from wallets.vault.listening import listen
from wallets.vault.port import CardEntry
from wallets.vault.providers.test_cards import VISA
from wallets.vault.remote import RemoteVault

_AT_ONCE = 32


async def door_costs(folder: Path, count: int) -> str:
    """Return a sentence with both costs."""
    clock = SystemClock()
    ids = TimeSortedIds(clock)
    vault = await open_embedded_vault(folder, clock, ids)
    try:
        http_us = await _http(vault, clock, str(ids.new(CustomerId)), count)
        jwe_us = await _encrypted(vault, ids, count)
    finally:
        await vault.close()
    return (
        f"HTTP/1.1 adds {http_us:.0f} us of CPU, client and server together, decrypting a JWE {jwe_us:.0f} us"
    )


async def _http(vault: EmbeddedVault, clock: SystemClock, customer: str, count: int) -> float:
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    secret = credentials.new_secret()
    stored = credentials.digest(secret)
    await vault.store.write(lambda uow: credentials.issue(uow, stored, Role.GATEWAY, "bench"))
    server = VaultServer(
        create_vault_api(vault, Access(vault.store, clock), [], pages_url=url), VaultSettings(), listening
    )
    serving = asyncio.create_task(server.run_until_stopped())
    while not server.started:
        await asyncio.sleep(0.01)
    remote = RemoteVault(url, secret)
    try:
        await _cpu_us(lambda: remote.methods(customer), count)
        over_http = await _cpu_us(lambda: remote.methods(customer), count)
        inside = await _cpu_us(lambda: vault.methods(customer), count)
    finally:
        await remote.close()
        server.stop()
        await serving
    return over_http - inside


async def _encrypted(vault: EmbeddedVault, ids: TimeSortedIds, count: int) -> float:
    key = await vault.card_key()
    public = RSAKey.import_key({"kty": "RSA", "n": key.modulus, "e": key.exponent})
    header = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": key.key_id}
    card = {"number": VISA, "expiry_month": 12, "expiry_year": 2035, "security_code": "123", "holder": ""}

    def sealed(customer: str) -> str:
        made = {"iat": key.now_s, "jti": secrets.token_urlsafe(24), "sub": customer, "card": card}
        return jwe.encrypt_compact(header, to_json(made), public, ["RSA-OAEP-256", "A256GCM"])

    customers = [str(ids.new(CustomerId)) for _ in range(count)]
    ready = iter([(customer, sealed(customer)) for customer in customers])
    encrypted = await _cpu_us(lambda: vault.store_sealed_card(*next(ready)), count)
    typed = CardEntry.typed(VISA, 12, 2035, "123")
    others = iter([str(ids.new(CustomerId)) for _ in range(count)])
    clear = await _cpu_us(lambda: vault.tokenize(next(others), typed), count)
    return encrypted - clear


async def _cpu_us(call: Callable[[], Awaitable[Any]], count: int) -> float:
    async def several(number: int) -> None:
        for _ in range(number):
            await call()

    began = time.process_time()
    share, rest = divmod(count, _AT_ONCE)
    await asyncio.gather(*(several(share + (position < rest)) for position in range(_AT_ONCE)))
    return 1e6 * (time.process_time() - began) / count
