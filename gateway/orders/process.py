"""The purchase on one page: what follows from each fact.

    placed -> authorize -> secured -> start the legs -> fulfilled -> capture -> ended
                 |                        |                |
                 v                        v                v
             declined: another method   failed: policy   not captured: token back
             or the reservation ends

What nobody could take back (a token in a wallet outside), and what waits for the period to withdraw, is
captured when it starts and delivered afterwards: secured -> captured -> paid -> delivered.

Every function here runs inside the unit that records a fact. It moves states by compare-and-set, writes
events and the next tasks, and leaves the rest to `settle`, which looks at the whole order and does what
has become possible. Recording a fact twice changes nothing. The steps are beside this file: `starting`,
`capturing` and `reauthorizing`, `delivering` what was paid first, `undoing`, `voiding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fulfillment import inventory
from fulfillment.model import HoldId
from gateway.catalog.model import FailurePolicy
from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from gateway.orders import books, capturing, delivering, reauthorizing, starting, undoing, voiding
from gateway.orders.model import LegKind, LegState, OrderState, holds_goods, is_owed, needs_money
from gateway.orders.purchase import Leg, Purchase, wire_money
from gateway.orders.reauthorizing import RenewalRules
from wallets.minting.model import SkipCode
from wallets.vault.port import ProviderTerms


@dataclass(frozen=True, slots=True)
class ProcessRules:
    """What the process needs to know of its surroundings."""

    provider: str = "simulated"
    """Names the clearing account of captured money, where the authorization names no other."""
    backend: str = "embedded"
    """The order backend that fulfillment orders go to."""
    base_url: str = "http://127.0.0.1:8080"
    """Where hosted pages are reached."""
    action_ms: int = 15 * 60_000
    """How long a challenge or another payment method is waited for."""
    guardian_ms: int = 24 * 60 * 60_000
    """How long a guardian has to approve a purchase; the order's goods are kept meanwhile."""
    choose_wallet_ms: int = 14 * 24 * 60 * 60_000
    """How long a customer has to choose another wallet for a token that theirs refused."""
    cash_country: str | None = None
    """Whose rule of cash rounding applies; None: no rounding beyond the currency's coins."""
    renewal: RenewalRules = field(default_factory=RenewalRules)

    def provider_of(self, terms: ProviderTerms | None) -> str:
        """Return whose clearing account an authorization with these terms is paid through."""
        return self.provider if terms is None else terms.provider


# --- Secured: authorized, everything reserved -------------------------------------------------------


def secured(purchase: Purchase, rules: ProcessRules) -> None:
    """The money is there: confirm the order and start its legs."""
    if not purchase.move(OrderState.CONFIRMED):
        return
    for leg in purchase.legs:
        purchase.move_leg(leg, LegState.SECURED)
    purchase.tell("order.confirmed")
    settle(purchase, rules)


def settle(purchase: Purchase, rules: ProcessRules) -> None:
    """Look at the whole order: undo what a failure spoils, start what may start, end what has ended."""
    more = True
    while more:
        undo_spoiled(purchase)
        if purchase.row.refund_requested:
            return_captured(purchase)
        # A leg that costs nothing is captured at once, and others may have waited for it.
        more = start_legs(purchase, rules)
    if any(needs_money(leg.state) for leg in purchase.legs):
        return
    voiding.void_rest(purchase)
    end_order(purchase)


def undo_spoiled(purchase: Purchase) -> None:
    """``all_or_nothing``: when a leg of a line is gone, the others are taken back as far as they can be.

    Canceled counts like failed: nobody keeps the token of a bundle whose parcel they canceled.
    """
    for gone in purchase.legs:
        if gone.is_gone:
            spoil_line(purchase, gone)


def spoil_line(purchase: Purchase, gone: Leg) -> None:
    """Take back what can be taken back of an ``all_or_nothing`` line that lost a leg."""
    if gone.policy is FailurePolicy.ALL_OR_NOTHING:
        for leg in purchase.line_of(gone):
            undoing.undo_leg(purchase, leg, reason="another part of the line will not be delivered")


def return_captured(purchase: Purchase) -> None:
    """A refund of the whole order was asked for: also what is captured later goes back.

    A token in a wallet outside stays there, and so does its money: only its holder could give it back.
    """
    for leg in purchase.legs:
        if is_owed(leg.state):
            undoing.undo_leg(purchase, leg, reason="refunded")
        elif leg.state is LegState.CAPTURED and not leg.is_outside:
            undoing.return_leg(purchase, leg)


