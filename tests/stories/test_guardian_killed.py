"""P8: killed between a question to a guardian and the payment, nothing is lost and nothing is done twice.

Gateway and vault are two processes here; the gateway is killed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from samples.headset.client import Document, Headset
from tests.faults.recovery_victim import AFTER, BEFORE
from tests.stories.guardian_victim import POINTS, serve_until
from tests.support.buying import ended, told, until
from tests.support.invariants import violations
from tests.support.seed import Seed
from tests.support.standing import buy_within, eur, grant
from tests.support.vault_apart import served_apart
from wallets.vault.remote import RemoteVault

LAMP = "KUPPEL-LAMP:digital"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("when", [BEFORE, AFTER])
@pytest.mark.parametrize("point", POINTS)
async def test_p8_a_guardians_approval_killed_at_a_point_has_one_effect(
    point: str, when: str, seed: Seed, tmp_path: Path
) -> None:
    async with served_apart(seed, tmp_path) as shop:
        minor, guardian = await shop.customer("visa"), await shop.customer()
        settings = shop.settings
        async with RemoteVault(settings.vault_url, settings.vault_credential) as vault:
            guarded = {"guardian_id": guardian.customer_id, "guardian_above": eur(500)}
            allowance_id = await grant(shop, vault, minor, max_uses=1, **guarded)
        await asyncio.to_thread(shop.terminate)
        shop.start(serve_until, point, when)
        await shop.until_ready()
        async with shop.headset(minor) as headset, shop.headset(guardian) as phone:
            buying = asyncio.create_task(buy_within(headset, allowance_id, LAMP, key="one"))
            approving = asyncio.create_task(_approve(phone))

            async def dead() -> bool:
                return not shop.process.is_alive()

            await until(dead, within_s=20)
            assert shop.process.exitcode == -9, shop.ended()
            shop.start()
            order_id = await asyncio.wait_for(buying, 30)
            assert (await asyncio.wait_for(approving, 30))["state"] == "approved"
            assert (await ended(headset, order_id, within_s=30))["type"] == "order.completed"
            types = told(headset, order_id)
            for once in ("payment.guardian_required", "payment.guardian_decided", "payment.authorized"):
                assert types.count(once) == 1
            assert told(phone, order_id) == ["payment.guardian_required", "payment.guardian_decided"]
        await shop.at_rest(within_s=30)
        await asyncio.to_thread(shop.terminate)
        await asyncio.to_thread(shop.vault.terminate)
        shop.gather_evidence()
        found = await asyncio.to_thread(violations, shop.data_dir, secrets=shop.secrets)
        assert not found, "\n".join(map(str, found))
        assert shop.effects() == ["authorize", "capture"]
        used = shop.evidence.rows(
            "SELECT used_count, used_minor FROM vault_allowance WHERE allowance_id = ?",
            allowance_id,
            database="vault",
        )
        assert used == [{"used_count": 1, "used_minor": 1_290}]


async def _approve(phone: Headset) -> Document:
    question = await phone.event("payment.guardian_required")
    body = {"approval_id": question["body"]["approval_id"]}
    return await phone.command("guardian.approve", body, key="yes")
