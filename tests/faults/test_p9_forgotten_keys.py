"""P9: the acquirer forgets our keys; what was unknown for longer is asked about and never sent again.

Three real processes. The reply to one operation is lost and look-ups fail until the acquirer's clock is past the
time for which it keeps keys: from then on it would act a second time on the same request. Gateway and vault are
killed and started anew meanwhile, so that whatever they repeat after a restart is repeated too.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from pathlib import Path

import pytest

from gateway.kernel.subjects import OperationId
from tests.stories.test_vault_apart import bought
from tests.support.buying import until
from tests.support.seed import Seed
from tests.support.three_processes import Processes, three_processes
from tests.support.vault_apart import ApartShop, entered
from tests.wallets.vault.providers.stands import API_KEY, DAY_MS
from tests.wallets.vault.shop import card, eur
from wallets.vault.providers.acquirer.client import AcquirerClient
from wallets.vault.providers.port import FollowUpOrder
from wallets.vault.providers.test_cards import VISA

HOUR_MS = 3_600_000


async def unanswered(shop: ApartShop, kind: str) -> list[str]:
    """The operations of this kind that the order side knows nothing certain of."""
    rows = await asyncio.to_thread(
        shop.evidence.rows,
        "SELECT operation_id FROM payment_operation WHERE kind = ? AND state IN ('created', 'unknown')",
        kind,
    )
    return [str(row["operation_id"]) for row in rows]


async def sent_again(processes: Processes, operation_id: str) -> int:
    """Send the vault's very request once more, as nobody of ours does; returns how often it took effect."""
    (known,) = [each for each in processes.beyond.effects() if each["operation_id"] == operation_id]
    order = FollowUpOrder(OperationId(operation_id), OperationId(known["parent_id"]), None, eur(300))
    client = AcquirerClient(processes.beyond.url, API_KEY)
    await client.refund(order)
    await client.close()
    return sum(each["operation_id"] == operation_id for each in processes.beyond.effects())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["authorize", "capture", "refund"])
async def test_p9_after_the_window_nothing_is_charged_twice(kind: str, seed: Seed, tmp_path: Path) -> None:
    async with three_processes(seed, tmp_path, "--keys-kept-ms", str(DAY_MS)) as processes:
        shop, beyond = processes.shop, processes.beyond
        customer = await shop.customer()
        opened = await shop.merchant("POST", f"/customers/{customer.customer_id}/card-sessions", json={})
        assert (await entered(shop.http, opened["url"], card())).is_success
        method = await shop.method(customer, VISA[-4:])
        beyond.switch(kinds=[kind], lose_replies=1, fail_lookups=-1)
        order_id = await bought(shop, customer, method, "one", "FJORD-MUG:physical")
        if kind == "refund":
            await state(shop, order_id, "completed")
            wish = {"amount_minor": 300, "reason": "scratched", "staff_id": "erin"}
            await shop.merchant("POST", f"/orders/{order_id}/refunds", key=str(uuid.uuid4()), json=wish)

        async def done_and_unknown() -> list[str]:
            done = Counter(each["operation_id"] for each in beyond.effects() if each["kind"] == kind)
            return [each for each in await unanswered(shop, kind) if done[each]]

        (operation_id,) = await until(done_and_unknown, within_s=20)
        beyond.advance(DAY_MS + HOUR_MS)
        await processes.vault_anew()
        await processes.gateway_anew()
        # Time to ask and to try: nothing may be sent while nothing can be known.
        await asyncio.sleep(1.0)
        assert await unanswered(shop, kind) == [operation_id]
        beyond.switch(fail_lookups=0)

        async def answered() -> bool:
            return not await unanswered(shop, kind)

        await until(answered, within_s=40)
        await state(shop, order_id, "completed")
        done = Counter(each["kind"] for each in beyond.effects())
        expected = {"authorize": 1, "capture": 1} | ({"refund": 1} if kind == "refund" else {})
        assert done == expected
        assert [each["operation_id"] for each in beyond.effects() if each["kind"] == kind] == [operation_id]
        if kind == "refund":
            assert await sent_again(processes, operation_id) == 2, "the acquirer had really forgotten"


async def state(shop: ApartShop, order_id: str, wanted: str) -> None:
    """Wait until the order is in this state."""

    async def reached() -> bool:
        rows = await asyncio.to_thread(
            shop.evidence.rows, "SELECT state FROM customer_order WHERE order_id = ?", order_id
        )
        return bool(rows) and rows[0]["state"] == wanted

    await until(reached, within_s=40)