def start_legs(purchase: Purchase, rules: ProcessRules) -> bool:
    """Start every secured leg whose policy lets it go now; True if one of them has been captured by that."""
    if purchase.is_held:
        return False
    shipments: dict[tuple[str, int | None], list[Leg]] = {}
    at_once = False
    for leg in purchase.legs:
        if leg.state is not LegState.SECURED or not starting.may_start(leg, purchase.line_of(leg)):
            continue
        match leg.kind:
            case LegKind.MINT | LegKind.ENTITLE if starting.is_paid_first(purchase, leg):
                purchase.pay_first(leg)
                at_once |= _capture_to_start(purchase, leg, rules)
            case LegKind.MINT:
                starting.start_mint(purchase, leg)
            case LegKind.ENTITLE:
                purchase.move_leg(leg, LegState.STARTED)
                at_once |= _capture_to_start(purchase, leg, rules)
            case LegKind.SHIP:
                assert leg.location_code is not None
                # A parcel that one line may call back is a fulfillment order of its own.
                alone = leg.line if leg.policy is FailurePolicy.ALL_OR_NOTHING else None
                shipments.setdefault((leg.location_code, alone), []).append(leg)
    _start_shipments(purchase, shipments, rules)
    ask_for_waiting(purchase, rules)
    _start_what_shares_wait_for(purchase, rules)
    return at_once


def _start_shipments(
    purchase: Purchase, shipments: dict[tuple[str, int | None], list[Leg]], rules: ProcessRules
) -> None:
    for (location, _), legs in shipments.items():
        starting.start_shipment(purchase, location, legs, rules.backend)


def _start_what_shares_wait_for(purchase: Purchase, rules: ProcessRules) -> None:
    """Where one capture is for everything, an item that is paid first waits for the parcel of its line: then
    the parcel must not wait for the item."""
    blocked = [
        leg
        for leg in purchase.legs
        if leg.state is LegState.SECURED and leg.kind is LegKind.SHIP and _waits_for_share(purchase, leg)
    ]
    shipments: dict[tuple[str, int | None], list[Leg]] = {}
    for leg in blocked:
        assert leg.location_code is not None
        shipments.setdefault((leg.location_code, None), []).append(leg)
    _start_shipments(purchase, shipments, rules)


def _waits_for_share(purchase: Purchase, leg: Leg) -> bool:
    """Whether the leg waits for items alone whose share nobody can ask for before the leg is delivered."""
    if leg.policy is not FailurePolicy.DIGITAL_FIRST:
        return False
    items = [
        other
        for other in purchase.line_of(leg)
        # What is paid and waits for its time is waited for by nobody (`starting.may_start`).
        if other.digital
        and (needs_money(other.state) or (other.state is LegState.PAID and other.due_at_ms is None))
    ]
    if not items or any(not other.is_captured_to_start for other in items):
        return False
    if any(other.state is not LegState.STARTED for other in items):
        return False
    intent = purchase.intent()
    if intent.provider_terms is None or intent.reauthorization_id is not None or purchase.is_held:
        return False
    return not any(capturing.is_asked_for(purchase, other) for other in items)


# --- Fulfilled, captured ----------------------------------------------------------------------------


def fulfilled(purchase: Purchase, leg: Leg, rules: ProcessRules) -> bool:
    """The leg was minted or dispatched: its units are gone for good and its share is asked for.

    After the last leg of one fact the caller calls `ask_for_waiting`.
    """
    operation_id = purchase.uow.new_id(OperationId) if leg.amount_minor else None
    if not purchase.fulfill_leg(leg, operation_id):
        return False
    if leg.hold_id is not None:
        inventory.consume(purchase.uow, hold_id=HoldId(leg.hold_id))
    if operation_id is None:
        captured(purchase, [leg], rules)
    else:
        _ask_for_share(purchase, leg, operation_id)
    return True


def ask_for_waiting(purchase: Purchase, rules: ProcessRules) -> None:
    """Ask for the shares that this unit's facts made due and that could not be asked for one by one."""
    if purchase.shares_wait:
        purchase.shares_wait = False
        reauthorizing.capture_or_renew(purchase, rules.renewal)


def capture_again(purchase: Purchase, rules: ProcessRules) -> None:
    """A capture was lost on its way: its legs wait, and are asked for under another id."""
    reauthorizing.capture_or_renew(purchase, rules.renewal)


