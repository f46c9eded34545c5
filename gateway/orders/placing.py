"""``order.place``: the acknowledged purchase. One unit of work, committed before it is answered.

Idempotency key, order, legs, hold -> reservation, payment intent, ledger entries, events and the task that
authorizes: all or nothing. This is the hottest unit of the program.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, func, select

from fulfillment import inventory
from gateway.catalog.loading import payment_policy_of
from gateway.kernel.clock import parse_rfc3339, rfc3339
from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.events.model import Event
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import LegId, LineId, OperationId, OrderId, QuoteId
from gateway.kernel.tasks.handover import Handover
from gateway.kernel.tasks.queue import enqueue
from gateway.ledger import accounts
from gateway.ledger.posting import Entry, move, post
from gateway.orders.alternatives import ALLOWANCE, PAY_LINK, STORED_METHOD, offered
from gateway.orders.idempotency import earlier_result, keep_result
from gateway.orders.model import LegKind, LegState, OrderState
from gateway.orders.pay_links import MadeLink
from gateway.orders.plan import Plan
from gateway.orders.quotes import ORDERED, find_quote, take_quote
from gateway.orders.standing import spent_on
from gateway.orders.tables import consent, leg, order, order_line
from gateway.orders.withdrawal import DIGITAL_CONTENT_START, withdrawal_ends_ms
from gateway.payments.calls import AUTHORIZE, authorize_payload
from gateway.payments.exemption_history import ExemptionRules, exemption_for
from gateway.payments.intents import add_attempt, open_intent
from gateway.payments.methods import method_of
from gateway.payments.operations import begin_operation
from gateway.payments.pay_links import add_link
from gateway.payments.spending import Spending
from wallets.custody.linking import LinkedWallet, linked_wallet
from wallets.vault.port import AllowanceId, Exemption, OperationKind

OPERATION = "order.place"
SECURE_FREE = "order.secure_free"
"""The task of an order that costs nothing."""

_CLOCKS_DIFFER_MS = 5 * 60_000
"""How far ahead of ours the clock of a customer's device may be."""

_UNPAID_OF = Statement(
    select(func.count().label("orders"))
    .select_from(order)
    .where(order.c.customer_id == bindparam("customer_id"), order.c.state == OrderState.PLACED.value)
)
_STATE = Statement(select(order.c.state).where(order.c.order_id == bindparam("order_id")))
_INSERT_ORDER = insert_into(order)
_INSERT_LINE = insert_into(order_line)
_INSERT_LEG = insert_into(leg)
_INSERT_CONSENT = insert_into(consent)


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """A customer's decision to buy what was quoted."""

    customer_id: str
    device_id: str | None
    key: str
    request_hash: str
    quote_id: str
    payment_method_id: str | None
    """None for a link. For a promise to pay in person it is one that the vault made for it, for an allowance
    the one that its customer allowed."""
    ship_to: dict[str, Any] | None
    consents: list[dict[str, Any]]
    payment_kind: str = STORED_METHOD
    link_token: str | None = None
    """A fresh token, where the order is to be paid through a link."""
    spending: Spending | None = None
    """The standing or delegated allowance to pay with; what is bought is added from the quote."""
    session_id: str | None = None
    """The session at a world or an agent that the device acts in, as whoever issued its token says."""
    wallet_id: str | None = None
    """The linked wallet to mint to; None: the customer's account here."""
    waits: bool = False
    """What is digital is not delivered before the period to withdraw is over, so no consent is needed."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The accepted order. ``replayed`` when this key had been answered before."""

    order_id: str
    state: str
    total: Money
    replayed: bool
    link: MadeLink | None = None
    """Made by this call; its address is told once."""


@dataclass(frozen=True, slots=True)
class PlaceRules:
    """How long a reservation waits for its payment."""

    pay_within_ms: int = 15 * 60_000
    most_unpaid: int | None = 10
    """Orders of one customer that may wait for their payment at a time: each keeps goods from others."""
    handover: Handover = field(default_factory=Handover)
    """Takes the authorization of a new order straight to this process's worker."""
    exemptions: ExemptionRules | None = None
    """Exemptions from strong customer authentication to ask for; None: none, and none is looked for."""
    chain_id: int | None = None
    """The chain that tokens are minted on; a linked wallet is chosen on this one."""


