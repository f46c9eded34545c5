"""Adding a card over HTTP. With the vault apart nothing here takes a card number."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gateway.commands import card_entry
from gateway.commands import merchant as commands
from gateway.http.callers import AsDevice, AsMerchant, InContext
from gateway.kernel.errors import ConflictError
from wallets.vault.port import CardEntry


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class CardSessionInput(_Input):
    """``return_url`` is offered as a link once the card is saved."""

    return_url: Annotated[str, Field(min_length=1, max_length=2000)] | None = None


class SealedCardInput(_Input):
    """A card encrypted to ``GET /v1/card-key``: JWE in compact form."""

    sealed: Annotated[str, Field(min_length=1, max_length=8192)]


class CardInput(_Input):
    """A test card of the simulated acquirer. A real number is refused and kept nowhere."""

    number: SecretStr
    expiry_month: int
    expiry_year: int
    security_code: SecretStr
    holder: SecretStr = SecretStr("")


router = APIRouter(prefix="/v1", tags=["cards"])


@router.post("/card-sessions", status_code=201)
async def post_card_session(context: InContext, who: AsDevice, body: CardSessionInput) -> Any:
    """A page on which the customer enters a card (``payment.add_card``)."""
    return await card_entry.open_card_page(context, who.customer_id, body.return_url)


@router.get("/card-key")
async def get_card_key(context: InContext, who: AsDevice) -> Any:
    """The vault's public key, for devices that encrypt a card themselves."""
    return await card_entry.card_key(context, who.customer_id)


@router.post("/payment-methods", status_code=201)
async def post_sealed_card(context: InContext, who: AsDevice, body: SealedCardInput) -> Any:
    """Store a card that the device has encrypted."""
    return await card_entry.add_sealed_card(context, who.customer_id, body.sealed)


@router.post("/merchant/customers/{customer_id}/card-sessions", status_code=201)
async def post_customer_card_session(
    context: InContext, who: AsMerchant, customer_id: str, body: CardSessionInput
) -> Any:
    """A page on which a customer of the merchant enters a card, to be sent to them."""
    await commands.require_own_customer(context, who, customer_id)
    return await card_entry.open_card_page(context, customer_id, body.return_url)


embedded = APIRouter(prefix="/v1/merchant", tags=["cards"])
apart = APIRouter(prefix="/v1/merchant", tags=["cards"])


@embedded.post("/customers/{customer_id}/payment-methods", status_code=201)
async def post_payment_method(context: InContext, who: AsMerchant, customer_id: str, body: CardInput) -> Any:
    """Store a test card in the customer's vault."""
    await commands.require_own_customer(context, who, customer_id)
    card = CardEntry.typed(
        body.number.get_secret_value(),
        body.expiry_month,
        body.expiry_year,
        body.security_code.get_secret_value(),
        body.holder.get_secret_value(),
    )
    return await commands.add_card(context, customer_id, card)


@apart.post("/customers/{customer_id}/payment-methods", status_code=201)
async def refuse_payment_method(context: InContext, who: AsMerchant, customer_id: str) -> Any:
    """Refuse, without reading what was sent, and name a page to enter the card on."""
    await commands.require_own_customer(context, who, customer_id)
    page = await card_entry.open_card_page(context, customer_id, None)
    raise ConflictError(
        "card_entry.hosted", "Cards are entered on the vault's page, or sent encrypted.", data=page
    )
