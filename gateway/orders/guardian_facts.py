"""What a guardian decides about a purchase, and what follows.

    approved -> the vault is told -> authorized anew: another operation, the same allowance
    declined, or no answer in time -> payment.declined, with the ways to pay that are left

The guardian's word and the clock meet in one conditional update: whoever is first has decided. The vault is
told by a task, so that a crash at any line is resumed; what it answers is recorded once, with the attempt
that follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, or_, select

from gateway.kernel.documents import decode
from gateway.kernel.errors import ConflictError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.tasks.model import Task
from gateway.kernel.tasks.queue import enqueue
from gateway.orders.beginning import waits_for_payment
from gateway.orders.declining import tell_declined
from gateway.orders.guardian_asking import end_request, reason_after, request_document, tell_decided
from gateway.orders.guardian_yes import go_on, refused_attempt
from gateway.orders.idempotency import earlier_result, keep_result
from gateway.orders.model import OrderState
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Purchase, known_purchase
from gateway.orders.tables import order
from gateway.payments import calls
from gateway.payments.guardians import (
    approval_document,
    decide_request,
    guardians_request,
    move_request,
    request_row,
    waiting_for,
)
from gateway.payments.guardians_model import GuardianState, shown_state
from gateway.payments.tables import guardian_request
from wallets.vault.port import ApprovalState

APPROVE_OPERATION = "guardian.approve"
DECLINE_OPERATION = "guardian.decline"

_g = guardian_request.c
_DUE = Statement(
    select(_g.approval_id)
    .select_from(guardian_request.join(order, order.c.order_id == _g.order_id))
    .where(
        _g.state == GuardianState.PENDING.value,
        or_(
            _g.expires_at_ms <= bindparam("now_ms"),
            and_(order.c.state != OrderState.PLACED.value, order.c.pay_until_ms.is_(None)),
        ),
    )
    .order_by(_g.approval_id)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class GuardianAnswer:
    """A guardian's answer to one question, from one of their devices."""

    guardian_id: str
    device_id: str
    approval_id: str
    key: str
    request_hash: str
    approves: bool

    @property
    def operation(self) -> str:
        return APPROVE_OPERATION if self.approves else DECLINE_OPERATION


@dataclass(frozen=True, slots=True)
class Answered:
    """How the question stands. ``replayed`` when the guardian had said the same before."""

    approval_id: str
    order_id: str
    state: str
    replayed: bool


def answer(uow: UnitOfWork, given: GuardianAnswer, rules: ProcessRules) -> Answered:
    """Record a guardian's word.

    The same word again is a replay. Raises NotFoundError ``guardian.not_found`` for a question to somebody
    else; ConflictError ``guardian.decided`` (data: state) when the other word was said before, the time is
    over, or the order does not wait any more.
    """
    kept = (given.guardian_id, given.operation, given.key, given.request_hash)
    earlier = earlier_result(uow, *kept)
    row = guardians_request(uow, given.guardian_id, given.approval_id)
    if earlier is not None:
        return Answered(row.approval_id, row.order_id, earlier["state"], replayed=True)
    purchase = known_purchase(uow, row.order_id)
    row = guardians_request(uow, given.guardian_id, given.approval_id)  # as it is under the order's lock
    state = _present_state(purchase, row)
    wanted = GuardianState.APPROVED if given.approves else GuardianState.DECLINED
    if state is not GuardianState.PENDING:
        if shown_state(state) != wanted.value:
            raise ConflictError(
                "guardian.decided", "This was decided already.", data={"state": shown_state(state)}
            )
        return Answered(row.approval_id, row.order_id, wanted.value, replayed=True)
    decided = decide_request(uow, row.approval_id, wanted, device_id=given.device_id)
    assert decided, "the order is locked, and nobody else decides"
    told = calls.APPROVE if given.approves else calls.NOT_APPROVED
    enqueue(uow, told, row.order_id, approval_document(row, uow.now_ms))
    tell_decided(purchase, row, wanted)
    if not given.approves:
        _not_paid(purchase, row.approval_id, rules)
    keep_result(uow, *kept, {"state": wanted.value})
    return Answered(row.approval_id, row.order_id, wanted.value, replayed=False)


def open_requests(reader: Reader, guardian_id: str) -> list[dict[str, Any]]:
    """Return what a guardian is asked now, oldest first."""
    return [request_document(reader, row) for row in waiting_for(reader, guardian_id)]


def due_requests(reader: Reader, most: int) -> list[str]:
    """Return questions whose time is over, and those whose order does not wait for a payment any more."""
    return [row.approval_id for row in reader.rows(_DUE, {"now_ms": reader.now_ms, "most": most})]


def close_request(uow: UnitOfWork, approval_id: str, rules: ProcessRules) -> None:
    """End a question that nobody answered in time, or that needs no answer any more."""
    row = request_row(uow, approval_id)
    assert row is not None
    purchase = known_purchase(uow, row.order_id)
    state = _present_state(purchase, row)
    if state is GuardianState.ENDED:
        end_request(purchase, row)
    elif state is GuardianState.EXPIRED and decide_request(uow, approval_id, state):
        tell_decided(purchase, row, state)
        _not_paid(purchase, approval_id, rules)


class GuardianFacts:
    """Records what the vault said to a guardian's word."""

    def __init__(self, rules: ProcessRules) -> None:
        self._rules = rules

    def record(self, uow: UnitOfWork, task: Task, known: ApprovalState | None) -> None:
        """The vault has the approval: the payment goes on, once, if the order still waits for one."""
        purchase = known_purchase(uow, task.subject)
        approval_id = task.payload["approval_id"]
        # Used: by a payment with this allowance that the customer began meanwhile.
        taken = known in (ApprovalState.APPROVED, ApprovalState.USED)
        state = GuardianState.DONE if taken else GuardianState.REFUSED
        if not move_request(uow, approval_id, state):
            return
        if taken:
            go_on(purchase, approval_id, self._rules)
        else:
            _not_paid(purchase, approval_id, self._rules)

    def record_no(self, uow: UnitOfWork, task: Task, known: ApprovalState | None) -> None:
        """The vault has heard of the no; what follows from it was recorded when it was said."""

    def parked(self, uow: UnitOfWork, task: Task, error: str) -> None:
        """Attempts ran out: the order says so, and an operator sees the task."""
        known_purchase(uow, task.subject).tell("payment.stuck", task=task.kind)


def _present_state(purchase: Purchase, row: Any) -> GuardianState:
    """Return the state as time and the order have made it."""
    state = GuardianState(row.state)
    if state is not GuardianState.PENDING:
        return state
    if purchase.state is not OrderState.PLACED and not purchase.is_held:
        return GuardianState.ENDED
    return GuardianState.EXPIRED if row.expires_at_ms <= purchase.uow.now_ms else state


def _not_paid(purchase: Purchase, approval_id: str, rules: ProcessRules) -> None:
    """Offer what else would work; nothing is said while another attempt is under way or has paid."""
    if not waits_for_payment(purchase):
        return
    uow = purchase.uow
    row = request_row(uow, approval_id)
    until_ms = purchase.pay_until_ms or uow.now_ms
    if not purchase.is_held:
        until_ms = purchase.extend_payment(uow.now_ms + rules.action_ms)
    reason = decode(refused_attempt(purchase, approval_id).decline)
    tell_declined(purchase, reason_after(row, reason), until_ms)