def place_order(uow: UnitOfWork, request: PlaceRequest, rules: PlaceRules) -> Placed:
    """Accept the order, or refuse it with nothing changed.

    The unit counts the customer's other orders, so it holds the lock of their account.
    """
    earlier = earlier_result(uow, request.customer_id, OPERATION, request.key, request.request_hash)
    if earlier is not None:
        present = uow.row(_STATE, {"order_id": earlier["order_id"]})
        assert present is not None, "an order is written with the result of its key"
        return Placed(
            earlier["order_id"],
            present.state,
            Money(earlier["total_minor"], earlier["currency"]),
            replayed=True,
        )
    quote = find_quote(uow, request.customer_id, request.quote_id)
    plan = Plan.from_document(decode(quote.plan))
    _check_consents(request.consents, uow.now_ms)
    consents = _given_consents(request, plan)
    method = None
    if request.payment_kind == STORED_METHOD:
        method = method_of(uow, request.customer_id, request.payment_method_id or "")
    _check(request, quote, plan, method, uow.now_ms)
    wallet = None
    if request.wallet_id is not None:
        if all(planned.kind != LegKind.MINT for planned in plan.legs):
            raise InvalidError(
                "wallet.nothing_to_mint", "Nothing of this order is a token.", param="$.body.mint_to"
            )
        wallet = chosen_wallet(
            uow, request.customer_id, request.wallet_id, rules.chain_id, param="$.body.mint_to.wallet_id"
        )
    _check_unpaid(uow, request, rules)
    pay_within_ms = rules.pay_within_ms
    if request.payment_kind not in (STORED_METHOD, ALLOWANCE):
        pay_within_ms = _check_kind(uow, request, plan) or pay_within_ms

    order_id = uow.new_id(OrderId)
    pay_until_ms = uow.now_ms + pay_within_ms
    reserved = inventory.reserve(
        uow, quote_id=QuoteId(quote.quote_id), order_id=order_id, expires_at_ms=pay_until_ms
    )
    if not take_quote(uow, quote.quote_id):
        raise _ordered_already()
    keep_result(
        uow,
        request.customer_id,
        OPERATION,
        request.key,
        request.request_hash,
        {"order_id": order_id, "total_minor": plan.total_minor, "currency": plan.currency},
    )
    holds = {int(unit.ref): unit for unit in reserved}
    # Who could withdraw and has not agreed to lose that waits. The contract is concluded now.
    waits_until_ms = withdrawal_ends_ms(uow.now_ms) if request.waits and plan.consents_required else None
    _insert_order(uow, request, quote, plan, consents, order_id, pay_until_ms)
    for position, planned in enumerate(plan.legs):
        hold = holds.get(position)
        # The address as it is now: unlinking the wallet later changes nothing.
        to = wallet if planned.kind == LegKind.MINT else None
        uow.append(
            _INSERT_LEG,
            {
                "order_id": order_id,
                "position": position,
                "leg_id": uow.new_id(LegId),
                "line_position": planned.line,
                "kind": planned.kind,
                "state": LegState.RESERVED.value,
                "sku": planned.sku,
                "quantity": planned.quantity,
                "amount_minor": planned.amount_minor,
                "tax_minor": planned.tax_minor,
                "tax_country": planned.tax_country,
                "tax_category": planned.tax_category,
                "tax_rate_bps": planned.tax_rate_bps,
                "tax_source": planned.tax_source,
                "hold_id": None if hold is None else hold.hold_id,
                "location_code": planned.location_code,
                "item_number": planned.item_number,
                "numbered": int(planned.numbered),
                "capture_operation_id": None,
                "token": None,
                "wallet_id": None if to is None else to.wallet_id,
                "recipient": None if to is None else to.address,
                "mint_not_before_ms": None if planned.kind == LegKind.SHIP else waits_until_ms,
                "paid_first": 0,
                "delivered_at_ms": None,
                "due_at_ms": None,
            },
        )
    total = Money(plan.total_minor, plan.currency)
    link = _ask_for_payment(uow, request, plan, order_id, total, pay_until_ms, rules)
    post(uow, "order.placed", plan.merchant_id, order_id, _entries(plan))
    uow.emit(
        Event(
            request.customer_id,
            "order.placed",
            {
                "order_id": order_id,
                "merchant": plan.merchant_slug,
                "total": {"amount_minor": total.amount_minor, "currency": total.currency},
            },
            plan.merchant_id,
        )
    )
    for given in consents:
        _confirm(uow, request, plan, order_id, given)
    return Placed(order_id, OrderState.PLACED.value, total, replayed=False, link=link)


