"""What the simulated issuers and networks decide. Rules over a unit of work; the adapter is `simulated`."""

from __future__ import annotations

import secrets
from typing import Any

from gateway.kernel.documents import decode
from gateway.kernel.money import Money
from gateway.kernel.store.unit import UnitOfWork
from wallets.vault.dynamic_link import AuthenticationReference
from wallets.vault.port import Exemption, Initiation, MerchantReason, MethodKind, OperationKind
from wallets.vault.providers import simulated_rows as rows
from wallets.vault.providers.port import AuthorizeOrder, ClearCard, FollowUpOrder, Instrument
from wallets.vault.providers.test_cards import (
    CARD_OF_WALLET,
    CARDS_OF_TOKENS,
    PAYERS_BY_NAME,
    TEST_ACCOUNTS,
    TEST_CARDS,
    TEST_TERMINAL_TOKENS,
    Behaviour,
    SimulatedCard,
)

_DAY_MS = 86_400_000
_ONLINE_MS = 7 * _DAY_MS
_MERCHANT_INITIATED_MS = 4 * _DAY_MS + 18 * 3_600_000
"""Visa: five days less the time of a day's clearing. Longer elsewhere, so this is safe for all."""
_PRESENT_MS = {"visa": 5 * _DAY_MS}
_PRESENT_OTHERS_MS = 2 * _DAY_MS
# How old the first transaction may be that a merchant refers to with a network token.
_OLDEST_MS = {MerchantReason.RESUBMISSION: 14 * _DAY_MS}
_OLDEST_OTHERS_MS = 30 * _DAY_MS
# The issuer's own limits for exemptions (RTS 2018/389, Articles 11, 16 and 18); the issuer is in the EU.
_EXEMPT_UP_TO = {
    Exemption.LOW_VALUE: 3_000,
    Exemption.CONTACTLESS: 5_000,
    Exemption.TRANSACTION_RISK: 50_000,
}
_SCA_CODE = {"mastercard": "65"}
_SCA_CODE_OTHERS = "1A"
_BY_ISSUER, _BY_MERCHANT = "issuer", "merchant"


def card_of(instrument: Instrument) -> SimulatedCard | None:
    """Return the test card or account behind an instrument; None for one that nobody has."""
    if isinstance(instrument, ClearCard):
        number = instrument.number.reveal()
        return TEST_CARDS.get(number) or CARDS_OF_TOKENS.get(number)
    reference = instrument.reference.reveal()
    if instrument.kind is MethodKind.CARD_PRESENT:
        return TEST_TERMINAL_TOKENS.get(reference)
    if instrument.kind is MethodKind.SEPA_DEBIT:
        account, _mandate = decode(reference)
        return TEST_ACCOUNTS.get(account)
    return CARD_OF_WALLET.get(instrument.kind)


def authorization_row(order: AuthorizeOrder, card: SimulatedCard, now_ms: int) -> dict[str, Any]:
    """Return the row of an authorization, decided."""
    behaviour = card.behaviour if card.affects is OperationKind.AUTHORIZE else Behaviour.APPROVE
    row = rows.new_row(order.operation_id, OperationKind.AUTHORIZE, "succeeded", now_ms)
    row["card"] = card.name
    row["amount_minor"] = order.amount.amount_minor
    row["currency"] = order.amount.currency
    if card.brand != "sepa":
        row["capture_before_ms"] = now_ms + _valid_ms(order, card)
    row["liability"] = _BY_MERCHANT
    if behaviour is Behaviour.DECLINE:
        row["outcome"], row["network_code"] = "declined", card.network_code
    elif _was_authenticated(order):
        row["liability"] = _BY_ISSUER
    elif order.initiation is not Initiation.CUSTOMER:
        pass  # outside strong customer authentication: by the earlier agreement, or by mail and telephone
    elif order.request_challenge:
        _challenge(row)
    elif order.exemption is not None:
        if behaviour is Behaviour.NEEDS_SCA or not _is_exempt(order.exemption, order.amount):
            row["outcome"] = "declined"
            row["network_code"] = _SCA_CODE.get(card.brand, _SCA_CODE_OTHERS)
    elif behaviour is Behaviour.NEEDS_SCA:
        row["outcome"], row["network_code"] = "declined", card.network_code
    elif behaviour is Behaviour.CHALLENGE:
        _challenge(row)
    elif _is_authenticated(order.card):
        row["liability"] = _BY_ISSUER
    return row


