"""Every table of the gateway's database, for migrations: importing this module declares them all."""

from __future__ import annotations

from fulfillment import tables as fulfillment_tables
from gateway.catalog import tables as catalog_tables
from gateway.identity import tables as identity_tables
from gateway.kernel.events import tables as event_tables
from gateway.kernel.store.schema import metadata
from gateway.kernel.tasks import tables as task_tables
from gateway.ledger import tables as ledger_tables
from gateway.orders import tables as order_tables
from gateway.payments import tables as payment_tables
from gateway.payments.settlement import tables as settlement_tables
from gateway.webhooks import tables as webhook_tables
from wallets.custody import tables as custody_tables
from wallets.minting import tables as minting_tables

DECLARED_BY = (
    catalog_tables,
    custody_tables,
    event_tables,
    fulfillment_tables,
    identity_tables,
    ledger_tables,
    minting_tables,
    order_tables,
    payment_tables,
    settlement_tables,
    task_tables,
    webhook_tables,
)

__all__ = ["DECLARED_BY", "metadata"]