def chosen_wallet(
    reader: Reader, customer_id: str, wallet_id: str, chain_id: int | None, *, param: str
) -> LinkedWallet:
    """Return a wallet that the customer may have a token minted to; ConflictError ``wallet.not_linked``."""
    wallet = linked_wallet(reader, customer_id, wallet_id)
    if wallet is None or wallet.chain_id != chain_id:
        raise ConflictError(
            "wallet.not_linked", "This is no wallet that the customer has linked here.", param=param
        )
    return wallet


def _check_consents(consents: list[dict[str, Any]], now_ms: int) -> None:
    """Refuse a consent of a time that has not come, or is none: it cannot have been given."""
    for position, given in enumerate(consents):
        try:
            is_possible = parse_rfc3339(given["at"]) <= now_ms + _CLOCKS_DIFFER_MS
        except ValueError:
            is_possible = False
        if not is_possible:
            raise InvalidError(
                "message.invalid",
                "A consent cannot have been given at this time.",
                param=f"$.body.consents[{position}].at",
            )


def _given_consents(request: PlaceRequest, plan: Plan) -> list[dict[str, Any]]:
    """Return the consents that are about this order: without anything digital, its start is none."""
    if any(planned.kind != LegKind.SHIP for planned in plan.legs):
        return request.consents
    return [given for given in request.consents if given["kind"] != DIGITAL_CONTENT_START]


def _confirm(
    uow: UnitOfWork, request: PlaceRequest, plan: Plan, order_id: OrderId, given: dict[str, Any]
) -> None:
    """Confirm a consent where the customer can keep it and nobody can change it (2011/83 Art. 8(7)).

    The stream's event and the order's document say which words were agreed to and when.
    """
    uow.emit(
        Event(
            request.customer_id,
            "consent.confirmed",
            {
                "order_id": order_id,
                "kind": given["kind"],
                "text_version": given["text_version"],
                "locale": given["locale"],
                "given_at": given["at"],
                "confirmed_at": rfc3339(uow.now_ms),
            },
            plan.merchant_id,
        )
    )


def _check(request: PlaceRequest, quote: Any, plan: Plan, method: Any | None, now_ms: int) -> None:
    """Everything that can be refused before the first write."""
    if quote.state == ORDERED:
        raise _ordered_already()
    if quote.expires_at_ms <= now_ms:
        raise ConflictError(
            "quote.expired", "The quote has expired; ask for a new one.", param="$.body.quote_id"
        )
    if method is None and request.payment_kind == STORED_METHOD:
        raise NotFoundError(
            "payment_method.not_found", "There is no such payment method.", param="$.body.payment_method_id"
        )
    given = {entry["kind"] for entry in request.consents}
    missing = [kind for kind in plan.consents_required if kind not in given]
    if missing and not request.waits:
        raise ConflictError(
            "consent.missing",
            "The customer has to agree that delivery starts now and the right to withdraw is lost, or wait.",
            param="$.body.consents",
            data={"missing": missing},
        )
    if plan.ships:
        if request.ship_to is None:
            raise InvalidError("ship_to.required", "Where should it be shipped?", param="$.body.ship_to")
        if request.ship_to["country"] != plan.country:
            raise ConflictError(
                "ship_to.country_mismatch",
                f"The quote is for {plan.country}: tax and shipping would differ.",
                param="$.body.ship_to.country",
            )


def _check_kind(uow: UnitOfWork, request: PlaceRequest, plan: Plan) -> int | None:
    """Refuse a way to pay that the merchant does not offer; returns how long its payment is waited for."""
    policy = payment_policy_of(uow, plan.merchant_id)
    total = Money(plan.total_minor, plan.currency)
    kind = request.payment_kind
    if not offered(policy, kind, total, [planned.kind for planned in plan.legs]):
        raise ConflictError(
            "payment.not_offered",
            "The merchant does not offer this for this order.",
            param="$.body.payment.kind",
            data={"kind": kind},
        )
    return policy.pay_link_hours * 3_600_000 if kind == PAY_LINK else None