def _capture_to_start(purchase: Purchase, leg: Leg, rules: ProcessRules) -> bool:
    """Ask for the share of what is delivered once it is paid; True if it costs nothing."""
    if not leg.amount_minor:
        return _captured(purchase, leg, rules)
    operation_id = purchase.uow.new_id(OperationId)
    purchase.set_capture(leg, operation_id)
    _ask_for_share(purchase, leg, operation_id)
    return False


def _ask_for_share(purchase: Purchase, leg: Leg, operation_id: OperationId) -> None:
    """Ask for the share of a leg that names this capture, where any number of captures can be made."""
    intent = purchase.intent()
    if intent.reauthorization_id is None and intent.provider_terms is None and not purchase.is_held:
        capturing.begin_capture(purchase, operation_id, intent.authorization_id, leg.amount, leg)
    else:
        purchase.shares_wait = True


def captured(
    purchase: Purchase,
    legs: Sequence[Leg],
    rules: ProcessRules,
    authorization_id: str | None = None,
    *,
    provider: str | None = None,
    is_posted: bool = False,
) -> None:
    """The legs' shares are ours. An entitlement is granted in this very unit, and a mint that had to be paid
    first is asked for, if that may be now.

    ``is_posted``: how the money came in is in the books already.
    """
    moved = False
    for leg in legs:
        moved |= _captured(purchase, leg, rules, authorization_id, provider, is_posted=is_posted)
    if moved:
        settle(purchase, rules)


def capture_failed(purchase: Purchase, legs: Sequence[Leg], code: str, rules: ProcessRules) -> None:
    """The shares will not be paid. What was not delivered fails; a minted token goes back."""
    for leg in legs:
        purchase.tell("payment.capture_failed", leg_id=leg.leg_id, code=code)
        if leg.is_captured_to_start:
            _leg_failed(purchase, leg, "capture failed")
        elif purchase.move_leg(leg, LegState.CAPTURE_FAILED):
            if leg.kind is LegKind.MINT:
                undoing.return_token(purchase, leg)
                spoil_line(purchase, leg)
            else:
                # The goods are on their way: what is owed for them stays in the books.
                books.post_delivered_unpaid(purchase, leg)
    settle(purchase, rules)


def minted(purchase: Purchase, leg: Leg, rules: ProcessRules) -> None:
    """The token of a leg is in a block: it is asked for its share, or was paid for before."""
    if leg.state is not LegState.PAID:
        fulfilled(purchase, leg, rules)
        ask_for_waiting(purchase, rules)
    elif delivering.minted(purchase, leg):
        settle(purchase, rules)


# --- Failed, returned, ended ------------------------------------------------------------------------


def not_minted(purchase: Purchase, leg: Leg, code: SkipCode | None, rules: ProcessRules) -> None:
    """The token will not be minted as things are. What was paid for it is not kept without the customer."""
    if leg.state is not LegState.PAID:
        leg_failed(purchase, leg, f"mint: {code}", rules)
        return
    if code is SkipCode.RECEIVER_REFUSED:
        delivering.refused(purchase, leg, code.value, rules.choose_wallet_ms)
    else:
        undoing.give_back(purchase, leg, f"mint: {code}", event_type="order.leg_failed")
    settle(purchase, rules)


def leg_failed(purchase: Purchase, leg: Leg, reason: str, rules: ProcessRules) -> None:
    """The leg cannot be fulfilled: give its units back, then let the policy decide about the others."""
    if _leg_failed(purchase, leg, reason):
        settle(purchase, rules)


def _leg_failed(purchase: Purchase, leg: Leg, reason: str) -> bool:
    if not purchase.move_leg(leg, LegState.FAILED):
        return False
    undoing.release_leg(purchase, leg)
    purchase.tell("order.leg_failed", leg_id=leg.leg_id, reason=reason)
    return True


def token_lost(purchase: Purchase, leg: Leg, rules: ProcessRules) -> None:
    """What was minted for the leg is gone for good: nobody has it, and nobody pays for it."""
    books.post_token_lost(purchase, leg)
    purchase.set_token(leg, None)
    match leg.state:
        case LegState.RETURNING:
            undoing.refund_leg(purchase, leg)
        case LegState.FULFILLED if capturing.is_asked_for(purchase, leg):
            pass  # whatever the capture's answer is, it will find that the token is lost
        case _:
            undoing.give_up_lost(purchase, leg)
    spoil_line(purchase, leg)
    settle(purchase, rules)


