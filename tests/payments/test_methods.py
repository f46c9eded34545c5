from __future__ import annotations

from pathlib import Path

from gateway.kernel.subjects import PaymentMethodId
from gateway.payments.methods import forget_method, method_of, methods_of, remember_method
from tests.support.stores import gateway_store
from wallets.vault.port import StoredMethod


async def test_a_forgotten_method_is_gone_for_its_owner_only(tmp_path: Path) -> None:
    mine = StoredMethod(PaymentMethodId("pm_1"), "cus_1", "card", "visa", "4242", 12, 2031, 1)
    async with gateway_store(tmp_path) as store:
        await store.write(lambda uow: remember_method(uow, mine))
        assert not await store.write(lambda uow: forget_method(uow, "cus_2", "pm_1"))
        assert await store.read(lambda reader: method_of(reader, "cus_1", "pm_1")) is not None
        assert await store.write(lambda uow: forget_method(uow, "cus_1", "pm_1"))
        assert not await store.write(lambda uow: forget_method(uow, "cus_1", "pm_1"))
        assert await store.read(lambda reader: methods_of(reader, "cus_1")) == []