def _check_unpaid(uow: UnitOfWork, request: PlaceRequest, rules: PlaceRules) -> None:
    if rules.most_unpaid is None:
        return
    unpaid = uow.row(_UNPAID_OF, {"customer_id": request.customer_id})
    assert unpaid is not None
    if unpaid.orders >= rules.most_unpaid:
        raise ConflictError(
            "order.too_many_unpaid",
            "Pay or cancel the orders that wait for it first.",
            data={"unpaid": unpaid.orders, "limit": rules.most_unpaid},
        )


def _ordered_already() -> ConflictError:
    return ConflictError("quote.ordered", "This quote was ordered already.", param="$.body.quote_id")


def _insert_order(
    uow: UnitOfWork,
    request: PlaceRequest,
    quote: Any,
    plan: Plan,
    consents: list[dict[str, Any]],
    order_id: OrderId,
    pay_until_ms: int,
) -> None:
    # At once: the customer's next order may be in this very batch, and counts what is unpaid. Lines and legs
    # are appended, since nobody can name this order before it is committed and answered.
    uow.run(
        _INSERT_ORDER,
        {
            "order_id": order_id,
            "merchant_id": plan.merchant_id,
            "merchant_slug": plan.merchant_slug,
            "customer_id": request.customer_id,
            "device_id": request.device_id,
            "channel": plan.channel,
            "place": plan.place,
            "quote_id": quote.quote_id,
            "state": OrderState.PLACED.value,
            "reason": None,
            "country": plan.country,
            "currency": plan.currency,
            "total_minor": plan.total_minor,
            "tax_minor": plan.tax_minor,
            "shipping_minor": plan.shipping_minor,
            "ship_to": encode(request.ship_to) if plan.ships else None,
            "refund_requested": 0,
            "pay_until_ms": pay_until_ms,
            "created_at_ms": uow.now_ms,
        },
    )
    for position, line in enumerate(plan.lines):
        uow.append(
            _INSERT_LINE,
            {
                "order_id": order_id,
                "position": position,
                "line_id": uow.new_id(LineId),
                "sku": line.sku,
                "title": line.title,
                "format": line.format,
                "failure_policy": line.failure_policy,
                "quantity_original": line.quantity,
                "quantity_current": line.quantity,
                "quantity_fulfilled": 0,
                "unit_price_minor": line.unit_price_minor,
                "total_minor": line.total_minor,
            },
        )
    for given in consents:
        uow.append(
            _INSERT_CONSENT,
            {
                "order_id": order_id,
                "kind": given["kind"],
                "customer_id": request.customer_id,
                "text_version": given["text_version"],
                "locale": given["locale"],
                "given_at": given["at"],
                "device_id": request.device_id,
                "session_id": request.session_id,
                "recorded_at_ms": uow.now_ms,
                # Told on the customer's stream in this unit, and part of the order's document from now on.
                "confirmed_at_ms": uow.now_ms,
            },
        )


def _ask_for_payment(
    uow: UnitOfWork,
    request: PlaceRequest,
    plan: Plan,
    order_id: OrderId,
    total: Money,
    pay_until_ms: int,
    rules: PlaceRules,
) -> MadeLink | None:
    operation_id = uow.new_id(OperationId)
    waits_for_link = request.payment_kind == PAY_LINK and bool(total)
    exemption = _exemption(uow, request, plan, total, rules)
    intent_id = open_intent(
        uow,
        order_id=order_id,
        merchant_id=plan.merchant_id,
        customer_id=request.customer_id,
        amount=total,
        authorization_id=None if waits_for_link else operation_id,
        at_once=exemption is not None,
    )
    if not total:
        # Nobody has to be asked; the rest of the purchase is the same.
        enqueue(uow, SECURE_FREE, order_id, {})
        return None
    if waits_for_link:
        return _link(uow, request, plan, order_id, total, pay_until_ms)
    assert request.payment_method_id is not None
    begin_attempt(
        uow,
        intent_id=intent_id,
        order_id=order_id,
        operation_id=operation_id,
        payment_method_id=request.payment_method_id,
        customer_id=request.customer_id,
        merchant_id=plan.merchant_id,
        channel=plan.channel,
        place=plan.place,
        device_id=request.device_id,
        total=total,
        pay_until_ms=pay_until_ms,
        exemption=exemption,
        # A new order has no other authorization under way.
        handover=rules.handover,
        spending=None if request.spending is None else spent_on(request.spending, plan, request.quote_id),
    )
    return None


