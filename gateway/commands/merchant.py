"""Commands of a merchant's server (API key) and of the operator's command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fulfillment import pools
from gateway.catalog.importing import add_model, add_picture, import_folder, import_product
from gateway.catalog.model import picture_path
from gateway.catalog.reports import ImportReport
from gateway.commands.context import Context
from gateway.commands.customer import method_document
from gateway.commands.minting_import import look_for_contracts, take_minting
from gateway.identity.customers import register_customer, require_customer_of
from gateway.identity.model import (
    API_KEY_PREFIX,
    DEVICE_TOKEN_PREFIX,
    DevicePrincipal,
    MerchantPrincipal,
    digest,
    new_secret,
)
from gateway.identity.tokens import issue_device_token, store_api_key
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import MerchantId
from gateway.ledger import accounts
from gateway.ledger.posting import balances, move, post
from gateway.orders.changes import Request, refund_order
from gateway.orders.copies import ordered_copies
from gateway.orders.views import order_document, order_page
from gateway.payments.methods import method_of, remember_method
from wallets.minting.own_contracts import contract_id_of
from wallets.minting.requests import define_item
from wallets.vault.port import CardEntry

DEVICE_TOKEN_LIFETIME_MS = 30 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A device token in the clear: shown once, stored nowhere."""

    token: str
    device: DevicePrincipal


async def import_catalog(context: Context, folder: Path) -> ImportReport:
    """Import a merchant's folder, or a folder of them; stock and editions are counted in the same unit."""
    chain = context.chain
    report = await import_folder(
        context.store,
        context.assets,
        folder,
        issued=_copies,
        inventory=_count(context),
        examine=None
        if chain is None
        else partial(look_for_contracts, chain=chain, chain_id=context.placing.chain_id),
    )
    await context.catalog.refresh(context.store)
    return report


async def put_product(context: Context, who: MerchantPrincipal, document: Mapping[str, Any]) -> ImportReport:
    """Create or change one product."""
    report = await import_product(
        context.store,
        who.merchant_id,
        document,
        assets=context.assets,
        issued=_copies,
        inventory=_count(context),
    )
    await context.catalog.refresh(context.store)
    return report


async def put_picture(context: Context, data: bytes) -> dict[str, Any]:
    """Check and store a picture (PNG)."""
    picture_id = await add_picture(context.assets, data)
    return {"picture_id": picture_id, "url": picture_path(picture_id)}


async def put_model(context: Context, data: bytes) -> dict[str, Any]:
    """Check, measure and store a GLB."""
    asset = await add_model(context.store, context.assets, data)
    await context.catalog.refresh(context.store)
    return {
        "asset_id": asset.asset_id,
        "url": asset.url,
        "bytes": asset.bytes,
        "extents_m": list(asset.extents_m),
        "triangles": asset.triangles,
    }


async def create_api_key(context: Context, merchant_id: str, name: str) -> str:
    """Return a new API key of the merchant; only its digest is stored."""
    key = new_secret(API_KEY_PREFIX)
    await context.store.write(
        lambda uow: store_api_key(uow, key_digest=digest(key), merchant_id=merchant_id, name=name)
    )
    return key


async def register(context: Context, who: MerchantPrincipal, reference: str) -> str:
    """Return the customer whom the merchant knows by this reference, made on first use."""
    return await context.store.write(
        lambda uow: register_customer(uow, who.merchant_id, reference),
        locks=(f"reference:{who.merchant_id}:{reference}",),
    )


async def issue_token(
    context: Context,
    who: MerchantPrincipal,
    customer_id: str,
    *,
    kind: str,
    name: str,
    lifetime_ms: int = DEVICE_TOKEN_LIFETIME_MS,
    world_id: str | None = None,
    session_id: str | None = None,
) -> IssuedToken:
    """Return a token with which a device of the customer signs in.

    ``world_id`` and ``session_id`` say where it is used: allowances that are bound to them pay only there.
    """
    token = new_secret(DEVICE_TOKEN_PREFIX)

    def issue(uow: UnitOfWork) -> DevicePrincipal:
        require_customer_of(uow, who.merchant_id, customer_id)
        return issue_device_token(
            uow,
            token_digest=digest(token),
            customer_id=customer_id,
            kind=kind,
            name=name,
            issued_by=who.merchant_id,
            lifetime_ms=lifetime_ms,
            world_id=world_id,
            session_id=session_id,
        )

    return IssuedToken(token, await context.store.write(issue))


