"""Storing a card: check, recognize, verify with the provider, encrypt, insert or get.

The security code goes to the provider once and is forgotten; no record, row, log or error ever holds it.
"""

from __future__ import annotations

from typing import Any

from gateway.kernel.clock import Clock
from gateway.kernel.errors import InvalidError, UnavailableError
from gateway.kernel.ids import IdSource
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import PaymentMethodId
from wallets.vault import methods
from wallets.vault.cards import brand_of, check_details, check_number
from wallets.vault.crypto import RecordPlace, seal
from wallets.vault.fingerprint import card_fingerprint
from wallets.vault.kms import Kms
from wallets.vault.port import CardEntry, StoredMethod
from wallets.vault.provider_calls import ProviderCalls
from wallets.vault.providers.port import Capabilities, ClearCard, NoAnswerError, Outcome

_RENEWALS = 5


async def tokenize(
    store: Store,
    provider: ProviderCalls,
    kms: Kms,
    clock: Clock,
    ids: IdSource,
    *,
    kek_id: str,
    mac_key_id: str,
    customer_id: str,
    card: CardEntry,
) -> StoredMethod:
    """Return the customer's method for this card. Raises as `port.Vault.tokenize` says."""
    check_number(card)
    _check_live(provider.capabilities, card)
    check_details(card, clock.now_ms())
    await _verify(provider, card)
    fingerprint = await card_fingerprint(kms, mac_key_id, card.number)
    place = RecordPlace(ids.new(PaymentMethodId), customer_id, methods.PURPOSE, 1)
    record = await seal(kms, kek_id, place, methods.record_text(card))
    values = {
        "payment_method_id": place.token_id,
        "customer_id": customer_id,
        "kind": "card",
        "brand": brand_of(card.number.reveal()),
        "last4": card.number.reveal()[-4:],
        "expiry_month": card.expiry_month,
        "expiry_year": card.expiry_year,
        "fingerprint_key_id": mac_key_id,
        "fingerprint": fingerprint,
        **methods.record_columns(place, record),
    }

    def insert_or_get(uow: UnitOfWork) -> Any:
        uow.run(methods.INSERT, {**values, "created_at_ms": uow.now_ms})
        return uow.row(methods.GET_BY_FINGERPRINT, values)

    row = await store.write(insert_or_get)
    for _ in range(_RENEWALS):
        if (row.expiry_month, row.expiry_year) == (card.expiry_month, card.expiry_year):
            return methods.stored_method(row)
        row = await _renew(store, kms, kek_id, row, card)
    raise UnavailableError(
        "vault.busy", "The card is being changed elsewhere; try again.", retry_after_ms=500
    )


async def _renew(store: Store, kms: Kms, kek_id: str, row: Any, card: CardEntry) -> Any:
    """Give a known card its new expiry: the customer has typed in the reissued card."""
    place = RecordPlace(row.payment_method_id, row.customer_id, methods.PURPOSE, row.record_version + 1)
    record = await seal(kms, kek_id, place, methods.record_text(card))
    values = {
        "payment_method_id_": row.payment_method_id,
        "record_version_": row.record_version,
        "expiry_month": card.expiry_month,
        "expiry_year": card.expiry_year,
        **methods.record_columns(place, record),
    }

    def renew_and_get(uow: UnitOfWork) -> Any:
        uow.run(methods.RENEW, values)
        return uow.row(methods.GET, {"payment_method_id": place.token_id})

    return await store.write(renew_and_get)


def _check_live(capabilities: Capabilities, card: CardEntry) -> None:
    numbers = capabilities.test_numbers
    if numbers is not None and card.number.reveal() not in numbers:
        raise InvalidError("vault.live_card_refused", "Only test cards are accepted here.", param="$.number")


async def _verify(provider: ProviderCalls, card: CardEntry) -> None:
    clear = ClearCard(card.number, card.expiry_month, card.expiry_year, card.holder, card.security_code)
    try:
        answer = await provider.verify(clear)
    except NoAnswerError:
        raise UnavailableError(
            "vault.provider_unavailable", "The card can not be checked now; try again.", retry_after_ms=2_000
        ) from None
    if answer.outcome is Outcome.SUCCEEDED:
        return
    if answer.outcome is Outcome.DECLINED and answer.decline is not None:
        raise InvalidError(
            "card.declined",
            answer.decline.message,
            data={"network_code": answer.decline.code, "decline_class": answer.decline.decline_class.value},
        )
    raise InvalidError("card.invalid", "The card was not accepted.", param="$.number")