def _exemption(
    uow: UnitOfWork, request: PlaceRequest, plan: Plan, total: Money, rules: PlaceRules
) -> Exemption | None:
    if rules.exemptions is None or request.payment_method_id is None or not total:
        return None
    return exemption_for(uow, rules.exemptions, plan.country, request.payment_method_id, total, plan.channel)


def _link(
    uow: UnitOfWork, request: PlaceRequest, plan: Plan, order_id: OrderId, total: Money, pay_until_ms: int
) -> MadeLink:
    assert request.link_token is not None
    pay_link_id = add_link(
        uow,
        token=request.link_token,
        order_id=order_id,
        merchant_id=plan.merchant_id,
        customer_id=request.customer_id,
        amount=total,
        created_by=request.customer_id,
        expires_at_ms=pay_until_ms,
    )
    return MadeLink(pay_link_id, request.link_token, total, pay_until_ms)


def begin_attempt(
    uow: UnitOfWork,
    *,
    intent_id: str,
    order_id: str,
    operation_id: OperationId,
    payment_method_id: str,
    customer_id: str,
    merchant_id: str,
    channel: str,
    place: str | None,
    device_id: str | None,
    total: Money,
    pay_until_ms: int,
    request_challenge: bool = False,
    exemption: Exemption | None = None,
    authentication: str | None = None,
    pay_link_id: str | None = None,
    replaces: str | None = None,
    handover: Handover | None = None,
    spending: Spending | None = None,
    due_at_ms: int | None = None,
) -> None:
    """Write attempt, operation and task of one authorization, under an allowance for this order alone.

    ``handover`` is for the first one of an order. ``replaces`` is an authorization that is lost; this one
    is for what is left of it. ``spending`` names an allowance that was given before, with its own customer
    and device. ``due_at_ms`` is when the vault is asked, if not at once.
    """
    attempt_id = add_attempt(
        uow,
        intent_id=intent_id,
        order_id=order_id,
        payment_method_id=payment_method_id,
        operation_id=operation_id,
        exemption=exemption,
        spending=spending,
        payer=None if pay_link_id is None else customer_id,
    )
    begin_operation(
        uow,
        operation_id,
        OperationKind.AUTHORIZE,
        order_id=order_id,
        amount=total,
        attempt_id=attempt_id,
        target_operation_id=replaces,
        pay_link_id=pay_link_id,
    )
    payload = authorize_payload(
        operation_id=operation_id,
        allowance_id=uow.new_id(AllowanceId) if spending is None else spending.terms.allowance_id,
        payment_method_id=payment_method_id,
        customer_id=customer_id if spending is None else spending.terms.customer_id,
        merchant_id=merchant_id,
        order_id=order_id,
        channel=channel,
        place=place,
        device_id=device_id,
        amount=total,
        allowance_expires_at_ms=pay_until_ms,
        request_challenge=request_challenge,
        exemption=exemption,
        authentication=authentication,
        spending=spending,
    )
    if handover is None:
        enqueue(uow, AUTHORIZE, order_id, payload, due_at_ms=due_at_ms)
    else:
        handover.give(uow, AUTHORIZE, order_id, payload)


def _entries(plan: Plan) -> list[Entry]:
    """The goods that are promised, in the books. Money enters them when it is authorized."""
    entries: list[Entry] = []
    for planned in plan.legs:
        if planned.location_code is not None:
            entries += move(
                f"sku:{planned.sku}",
                planned.quantity,
                debit=accounts.stock_reserved(planned.location_code),
                credit=accounts.stock_available(planned.location_code),
            )
    return entries