async def add_card(context: Context, customer_id: str, card: CardEntry) -> dict[str, Any]:
    """Store a card in the vault and note its token. The card goes no further than this call."""
    stored = await context.vault.tokenize(customer_id, card)
    await context.store.write(lambda uow: remember_method(uow, stored))
    row = await context.store.read(lambda reader: method_of(reader, customer_id, stored.payment_method_id))
    return method_document(row)


async def require_own_customer(context: Context, who: MerchantPrincipal, customer_id: str) -> None:
    """Raise NotFoundError ``customer.not_found`` unless the merchant registered the customer."""
    await context.store.read(lambda reader: require_customer_of(reader, who.merchant_id, customer_id))


async def get_order(context: Context, who: MerchantPrincipal, order_id: str) -> Any:
    """One of the merchant's orders."""
    return await context.store.read(
        lambda reader: order_document(reader, order_id, customer_id=None, merchant_id=who.merchant_id)
    )


async def list_orders(context: Context, who: MerchantPrincipal, after: str | None, limit: int) -> Any:
    """A page of the merchant's orders, newest first."""
    return await context.store.read(
        lambda reader: order_page(
            reader, customer_id=None, merchant_id=who.merchant_id, after=after, limit=limit
        )
    )


async def refund(context: Context, who: MerchantPrincipal, order_id: str, key: str) -> dict[str, Any]:
    """Give a whole order back."""
    request = Request(who.merchant_id, order_id, key, digest(order_id)[:32])
    changed = await context.store.write(
        lambda uow: refund_order(uow, request, context.process), locks=(f"key:{who.merchant_id}:{key}",)
    )
    return {"order_id": changed.order_id, "state": changed.state, "replayed": changed.replayed}


async def books(context: Context, merchant_id: str) -> list[dict[str, Any]]:
    """The balances of the merchant's books."""
    found = await context.store.read(lambda reader: balances(reader, merchant_id))
    return [{"account": one.account, "unit": one.unit, "amount": one.amount} for one in found]


def _copies(reader: Reader, merchant_id: MerchantId, sku: str) -> int:
    level = pools.edition_level(reader, merchant_id=merchant_id, sku=sku)
    if level is None:
        return ordered_copies(reader, merchant_id, sku)
    return level.held + level.reserved + level.issued


def _count(context: Context) -> Callable[[UnitOfWork, ImportReport], None]:
    """Write the starting stock and the editions of an import, and name its tokens to the mint lanes."""

    def count(uow: UnitOfWork, report: ImportReport) -> None:
        take_minting(uow, report)
        for stock in report.initial_stock:
            pools.set_pool(
                uow,
                merchant_id=stock.merchant_id,
                sku=stock.sku,
                location_code=stock.location_code,
                on_hand=stock.on_hand,
                only_new=True,
                reason="opening",
            )
            post(
                uow,
                "stock.opened",
                stock.merchant_id,
                None,
                move(
                    f"sku:{stock.sku}",
                    stock.on_hand,
                    debit=accounts.stock_available(stock.location_code),
                    credit=accounts.STOCK_OPENING,
                ),
            )
        for edition in report.editions:
            if edition.cap is not None or edition.numbered:
                pools.define_edition(
                    uow,
                    merchant_id=edition.merchant_id,
                    sku=edition.sku,
                    cap=edition.cap,
                    numbered=edition.numbered,
                )
            if edition.token_number is not None and context.custody is not None:
                define_item(
                    uow,
                    item_number=edition.token_number,
                    sku=edition.sku,
                    cap=edition.cap,
                    numbered=edition.numbered,
                    uri="",
                    own_contract_id=(
                        None
                        if edition.contract is None
                        else contract_id_of(uow, edition.merchant_id, edition.contract)
                    ),
                    first_token_id=edition.first_token_id,
                )

    return count