def drop_lost(purchase: Purchase, legs: Sequence[Leg], rules: ProcessRules) -> list[Leg]:
    """A capture has failed: nobody is asked again for what was lost meanwhile. Returns the other legs."""
    lost = [leg for leg in legs if leg.is_lost]
    for leg in lost:
        undoing.give_up_lost(purchase, leg)
    if lost:
        settle(purchase, rules)
    return [leg for leg in legs if leg not in lost]


def drop_withdrawn(purchase: Purchase, legs: Sequence[Leg], rules: ProcessRules) -> list[Leg]:
    """A capture has failed: what its customer withdrew from meanwhile is not asked for again. Returns the
    other legs."""
    withdrawn = [leg for leg in legs if leg.is_withdrawn]
    for leg in withdrawn:
        undoing.leg_canceled(purchase, leg, undoing.WITHDRAWN)
    if withdrawn:
        settle(purchase, rules)
    return [leg for leg in legs if leg not in withdrawn]


def pay_back(purchase: Purchase, leg: Leg, rules: ProcessRules) -> None:
    """What was delivered has come back, or never will have been: what was paid for the leg goes back."""
    undoing.refund_leg(purchase, leg)
    if leg.state is LegState.RETURNED:
        settle(purchase, rules)


def end_order(purchase: Purchase) -> None:
    """Close an order whose legs have all ended."""
    states = {leg.state for leg in purchase.legs}
    if any(is_owed(state) for state in states):
        return
    if LegState.CAPTURED in states or LegState.CAPTURE_FAILED in states:
        if purchase.move(OrderState.COMPLETED):
            gross = sum(leg.amount_minor for leg in purchase.legs if holds_goods(leg.state))
            purchase.tell("order.completed", captured=wire_money(Money(gross, purchase.currency)))
        return
    if LegState.RETURNING in states:
        return
    intent = purchase.intent()
    if LegState.RETURNED in states and intent.refunded_minor == intent.captured_minor:
        # Also an order that cost nothing, and a token that went back because its capture failed.
        if intent.captured_minor == 0 and purchase.state is OrderState.CONFIRMED:
            _canceled(purchase)
        elif purchase.move(OrderState.REFUNDED):
            purchase.tell(
                "order.refunded", refunded=wire_money(Money(intent.refunded_minor, purchase.currency))
            )
        return
    if not intent.captured_minor:
        _canceled(purchase)


def _captured(
    purchase: Purchase,
    leg: Leg,
    rules: ProcessRules,
    authorization_id: str | None = None,
    provider: str | None = None,
    *,
    is_posted: bool = False,
) -> bool:
    if leg.paid_first:
        return _paid_first(purchase, leg, rules, authorization_id, provider, is_posted=is_posted)
    if not purchase.move_leg(leg, LegState.CAPTURED):
        return False
    if leg.kind is LegKind.ENTITLE:
        starting.grant_entitlement(purchase, leg)
    # Capture follows delivery, so what is paid is earned at once. They stay two facts in the books.
    if not is_posted:
        books.post_captured(purchase, leg.amount, provider or rules.provider, authorization_id)
    books.post_delivered(purchase, leg)
    purchase.tell("payment.captured", leg_id=leg.leg_id, amount=wire_money(leg.amount))
    if leg.is_lost:
        undoing.give_up_lost(purchase, leg)
    purchase.fulfill_line(leg)
    return True


def _paid_first(
    purchase: Purchase,
    leg: Leg,
    rules: ProcessRules,
    authorization_id: str | None,
    provider: str | None,
    *,
    is_posted: bool,
) -> bool:
    """The share of what is still to be delivered is ours, and not yet earned."""
    withdrawn = leg.is_withdrawn
    if not purchase.move_leg(leg, LegState.PAID):
        return False
    if not is_posted:
        books.post_captured(purchase, leg.amount, provider or rules.provider, authorization_id)
    purchase.tell("payment.captured", leg_id=leg.leg_id, amount=wire_money(leg.amount))
    if withdrawn:
        undoing.give_back(purchase, leg, undoing.WITHDRAWN)
    else:
        delivering.deliver(purchase, leg)
    return True


def _canceled(purchase: Purchase) -> None:
    reason = purchase.row.reason or "nothing could be delivered"
    if purchase.move(OrderState.CANCELED, reason):
        purchase.tell("order.canceled", reason=reason)
