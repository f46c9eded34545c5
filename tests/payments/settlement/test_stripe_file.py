"""Stripe's balance transactions as JSON: the same three sides (L8)."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import update

from gateway.kernel.store.unit import Store
from gateway.ledger import accounts
from gateway.ledger.days import start_of
from gateway.payments.settlement.files import SettlementFile, read_file
from gateway.payments.settlement.model import Outcome
from gateway.payments.tables import payment_operation
from tests.payments.settlement.world import DAY, World, bank_file, found_in, reconciled
from wallets.vault.providers.settlement import BankLine

AT = start_of(DAY) // 1000 + 3600


def transaction(kind: str, amount: int, fee: int, source: Any, number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"txn_{number}",
        "object": "balance_transaction",
        "amount": amount,
        "available_on": AT + 2 * 86_400,
        "created": AT + number,
        "currency": "eur",
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [],
        "net": amount - fee,
        "source": source,
        "type": kind,
        **more,
    }


def stripe_file(*found: dict[str, Any]) -> SettlementFile:
    text = json.dumps({"object": "list", "data": list(found), "has_more": False})
    file = read_file("stripe.json", text.encode())
    assert isinstance(file, SettlementFile) and file.source == "stripe"
    return file


async def named(store: Store, operation_id: str, reference: str) -> None:
    change = update(payment_operation).where(payment_operation.c.operation_id == operation_id)
    await store.write(lambda uow: uow.core(change.values(provider_reference=reference)) and None)


async def test_l8_balance_transactions_of_a_payout_are_matched(world: World, store: Store) -> None:
    charge = await world.did("charge", 5000, at_ms=AT * 1000 + 1000, booked=False)
    refund = await world.did("refund", 800, at_ms=AT * 1000 + 2000, booked=False)
    await named(store, charge.operation_id, "pi_1")
    await named(store, refund.operation_id, "re_1")
    passed_on = [{"type": "stripe_fee", "amount": 70, "currency": "eur"}]
    passed_on += [{"type": "payment_method_passthrough_fee", "amount": 30, "currency": "eur"}]
    file = stripe_file(
        transaction("charge", 5000, 100, {"id": "ch_1", "payment_intent": "pi_1"}, 1, fee_details=passed_on),
        transaction("refund", -800, 0, {"id": "re_1", "metadata": {"operation_id": refund.operation_id}}, 2),
        transaction(
            "adjustment", -5000, 1500, {"id": "du_1", "charge": "pi_1"}, 3, reporting_category="dispute"
        ),
        transaction("stripe_fee", -55, 0, None, 4),
        transaction("reserve_transaction", -200, 0, None, 5),
        transaction("payout", 2655, 0, "po_1", 6),
    )
    _, report = await reconciled(
        store, file, bank_file([BankLine("bnk_1", "2026-11-22", -2655, "EUR", "STRIPE po_1", "Stripe")])
    )
    assert report.differences == []
    balances = {key[0]: amount for key, amount in (await world.balances()).items()}
    # The operations themselves were not posted in this test, so clearing shows them.
    assert balances[accounts.clearing("stripe")] == -(5000 - 800)
    assert balances[accounts.scheme_fees("stripe")] == 30
    assert balances[accounts.card_fees("stripe")] == 70 + 1500 + 55
    assert balances[accounts.CHARGEBACKS] == 5000
    assert balances[accounts.reserve("stripe")] == 200
    assert balances[accounts.bank("main")] == -2655


async def test_l8_what_stripe_does_not_know_and_what_we_do_not_know(world: World, store: Store) -> None:
    ours = await world.did("charge", 5000, at_ms=AT * 1000 + 1500, booked=False)
    await named(store, ours.operation_id, "pi_1")
    file = stripe_file(
        transaction("charge", 700, 20, "ch_9", 1),
        transaction("charge", 900, 20, "ch_8", 3),
        transaction("payout", -1560, 0, "po_1", 6),
    )
    _, report = await reconciled(store, file)
    assert found_in(report) == {
        (Outcome.MISSING_HERE, "txn_1"),
        (Outcome.MISSING_HERE, "txn_3"),
        (Outcome.MISSING_AT_PROVIDER, ours.operation_id),
    }


def test_t1_stripes_minor_units_are_converted() -> None:
    yen = transaction("charge", 500, 18, "ch_1", 1, currency="jpy")
    krona = transaction("charge", 50_000, 1000, "ch_2", 2, currency="isk")
    lines = stripe_file(yen, krona).lines
    assert [(one.gross_minor, one.currency) for one in lines] == [(500, "JPY"), (500, "ISK")]
