"""The checks themselves: whatever is damaged in the files of a good gateway, one of them notices.

A check that cannot fail would prove nothing, so each promise is broken here on purpose.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.support.buying import buy, ended
from tests.support.damage import unguard
from tests.support.gateway import opened
from tests.support.invariants import violations
from tests.support.seed import Seed


@pytest.fixture(scope="module")
def used(seed: Seed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a gateway on which something of everything was bought, and some of it given back."""
    folder = tmp_path_factory.mktemp("used") / "data"

    async def shop_around() -> None:
        async with opened(seed, folder) as shop:
            customer = await shop.customer("visa", "insufficient_funds", "capture_declined")
            async with shop.headset(customer) as headset:
                orders = [
                    await buy(headset, customer, item)
                    for item in (
                        "KUPPEL-LAMP:bundle",
                        "DUSK-PRINT:digital:2",
                        "HALM-CHAIR:bundle",
                        "HALM-CHAIR:digital",
                    )
                ]
                orders.append(await buy(headset, customer, "FJORD-MUG:physical", card="capture_declined"))
                for order_id in orders:
                    await ended(headset, order_id)
                for given_back in (orders[1], orders[3]):
                    await shop.refund(given_back)
                    await headset.event("order.refunded", order_id=given_back)
                declined = await buy(headset, customer, "FJORD-MUG:physical", card="insufficient_funds")
                await headset.event("payment.declined", order_id=declined)
                await headset.command("order.cancel", {"order_id": declined})
            await shop.check()

    asyncio.run(shop_around())
    return folder


