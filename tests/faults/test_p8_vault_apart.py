"""P8 with the vault apart: its process killed just before and just after each of its points has one effect.

The gateway lives on and hears nothing, or half; the vault starts again on the same files. Afterwards acquirer,
vault and gateway agree on every operation, and the reconciler finds no difference.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.recovery_victim import AFTER, BEFORE, POINTS, Point, _kill_at
from tests.stories.test_vault_apart import bought, checked, ended
from tests.support.seed import Seed
from tests.support.vault_apart import VaultHost, served_apart
from wallets.vault.http.settings import VaultSettings

VAULT_POINTS: dict[str, Point] = {
    **{
        name: POINTS[name]
        for name in (
            "recorded_at_the_vault",
            "sent_to_the_provider",
            "answered_by_the_provider",
            "captured_at_the_provider",
        )
    },
    # The answer is written; the gateway's request is still open.
    "result_recorded_at_the_vault": Point("wallets.vault.resolving", "settle"),
}


def serve_vault_until(settings: VaultSettings, log: Path, name: str, when: str) -> None:
    """What `VaultHost` runs, until the point."""
    _kill_at(VAULT_POINTS[name], when)
    VaultHost.serve(settings, log)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("when", [BEFORE, AFTER])
@pytest.mark.parametrize("point", VAULT_POINTS)
async def test_p8_a_vault_killed_at_a_point_has_one_effect(
    point: str, when: str, seed: Seed, tmp_path: Path
) -> None:
    async with served_apart(seed, tmp_path) as shop:
        customer = await shop.customer("visa")
        await asyncio.to_thread(shop.vault.terminate)
        shop.vault.start(serve_vault_until, point, when)
        await shop.vault.until_ready()
        order_id = await bought(shop, customer, customer.methods["visa"], "one", "FJORD-MUG:physical")
        await shop.vault.kills_itself()
        shop.vault.start()
        await shop.vault.until_ready()
        await ended(shop, customer, order_id, "completed")
        again = await bought(shop, customer, customer.methods["visa"], "one", "FJORD-MUG:physical")
        assert again == order_id
        await checked(shop)
        assert shop.effects() == ["authorize", "capture"]
