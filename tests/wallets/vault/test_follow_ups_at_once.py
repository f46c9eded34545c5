"""Follow-ups of one authorization at once, from several processes, on both databases.

Where the units would overlap, each is made to linger between what it counts and what it writes.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.wallets.vault.faults import FaultyProvider
from tests.wallets.vault.own_databases import Vaults, vaults
from tests.wallets.vault.shop import eur
from wallets.vault import follow_ups, settling
from wallets.vault.port import Capture, Increment, OperationStatus, Void
from wallets.vault.service import VaultService

__all__ = ["vaults"]
S = OperationStatus


def linger(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    real = getattr(module, name)

    def late(*given: Any) -> Any:
        time.sleep(0.2)
        return real(*given)

    monkeypatch.setattr(module, name, late)


async def test_a_provider_of_one_capture_is_asked_for_one(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await vaults.open(), await vaults.open()
    provider = FaultyProvider(one.acquirer)
    provider.capabilities = replace(
        provider.capabilities, most_captures=1, partial_void=False, void_after_capture=False
    )
    services = [
        VaultService(each.store, provider, each._kms, vaults.clock, vaults.ids) for each in (one, two)
    ]
    request = await vaults.shop(one).authorized(amount=eur(100))
    linger(monkeypatch, follow_ups, "refusal_of_follow_up")
    shop = vaults.shop(one)
    asked = [each.capture(Capture(shop.op(), request.operation_id, eur(50))) for each in services]
    results = await asyncio.gather(*asked)
    assert sorted(each.status for each in results) == [S.REFUSED, S.SUCCEEDED]
    assert provider.calls == ["capture"]


async def test_the_use_comes_back_when_voids_settle_at_once(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await vaults.open(), await vaults.open()
    shop = vaults.shop(one)
    request = await shop.authorized(amount=eur(100))
    linger(monkeypatch, settling, "_release")
    await asyncio.gather(*(each.void(Void(shop.op(), request.operation_id, eur(50))) for each in (one, two)))
    found = await one.allowance(request.allowance.allowance_id)
    assert found is not None
    assert (found.used, found.used_count) == (eur(0), 0)


async def test_increments_of_several_processes_go_one_at_a_time(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await vaults.open(), await vaults.open()
    shop = vaults.shop(one)
    terms = shop.terms(await shop.method(), eur(10_000), guardian_id="gua_1", guardian_above=eur(500))
    request = shop.request(terms, eur(50))
    assert (await one.authorize(request)).status is S.SUCCEEDED
    linger(monkeypatch, follow_ups, "_increments")
    asked = [each.increment(Increment(shop.op(), request.operation_id, eur(450))) for each in (one, two)]
    results = await asyncio.gather(*asked)
    assert sorted(each.status for each in results) == [S.REFUSED, S.SUCCEEDED]
    held = await one.operation(request.operation_id)
    assert held is not None and held.amount == eur(500)