_NEW_OPERATION = "'op_01a20000000000000000000000ff'"
_UNPAID = "order_id IN (SELECT order_id FROM leg WHERE state = 'capture_failed')"
DAMAGE = {
    # promise: (database, statement)
    "money of an intent": [
        ("gateway", "UPDATE payment_intent SET captured_minor = captured_minor - 1 WHERE captured_minor > 0"),
        ("gateway", "UPDATE payment_intent SET refunded_minor = 0"),
        ("gateway", "UPDATE customer_order SET total_minor = total_minor + 1"),
        ("gateway", "UPDATE payment_operation SET amount_minor = 1 WHERE kind = 'capture'"),
    ],
    "agreement on operations": [
        ("gateway", "UPDATE payment_operation SET state = 'failed' WHERE kind = 'refund'"),
        ("gateway", "UPDATE payment_operation SET state = 'unknown' WHERE kind = 'capture'"),
        ("vault", "DELETE FROM vault_operation WHERE kind = 'capture'"),
        ("vault", "UPDATE vault_operation SET state = 'failed' WHERE kind = 'capture'"),
        ("acquirer", "DELETE FROM acquirer_operation WHERE kind = 'refund'"),
        ("acquirer", "UPDATE acquirer_operation SET amount_minor = amount_minor + 1 WHERE kind = 'capture'"),
        (
            "acquirer",
            f"INSERT INTO acquirer_operation SELECT {_NEW_OPERATION}, kind, parent_id, card, amount_minor, currency, "
            "outcome, network_code, failure, capture_before_ms, NULL, 0, 0, 0, received_at_ms, liability, decided_at_ms "
            "FROM acquirer_operation WHERE kind = 'capture' LIMIT 1",
        ),
    ],
    "every effect once": [
        ("gateway", "UPDATE payment_operation SET leg_id = 'leg_x' WHERE kind = 'capture'"),
        ("acquirer", "UPDATE acquirer_operation SET captured_minor = 0 WHERE kind = 'authorize'"),
    ],
    "the books": [
        ("gateway", "UPDATE ledger_entry SET amount = amount + 1 WHERE account LIKE 'asset:%'"),
        ("gateway", "DELETE FROM ledger_transaction WHERE kind = 'payment.captured'"),
        ("gateway", "UPDATE ledger_transaction SET merchant_id = 'mer_x' WHERE kind = 'leg.delivered'"),
        ("gateway", "DELETE FROM ledger_transaction WHERE kind = 'leg.delivered_unpaid'"),
    ],
    "parts sum to the order": [
        ("gateway", "UPDATE leg SET amount_minor = amount_minor + 1"),
        ("gateway", "UPDATE order_line SET quantity_original = 9"),
    ],
    "ends": [
        ("gateway", "UPDATE customer_order SET state = 'canceled' WHERE state = 'completed'"),
        ("gateway", "UPDATE customer_order SET state = 'confirmed' WHERE state = 'completed'"),
        ("gateway", "UPDATE leg SET state = 'started' WHERE kind = 'mint'"),
        ("gateway", "UPDATE leg SET state = 'failed' WHERE state = 'capture_failed'"),
        ("gateway", "UPDATE leg SET state = 'capture_failed' WHERE kind = 'mint' AND state = 'captured'"),
        ("gateway", f"UPDATE customer_order SET state = 'canceled' WHERE {_UNPAID}"),
        ("gateway", f"UPDATE customer_order SET state = 'refunded' WHERE {_UNPAID}"),
        ("gateway", "UPDATE customer_order SET refund_requested = 1 WHERE state = 'completed'"),
        ("gateway", "UPDATE customer_order SET pay_until_ms = created_at_ms + 3600001"),
    ],
    "gapless streams": [
        ("gateway", "DELETE FROM event WHERE seq = 3"),
        ("gateway", "UPDATE event SET epoch = 'other' WHERE seq = 3"),
        ("gateway", "UPDATE stream SET seq = seq + 1"),
    ],
    "facts and events": [
        ("gateway", "UPDATE event SET type = 'shipment.delivered' WHERE type = 'order.completed'"),
        ("gateway", "UPDATE event SET type = 'payment.captured' WHERE type = 'token.minted'"),
        ("gateway", "DELETE FROM entitlement"),
    ],
    "idempotency": [
        ("gateway", "DELETE FROM idempotency WHERE operation = 'order.place'"),
        ("gateway", "UPDATE quote SET state = 'open'"),
        (
            "gateway",
            "INSERT INTO idempotency SELECT principal, operation, key || '2', request_hash, result, at_ms "
            "FROM idempotency WHERE operation = 'order.place'",
        ),
    ],
    "whose it is": [
        ("gateway", "UPDATE payment_method SET customer_id = 'cus_x'"),
        ("gateway", "UPDATE entitlement SET customer_id = 'cus_x'"),
        ("gateway", "UPDATE mint SET recipient = '0x0000000000000000000000000000000000000001'"),
        ("gateway", "UPDATE leg SET wallet_id = 'wal_x' WHERE kind = 'mint'"),
        ("gateway", "UPDATE mint SET holder_key = NULL"),
    ],
    "consent or the end of the period": [
        ("gateway", "DELETE FROM consent"),
        ("gateway", "UPDATE consent SET confirmed_at_ms = confirmed_at_ms + 86400000"),
        ("gateway", "UPDATE leg SET mint_not_before_ms = 4102444800000"),
    ],
    "stock and editions": [
        ("gateway", "UPDATE inventory_pool SET on_hand = on_hand + 1 WHERE kind = 'stock'"),
        ("gateway", "UPDATE inventory_pool SET reserved = 1 WHERE sku = 'FJORD-MUG'"),
        ("gateway", "UPDATE inventory_hold SET state = 'reserved', released = 0 WHERE state = 'released'"),
    ],
    "editions": [
        ("gateway", "UPDATE inventory_pool SET issued = issued + 1 WHERE kind = 'edition'"),
        ("gateway", "UPDATE mint SET serial = 1 WHERE serial IS NOT NULL"),
        ("gateway", "UPDATE inventory_serial SET state = 'free'"),
    ],
    "stock in the books": [
        ("gateway", "UPDATE ledger_transaction SET merchant_id = 'mer_x' WHERE kind = 'shipment.dispatched'"),
    ],
    "parcels": [
        ("backend", "DELETE FROM backend_order"),
        ("backend", "UPDATE backend_order SET state = 'canceled'"),
        (
            "backend",
            "UPDATE backend_order SET document = replace(document, '\"quantity\":1', '\"quantity\":2')",
        ),
        ("gateway", "UPDATE leg SET state = 'canceled' WHERE kind = 'ship'"),
        ("gateway", "DELETE FROM fulfillment_order"),
        ("gateway", "UPDATE event SET type = 'x' WHERE type = 'shipment.dispatched'"),
    ],
    "tokens and legs": [
        ("gateway", "UPDATE entitlement SET state = 'granted' WHERE state = 'revoked'"),
        ("gateway", "UPDATE entitlement SET state = 'revoked' WHERE state = 'granted'"),
        ("gateway", "UPDATE leg SET state = 'canceled' WHERE kind = 'mint'"),
        ("gateway", "UPDATE mint SET return_state = 'none'"),
        ("gateway", "DELETE FROM mint"),
        ("gateway", "DELETE FROM entitlement"),
    ],
    "tokens on the chain": [
        ("gateway", "UPDATE mint SET state = 'skipped'"),
        ("gateway", "UPDATE mint SET purchase_number = purchase_number + 1000"),
        ("gateway", "UPDATE mint SET return_state = 'returned'"),
        ("gateway", "UPDATE mint SET amount = 2"),
        ("gateway", "UPDATE token_item SET cap = '0'"),
    ],
    "the guardian's word": [
        (
            "vault",
            "INSERT INTO vault_guardian_approval SELECT 'apr_1', 'alw_1', 'ord_1', 'cus_1', 'mer_1', 1, 'EUR', "
            "1, 'approved', NULL, 1, 1",
        ),
        (
            "gateway",
            "INSERT INTO guardian_request SELECT 'apr_1', 'ord_1', 'mer_1', 'cus_1', 'cus_2', 'alw_1', 'op_1', "
            "'done', 'EUR', 2, 1, 1, 1, 1, 1, NULL",
        ),
    ],
    "no secret in any file": [
        ("gateway", "UPDATE customer_order SET reason = 'paid with 4242 4242 4242 4242'"),
        ("acquirer", "UPDATE acquirer_operation SET failure = '4242424242424242'"),
    ],
    "no security code in any file": [
        ("vault", 'UPDATE vault_operation SET refusal = \'{"security_code":"739"}\''),
    ],
}


def damaged(folder: Path, database: str, statement: str) -> None:
    """Change a database behind the gateway's back; its own constraints may not stand in the way."""
    connection = sqlite3.connect(folder / f"{database}.db")
    unguard(connection)
    changed = connection.execute(statement).rowcount
    connection.commit()
    connection.close()
    assert changed, "nothing was damaged"


def test_a_good_gateway_breaks_no_promise(used: Path) -> None:
    assert violations(used, secrets={"4242424242424242"}) == []


@pytest.mark.parametrize(
    ("promise", "database", "statement"),
    [(promise, *damage) for promise, damages in DAMAGE.items() for damage in damages],
)
def test_damage_is_noticed_as_the_promise_it_breaks(
    used: Path, tmp_path: Path, promise: str, database: str, statement: str
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(used, folder)
    damaged(folder, database, statement)
    found = violations(folder, secrets={"4242424242424242"})
    assert promise in {broken.promise for broken in found}, [str(broken) for broken in found]
