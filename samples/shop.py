"""A gateway that is ready to be tried: the sample catalog, a merchant's key, a customer with two test cards.

What it makes is written to ``sample.json`` in the data directory, readable by its owner alone, because a
gateway keeps only digests of keys and tokens and could not show them a second time. That is right for a
sample on this machine and wrong for anything else.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.app import Gateway
from gateway.commands import customer as customer_commands
from gateway.commands import merchant as merchant_commands
from gateway.identity.model import DevicePrincipal, MerchantPrincipal
from gateway.identity.tokens import authenticate_device
from gateway.kernel.errors import VitrineError
from wallets.vault.port import CardEntry
from wallets.vault.providers.test_cards import INSUFFICIENT_FUNDS, VISA

CATALOG = Path(__file__).parent / "catalog"
MERCHANT = "atelier-nord"
CUSTOMER = "ada"
_FILE = "sample.json"
# The card that works was stored first; the one that is always declined makes the other path easy to try.
_CARDS = (VISA, INSUFFICIENT_FUNDS)


@dataclass(frozen=True, slots=True)
class Shop:
    """Who may do what in the sample. ``api_key`` is the merchant's, ``token`` the customer's headset's."""

    merchant: str
    api_key: str
    customer: str
    customer_id: str
    token: str


async def prepare(gateway: Gateway, catalog: Path = CATALOG) -> Shop:
    """Return the sample shop, made on the first run and found again later.

    Raises CatalogInvalidError for a folder without products, and whatever else an import refuses.
    """
    context = gateway.context
    if not context.catalog.current.merchants:
        await merchant_commands.import_catalog(context, catalog)
    file = gateway.settings.data_dir / _FILE
    known = _load(file)
    if known is not None and await _signs_in(gateway, known.token):
        return known

    merchant = context.catalog.current.merchant_by_slug(MERCHANT)
    who = MerchantPrincipal(merchant.merchant_id)
    customer_id = await merchant_commands.register(context, who, CUSTOMER)
    issued = await merchant_commands.issue_token(
        context, who, customer_id, kind="headset", name="sample headset"
    )
    await _store_cards(gateway, issued.device)
    shop = Shop(
        merchant=MERCHANT,
        api_key=await merchant_commands.create_api_key(context, merchant.merchant_id, "sample"),
        customer=CUSTOMER,
        customer_id=customer_id,
        token=issued.token,
    )
    _save(file, shop)
    return shop


async def _store_cards(gateway: Gateway, device: DevicePrincipal) -> None:
    stored = await customer_commands.list_methods(gateway.context, device)
    if not stored["methods"]:
        for number in _CARDS:
            card = CardEntry.typed(number, 12, 2030, "123")
            await merchant_commands.add_card(gateway.context, device.customer_id, card)


async def _signs_in(gateway: Gateway, token: str) -> bool:
    try:
        await gateway.context.store.read(lambda reader: authenticate_device(reader, token))
    except VitrineError:
        return False
    return True


def _load(file: Path) -> Shop | None:
    return Shop(**json.loads(file.read_text())) if file.exists() else None


def _save(file: Path, shop: Shop) -> None:
    partial = file.with_suffix(".new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as writing:
        json.dump(asdict(shop), writing, indent=2)
    partial.replace(file)
