"""Money that goes back goes out of where it came into, whoever pays for the order by then."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.payments.method_feed import record_method
from tests.support.invariants import violations
from tests.support.stepped_gateway import HOUR, SteppedGateway, stepped_gateway
from wallets.vault.port import MethodKind, PassedMethod
from wallets.vault.secret import Secret

pytestmark = pytest.mark.usefixtures("strict_issuer")


async def test_a_refund_is_booked_at_the_provider_of_its_capture(plain_seed: Path, tmp_path: Path) -> None:
    """The first leg was captured by the card's acquirer, the rest of the held order by direct debit."""
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        order_id = await _held_order(shop)
        await shop.pay(order_id, await _direct_debit(shop))
        await shop.finish_work()
        assert shop.order(order_id)["pay_until_ms"] is None, "released"
        leg = shop.legs(order_id)["entitle"]
        card = ("asset:clearing:simulated", "EUR")
        assert shop.balances("asset:clearing:%") == {card: leg["amount_minor"]}
        await shop.ask_refund(order_id, leg_id=leg["leg_id"])
        await shop.finish_work()
        assert shop.intent(order_id)["refunded_minor"] == leg["amount_minor"]
        assert shop.balances("asset:clearing:%") == {}
    assert not violations(tmp_path / "data", at_rest=False)


async def _held_order(shop: SteppedGateway) -> str:
    """Place a bundle whose parcel waits for so long that the authorization is lost."""
    order_id = str((await shop.place("MONSTERA:bundle", card="mastercard"))["order_id"])
    await shop.finish_work()
    for _ in range(60):
        if shop.order(order_id)["pay_until_ms"] is not None:
            return order_id
        await shop.wait(6 * HOUR)
        await shop.finish_work(1)
    raise AssertionError("it was never held")


async def _direct_debit(shop: SteppedGateway) -> str:
    """Store a bank account; returns the name under which the shop keeps the method."""
    account = PassedMethod(MethodKind.SEPA_DEBIT, Secret("DE89370400440532013000"), mandate_reference="M-7")
    stored = await shop.gateway.vault.store_method(shop.who.customer_id, account)
    await shop.store.write(lambda uow: record_method(uow, stored))
    shop._cards["bank account"] = str(stored.payment_method_id)
    return "bank account"