def refuse_unknown_agreement(uow: UnitOfWork, order: AuthorizeOrder, row: dict[str, Any]) -> None:
    """A merchant that asks without the customer names a transaction of this card that is not too old."""
    if order.initiation is not Initiation.MERCHANT or row["outcome"] != "succeeded":
        return
    failure = None
    if order.merchant_reason is None or order.network_transaction_id is None:
        failure = "provider.network_transaction_missing"
    else:
        oldest_ms = uow.now_ms - _OLDEST_MS.get(order.merchant_reason, _OLDEST_OTHERS_MS)
        prefix = order.operation_id.partition("_")[0]
        known = uow.rows(
            rows.AUTHORIZATIONS,
            {
                # Ids begin with the time they were made at; a day more, since the request may have waited.
                "first_id": f"{prefix}_{max(oldest_ms - _DAY_MS, 0):012x}",
                "last_id": f"{prefix}_{'f' * 28}",
                "card": row["card"],
            },
        )
        fitting = [
            each
            for each in known
            if rows.network_transaction_id(each.operation_id) == order.network_transaction_id
        ]
        if not fitting or fitting[0].outcome not in ("succeeded", "requires_action"):
            failure = "provider.network_transaction_unknown"
        elif fitting[0].received_at_ms < oldest_ms:
            failure = "provider.network_transaction_too_old"
    if failure is not None:
        row["outcome"], row["failure"] = "failed", failure


def decide_follow_up(
    uow: UnitOfWork, kind: OperationKind, order: FollowUpOrder, parent: Any, card: SimulatedCard | None
) -> tuple[str, str | None, str | None]:
    """Take the amount from the parent where that is allowed. Returns outcome, network code and failure."""
    of = OperationKind.CAPTURE if kind is OperationKind.REFUND else OperationKind.AUTHORIZE
    if parent is None or card is None or parent.kind != of or parent.currency != order.amount.currency:
        return "failed", None, "provider.parent_unknown"
    is_debit = card.brand == "sepa"
    if card.affects is kind and card.behaviour is Behaviour.DECLINE and not is_debit:
        return "declined", card.network_code, None
    if (
        kind in (OperationKind.CAPTURE, OperationKind.INCREMENT)
        and parent.capture_before_ms is not None
        and uow.now_ms >= parent.capture_before_ms
    ):
        return "failed", None, "provider.authorization_expired"
    if kind is OperationKind.VOID and parent.outcome == "requires_action":
        if parent.amount_minor != order.amount.amount_minor:
            return "failed", None, "provider.not_open"
        uow.run(
            rows.DECIDE_CHALLENGE,
            {
                "operation_id_": order.parent_id,
                "outcome": "failed",
                "network_code": None,
                "failure": "provider.challenge_canceled",
                "liability": None,
            },
        )
        return "succeeded", None, None
    if uow.run(rows.TAKE[kind], {"parent_id": order.parent_id, "taken": order.amount.amount_minor}):
        # A bank takes days over a direct debit.
        return ("pending" if is_debit and kind is OperationKind.CAPTURE else "succeeded"), None, None
    return "failed", None, "provider.not_open"


def decide_debit(uow: UnitOfWork, row: Any) -> None:
    """The bank has answered a direct debit: paid, or returned with a code of ISO 20022."""
    card = PAYERS_BY_NAME[row.card]
    is_returned = card.behaviour is Behaviour.DECLINE and card.affects is OperationKind.CAPTURE
    decided = {
        "operation_id_": row.operation_id,
        "outcome": "declined" if is_returned else "succeeded",
        "network_code": card.network_code if is_returned else None,
        "decided_at_ms": uow.now_ms,
    }
    if uow.run(rows.DECIDE_PENDING, decided) and is_returned:
        uow.run(rows.GIVE_BACK_CAPTURE, {"parent_id": row.parent_id, "taken": row.amount_minor})


def _valid_ms(order: AuthorizeOrder, card: SimulatedCard) -> int:
    if order.initiation is Initiation.MERCHANT:
        return _MERCHANT_INITIATED_MS
    if not isinstance(order.card, ClearCard) and order.card.kind is MethodKind.CARD_PRESENT:
        return _PRESENT_MS.get(card.brand, _PRESENT_OTHERS_MS)
    return _ONLINE_MS


def _challenge(row: dict[str, Any]) -> None:
    # The page needs no sign-in, so its address must not be guessable.
    row["outcome"], row["action_id"] = "requires_action", f"act_{secrets.token_urlsafe(18)}"


def _was_authenticated(order: AuthorizeOrder) -> bool:
    """Whether the order brings an authentication that was passed for exactly this amount and payee (RTS
    Art. 5). This issuer has agreed to accept the gateway's (delegated authentication)."""
    if order.authentication is None:
        return False
    try:
        reference = AuthenticationReference.parse(order.authentication)
    except ValueError:
        return False
    return reference.binds(order.order_id, order.amount, order.merchant_id)


def _is_exempt(exemption: Exemption, amount: Money) -> bool:
    return amount.amount_minor <= _EXEMPT_UP_TO.get(exemption, amount.amount_minor)


def _is_authenticated(instrument: Instrument) -> bool:
    """A wallet's cryptogram and a card with its PIN have authenticated the customer already."""
    return not isinstance(instrument, ClearCard) and instrument.kind is not MethodKind.SEPA_DEBIT
