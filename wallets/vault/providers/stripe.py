"""A Stripe-compatible provider over HTTP: PaymentIntents with manual capture.

Card numbers go to one place, ``POST /v1/payment_methods``, which answers with a token; every other call
names the token. Our operation id is the idempotency key of the call and ``metadata[operation_id]`` of what it
makes, so an operation is found again without ever being sent again. Idempotency keys are a courtesy to us:
that nothing happens twice rests on our records (`wallets.vault.service`), since Stripe forgets keys after a
day and some compatible servers ignore them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.kernel.clock import utc_datetime
from gateway.kernel.subjects import OperationId
from wallets.vault.port import Initiation, MethodKind, OperationKind
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Instrument,
    Lookup,
    NoAnswerError,
    Notice,
    Outcome,
    PassedInstrument,
    PayoutOrder,
    ProviderAnswer,
)
from wallets.vault.providers.settlement import LineType, SettlementLine
from wallets.vault.providers.signatures import check_stripe
from wallets.vault.providers.stripe_calls import RefusedError, StripeCalls
from wallets.vault.providers.stripe_currencies import NotRepresentableError, from_provider, to_provider
from wallets.vault.providers.stripe_words import (
    authorization_answer,
    capture_answer,
    decline_of,
    refund_answer,
    void_answer,
)
from wallets.vault.secret import Secret

TEST_NUMBERS = frozenset(
    {
        *("4242424242424242", "5555555555554444", "378282246310005", "4000000000000002"),
        *("4000000000000341", "4000000000009995", "4000000000009987", "4000000000009979"),
        *("4000000000000069", "4000000000000127", "4000002500003155", "4000008260003178"),
    }
)
"""Stripe's own test numbers. With a test key nothing else is sent (PCI DSS 4.0.1, 6.5.5)."""
_TEST_KEYS = ("sk_test_", "rk_test_")
_IDEMPOTENCY_KEPT_MS = 86_400_000
_ABSENT_AFTER_MS = 600_000
"""Ten minutes: longer than any call of ours lives, here or in a proxy."""
_CLOCKS_APART_S = 120

_LINE_TYPES: dict[str, LineType] = {
    "charge": LineType.CHARGE,
    "payment": LineType.CHARGE,
    "refund": LineType.REFUND,
    "payment_refund": LineType.REFUND,
    "payout": LineType.MERCHANT_PAYOUT,
    "stripe_fee": LineType.FEE,
    "application_fee": LineType.FEE,
    "dispute": LineType.CHARGEBACK,
}


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """Where the provider is and how we talk to it. ``name`` tells several accounts apart."""

    api_key: Secret
    base_url: str = "https://api.stripe.com"
    name: str = "stripe"
    webhook_secrets: tuple[Secret, ...] = ()
    return_url: str | None = None
    """Where the customer comes back to after a challenge; without it, no redirect can be asked for."""
    challenge_path: str = "/pay/challenges/"
    """Our page for a challenge that has no page of its own; the intent's id is appended."""
    timeout_ms: int = 10_000
    lists_by_time: bool = True
    """Lists of intents can be narrowed by the time they were made."""
    security_code_instead: Secret | None = None
    """For a compatible server that insists on a security code with a stored card. We have none by then."""


