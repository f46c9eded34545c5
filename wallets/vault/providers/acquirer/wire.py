"""Orders and answers as JSON, for the process and its client."""

from __future__ import annotations

from typing import Any

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from wallets.vault.port import (
    Action,
    Decline,
    DeclineClass,
    Exemption,
    Initiation,
    MerchantReason,
    MethodKind,
    OperationKind,
)
from wallets.vault.providers.port import (
    AuthorizeOrder,
    ClearCard,
    FollowUpOrder,
    Instrument,
    Lookup,
    Outcome,
    PassedInstrument,
    PayoutOrder,
    ProviderAnswer,
)
from wallets.vault.secret import Secret

Document = dict[str, Any]


def instrument_document(instrument: Instrument) -> Document:
    if isinstance(instrument, PassedInstrument):
        return {"kind": instrument.kind.value, "reference": instrument.reference.reveal()}
    code = instrument.security_code
    return {
        "kind": MethodKind.CARD.value,
        "number": instrument.number.reveal(),
        "expiry_month": instrument.expiry_month,
        "expiry_year": instrument.expiry_year,
        "holder": instrument.holder.reveal(),
        "security_code": None if code is None else code.reveal(),
    }


def read_instrument(document: Document) -> Instrument:
    if document["kind"] != MethodKind.CARD:
        return PassedInstrument(MethodKind(document["kind"]), Secret(document["reference"]))
    code = document["security_code"]
    return ClearCard(
        Secret(document["number"]),
        document["expiry_month"],
        document["expiry_year"],
        Secret(document["holder"]),
        None if code is None else Secret(code),
    )


def read_card(document: Document) -> ClearCard:
    card = read_instrument(document)
    if not isinstance(card, ClearCard):
        raise ValueError("no card")
    return card


def authorize_document(order: AuthorizeOrder) -> Document:
    return {
        "operation_id": order.operation_id,
        "instrument": instrument_document(order.card),
        **_amount_document(order.amount),
        "merchant_id": order.merchant_id,
        "order_id": order.order_id,
        "channel": order.channel,
        "request_challenge": order.request_challenge,
        "network_transaction_id": order.network_transaction_id,
        "initiation": order.initiation,
        "merchant_reason": order.merchant_reason,
        "exemption": order.exemption,
        "authentication": order.authentication,
    }


def read_authorize(document: Document) -> AuthorizeOrder:
    reason, exemption = document["merchant_reason"], document["exemption"]
    return AuthorizeOrder(
        OperationId(document["operation_id"]),
        read_instrument(document["instrument"]),
        _read_amount(document),
        document["merchant_id"],
        document["order_id"],
        document["channel"],
        document["request_challenge"],
        document["network_transaction_id"],
        Initiation(document["initiation"]),
        None if reason is None else MerchantReason(reason),
        None if exemption is None else Exemption(exemption),
        document["authentication"],
    )


def follow_up_document(order: FollowUpOrder) -> Document:
    return {
        "operation_id": order.operation_id,
        "parent_id": order.parent_id,
        **_amount_document(order.amount),
    }


def read_follow_up(document: Document) -> FollowUpOrder:
    return FollowUpOrder(
        OperationId(document["operation_id"]),
        OperationId(document["parent_id"]),
        None,
        _read_amount(document),
    )


def payout_document(order: PayoutOrder) -> Document:
    return {
        "operation_id": order.operation_id,
        "instrument": instrument_document(order.card),
        **_amount_document(order.amount),
        "merchant_id": order.merchant_id,
    }


def read_payout(document: Document) -> PayoutOrder:
    return PayoutOrder(
        OperationId(document["operation_id"]),
        read_instrument(document["instrument"]),
        _read_amount(document),
        document["merchant_id"],
    )


def lookup_document(lookup: Lookup) -> Document:
    return {"operation_id": lookup.operation_id, "kind": lookup.kind, **_amount_document(lookup.amount)}


def read_lookup(document: Document) -> Lookup:
    kind = OperationKind(document["kind"])
    return Lookup(OperationId(document["operation_id"]), kind, _read_amount(document), 0)


def answer_document(answer: ProviderAnswer) -> Document:
    decline, action, token = answer.decline, answer.action, answer.network_token
    return {
        "outcome": answer.outcome,
        "reference": answer.reference,
        "decline": None
        if decline is None
        else [decline.code, decline.decline_class, decline.message, decline.advice],
        "network_transaction_id": answer.network_transaction_id,
        "capture_before_ms": answer.capture_before_ms,
        "action": None if action is None else [action.action_id, action.path],
        "failure": answer.failure,
        "account_reference": answer.account_reference,
        "network_token": None if token is None else token.reveal(),
        "liability": answer.liability,
    }


def read_answer(document: Document) -> ProviderAnswer:
    """Raises KeyError, ValueError, TypeError for what is no answer."""
    decline, action, token = document["decline"], document["action"], document["network_token"]
    return ProviderAnswer(
        Outcome(document["outcome"]),
        document["reference"],
        None if decline is None else Decline(decline[0], DeclineClass(decline[1]), decline[2], decline[3]),
        document["network_transaction_id"],
        document["capture_before_ms"],
        None if action is None else Action(*action),
        document["failure"],
        document["account_reference"],
        None if token is None else Secret(token),
        document["liability"],
    )


def _amount_document(amount: Money) -> Document:
    return {"amount_minor": amount.amount_minor, "currency": amount.currency}


def _read_amount(document: Document) -> Money:
    return Money(document["amount_minor"], document["currency"])
