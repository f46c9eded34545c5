"""One provider that has fallen silent holds its own callers, and nobody else's."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.wallets.vault.providers.recorded import Recorded
from tests.wallets.vault.providers.stands import parts, simulated
from tests.wallets.vault.shop import CUSTOMER, Shop, card, eur
from wallets.vault.port import MethodKind, OperationStatus, PassedMethod
from wallets.vault.providers.manual import CashDesk
from wallets.vault.secret import Secret

S = OperationStatus


class Silent(Recorded):
    """Answers nothing but verifications and look-ups."""

    under_way = 0
    most = 0

    async def authorize(self, order: Any) -> Any:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.under_way -= 1


async def test_p4_a_silent_provider_holds_only_its_own_turns(tmp_path: Path) -> None:
    async with parts(tmp_path) as given:
        silent, desk = Silent(simulated(given)), CashDesk(given.store)
        vault = given.open(silent, desk, cash=desk, deadline_ms=400, most_calls=4)
        shop = Shop(vault, given.clock, given.ids)
        cards = await vault.tokenize(CUSTOMER, card())
        cash = await vault.store_method(CUSTOMER, PassedMethod(MethodKind.CASH, Secret("")))
        requests = [shop.request(shop.terms(cards, eur(100)), eur(100)) for _ in range(20)]
        waiting = [asyncio.create_task(vault.authorize(each)) for each in requests]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        paid = await vault.authorize(shop.request(shop.terms(cash, eur(100)), eur(100)))
        assert paid.status is S.SUCCEEDED
        assert time.monotonic() - began < 0.25
        results = await asyncio.gather(*waiting)
        assert {each.status for each in results} == {S.UNKNOWN}
        assert silent.most == 4
        # Those that got no turn were never made, and a look-up tells; so do those that were made in vain.
        for request in requests:
            found = await vault.operation(request.operation_id)
            assert found is not None
            assert (found.status, found.refusal) == (S.FAILED, "provider.never_received")
        await silent.close()