class StripeProvider:
    """`Provider` and `Notifying`."""

    def __init__(self, settings: StripeSettings) -> None:
        self._settings = settings
        self._calls = StripeCalls(settings.base_url, settings.api_key, timeout_ms=settings.timeout_ms)
        is_test = settings.api_key.reveal().startswith(_TEST_KEYS)
        self.capabilities = Capabilities(
            name=settings.name,
            test_numbers=TEST_NUMBERS if is_test else None,
            partial_capture=True,
            most_captures=1,
            partial_void=False,
            partial_refund=True,
            challenge=True,
            incremental_authorization=False,
            idempotency_key_kept_ms=_IDEMPOTENCY_KEPT_MS,
            lookup_fences=False,
            absent_is_final_after_ms=_ABSENT_AFTER_MS,
            kinds=frozenset({MethodKind.CARD, MethodKind.CARD_PRESENT}),
            moto=True,
            merchant_initiated=True,
        )

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        """Set the card up for later use, which asks the issuer without holding money."""
        try:
            method = await self._calls.post("/v1/payment_methods", _card_form(card, None), _fresh_key())
            intent = await self._calls.post(
                "/v1/setup_intents", {"payment_method_types": {"0": "card"}}, _fresh_key()
            )
            path = f"/v1/setup_intents/{intent['id']}/confirm"
            done = await self._calls.post(path, {"payment_method": method["id"]}, _fresh_key())
        except RefusedError as refused:
            return _refused(refused)
        # A challenge now would be about nothing: the first payment asks for its own.
        if done.get("status") in ("succeeded", "requires_action"):
            return ProviderAnswer(Outcome.SUCCEEDED)
        raise NoAnswerError("an unknown status of a verification")

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        try:
            units = to_provider(order.amount)
        except NotRepresentableError:
            return _failed("provider.amount_not_representable")
        try:
            method = await self._method(order.operation_id, order.card)
        except RefusedError as refused:
            return _refused(refused)
        card_options: dict[str, Any] = {}
        if order.request_challenge:
            card_options["request_three_d_secure"] = "challenge"
        if order.initiation is Initiation.MOTO:
            card_options["moto"] = True
        if order.network_transaction_id is not None:
            card_options["mit_exemption"] = {"network_transaction_id": order.network_transaction_id}
        form = {
            "amount": units,
            "currency": order.amount.currency.lower(),
            "payment_method": method,
            "payment_method_types": {"0": "card"},
            "payment_method_options": {"card": card_options},
            "capture_method": "manual",
            "confirm": True,
            "off_session": True if order.initiation is Initiation.MERCHANT else None,
            "return_url": self._settings.return_url,
            "metadata": {"operation_id": order.operation_id, "order_id": order.order_id},
            "expand": {"0": "latest_charge"},
        }
        try:
            intent = await self._calls.post("/v1/payment_intents", form, order.operation_id)
        except RefusedError as refused:
            return _refused(refused)
        return authorization_answer(intent, self._settings.challenge_path)

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        try:
            units = to_provider(order.amount)
        except NotRepresentableError:
            return _failed("provider.amount_not_representable")
        try:
            intent = await self._calls.post(
                f"/v1/payment_intents/{order.parent_reference}/capture",
                {"amount_to_capture": units},
                order.operation_id,
            )
        except RefusedError as refused:
            return _refused(refused)
        answer = capture_answer(intent, units)
        if answer is None:
            raise NoAnswerError("not captured, and no reason given")
        return answer

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        try:
            path = f"/v1/payment_intents/{order.parent_reference}/cancel"
            intent = await self._calls.post(path, {}, order.operation_id)
        except RefusedError as refused:
            return _refused(refused)
        answer = void_answer(intent)
        if answer is None:
            raise NoAnswerError("not canceled, and no reason given")
        return answer

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer:
        try:
            units = to_provider(order.amount)
        except NotRepresentableError:
            return _failed("provider.amount_not_representable")
        form = {
            "payment_intent": order.parent_reference,
            "amount": units,
            "metadata": {"operation_id": order.operation_id},
        }
        try:
            return refund_answer(await self._calls.post("/v1/refunds", form, order.operation_id))
        except RefusedError as refused:
            return _refused(refused)

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        raise NotImplementedError("the flag incremental_authorization says no")

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        raise NotImplementedError("the flag payout says no")

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        try:
            return await self._find(lookup)
        except RefusedError as refused:
            raise NoAnswerError(str(refused)) from None

    def notice(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> Notice:
        check_stripe(self._settings.webhook_secrets, headers, body, now_ms)
        event = json.loads(body)
        if not isinstance(event, dict) or not isinstance(event.get("id"), str):
            raise ValueError("no event")
        subject = (event.get("data") or {}).get("object") or {}
        operation_id = (subject.get("metadata") or {}).get("operation_id")
        # A charge and a dispute name the intent, which is what we know.
        reference = subject.get("payment_intent") or subject.get("id")
        return Notice(
            event["id"],
            str(event.get("type", "")),
            OperationId(operation_id) if isinstance(operation_id, str) else None,
            reference if isinstance(reference, str) else None,
        )

    async def settlement_lines(
        self, *, payout_id: str | None = None, batch: str = ""
    ) -> AsyncIterator[SettlementLine]:
        """Read balance transactions as settlement lines: all of them, or those of one automatic payout.

        Stripe names no capture, so ``operation_id`` of a charge is empty and ``provider_reference`` (the
        intent) is what it is matched by. A type without a place in our list keeps Stripe's name.
        """
        query: dict[str, Any] = {"expand": {"0": "data.source"}, "payout": payout_id}
        async for line in self._calls.each("/v1/balance_transactions", query):
            source = line.get("source") or {}
            if isinstance(source, str):
                source = {"id": source}
            kind = _LINE_TYPES.get(line.get("reporting_category") or "") or _LINE_TYPES.get(
                line["type"], line["type"]
            )
            gross = from_provider(line["amount"], line["currency"])
            fee = from_provider(line["fee"], line["currency"])
            if kind is LineType.FEE:
                gross, fee = fee, gross * -1
            reference = source.get("id", "")
            if kind is LineType.CHARGE:
                reference = source.get("payment_intent") or reference
            yield SettlementLine(
                line_key=line["id"],
                operation_id=(source.get("metadata") or {}).get("operation_id", "")
                if kind is LineType.REFUND
                else "",
                provider_reference=reference,
                type=str(kind),
                gross_minor=gross.amount_minor,
                fee_minor=fee.amount_minor,
                net_minor=gross.amount_minor - fee.amount_minor,
                currency=gross.currency,
                batch=batch,
                payout_id=payout_id or (reference if kind is LineType.MERCHANT_PAYOUT else ""),
                occurred_at_ms=line["created"] * 1000,
                available_on=utc_datetime(line["available_on"] * 1000).date().isoformat(),
            )

    async def close(self) -> None:
        await self._calls.close()

    async def _method(self, operation_id: OperationId, instrument: Instrument) -> str:
        """Return the provider's token of what is to be charged."""
        if isinstance(instrument, PassedInstrument):
            return instrument.reference.reveal()
        form = _card_form(instrument, self._settings.security_code_instead)
        made = await self._calls.post("/v1/payment_methods", form, f"{operation_id}:method")
        return str(made["id"])

    async def _find(self, lookup: Lookup) -> ProviderAnswer | None:
        if lookup.kind in (OperationKind.CAPTURE, OperationKind.REFUND):
            try:
                units = to_provider(lookup.amount)
            except NotRepresentableError:
                # Never sent, see `capture` and `refund`.
                return _failed("provider.amount_not_representable")
        if lookup.kind is OperationKind.AUTHORIZE:
            intent = await self._intent_of(lookup)
            return None if intent is None else authorization_answer(intent, self._settings.challenge_path)
        if lookup.kind is OperationKind.REFUND:
            async for refund in self._calls.each("/v1/refunds", {"payment_intent": lookup.parent_reference}):
                if (refund.get("metadata") or {}).get("operation_id") == lookup.operation_id:
                    return refund_answer(refund)
            return None
        intent = await self._calls.get(f"/v1/payment_intents/{lookup.parent_reference}")
        if lookup.kind is OperationKind.CAPTURE:
            return capture_answer(intent, units)
        return void_answer(intent)

    async def _intent_of(self, lookup: Lookup) -> dict[str, Any] | None:
        """Look through the intents of that time. The search index lags behind by up to a minute."""
        query: dict[str, Any] = {}
        if self._settings.lists_by_time:
            sent_s = lookup.sent_at_ms // 1000
            last_s = sent_s + _ABSENT_AFTER_MS // 1000 + _CLOCKS_APART_S
            query["created"] = {"gte": sent_s - _CLOCKS_APART_S, "lte": last_s}
            query["expand"] = {"0": "data.latest_charge"}
        async for intent in self._calls.each("/v1/payment_intents", query):
            if (intent.get("metadata") or {}).get("operation_id") == lookup.operation_id:
                return intent
        return None


def _card_form(card: ClearCard, security_code_instead: Secret | None) -> dict[str, Any]:
    security_code = card.security_code or security_code_instead
    holder = card.holder.reveal()
    return {
        "type": "card",
        "card": {
            "number": card.number.reveal(),
            "exp_month": card.expiry_month,
            "exp_year": card.expiry_year,
            "cvc": None if security_code is None else security_code.reveal(),
        },
        "billing_details": {"name": holder} if holder else {},
    }


def _refused(refused: RefusedError) -> ProviderAnswer:
    """An explicit no: of the issuer, or of Stripe for a request it will not carry out."""
    if refused.is_decline:
        intent = refused.error.get("payment_intent") or {}
        return ProviderAnswer(Outcome.DECLINED, intent.get("id"), decline=decline_of(refused.error))
    return _failed("provider.request_refused")


def _failed(reason: str) -> ProviderAnswer:
    return ProviderAnswer(Outcome.FAILED, failure=reason)


def _fresh_key() -> str:
    return f"verify:{uuid.uuid4()}"
