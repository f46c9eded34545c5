"""Commands of a merchant's staff about money: refunds, approvals, payouts, what was collected in person."""

from __future__ import annotations

from functools import partial
from typing import Any

from gateway.commands.context import Context
from gateway.identity.model import MerchantPrincipal
from gateway.kernel.clock import rfc3339
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.orders.collecting import (
    Collection,
    Due,
    forget_collection,
    note_collection,
    waiting_collections,
)
from gateway.orders.payment_facts import ask_again
from gateway.orders.refunding import RefundAnswer, RefundWish, decide, request_refund
from gateway.payments.refunds import merchants_refund, refunds_of_merchant, refunds_of_order
from wallets.vault.port import OperationResult, OperationStatus


async def ask_refund(context: Context, wish: RefundWish) -> dict[str, Any]:
    """Ask for money to be given back."""
    answer = await context.store.write(
        lambda uow: request_refund(uow, wish), locks=(f"key:{wish.merchant_id}:{wish.key}",)
    )
    return _answer_document(answer)


async def decide_refund(
    context: Context, who: MerchantPrincipal, refund_id: str, staff_id: str, *, approve: bool
) -> dict[str, Any]:
    """Approve or reject a request of somebody else."""
    row = await context.store.read(lambda reader: merchants_refund(reader, who.merchant_id, refund_id))
    answer = await context.store.write(
        lambda uow: decide(uow, who.merchant_id, refund_id, staff_id, context.process, approve=approve),
        # What a day allows is decided on other requests of the customer, also of their other orders.
        locks=(f"payouts:{who.merchant_id}:{row.customer_id}",),
    )
    return _answer_document(answer)


async def get_refund(context: Context, who: MerchantPrincipal, refund_id: str) -> dict[str, Any]:
    """One request."""
    row = await context.store.read(lambda reader: merchants_refund(reader, who.merchant_id, refund_id))
    return refund_document(row)


async def list_refunds(
    context: Context, who: MerchantPrincipal, order_id: str | None, after: str | None, limit: int
) -> dict[str, Any]:
    """The merchant's requests, newest first, or those of one order."""

    def read(reader: Reader) -> list[Any]:
        if order_id is None:
            return refunds_of_merchant(reader, who.merchant_id, after, limit + 1)
        return [row for row in refunds_of_order(reader, order_id) if row.merchant_id == who.merchant_id]

    rows = await context.store.read(read)
    more = order_id is None and len(rows) > limit
    return {
        "refunds": [refund_document(row) for row in (rows[:limit] if more else rows)],
        "next": rows[limit - 1].refund_id if more else None,
    }


async def collect(context: Context, told: Collection) -> dict[str, Any]:
    """Record what staff collected or gave back in person, or that nothing changed hands.

    Written down first, then told to the vault; a repeat, whoever makes it, goes on where it was interrupted.
    Raises ConflictError ``collection.decided`` where something else was said before.
    """
    due = await context.store.write(partial(note_collection, told=told))
    try:
        result = await _tell_vault(context, due)
    except (InvalidError, NotFoundError):
        await context.store.write(partial(forget_collection, operation_id=due.operation_id))
        if due.is_theirs:
            raise
        # A colleague's word that the vault does not take: now this one is heard.
        return await collect(context, told)
    except ConflictError as error:
        raise ConflictError("collection.decided", error.message, data=error.data) from error
    await context.store.write(partial(_hear, order_id=told.order_id, operation_id=due.operation_id))
    if not due.is_theirs:
        raise ConflictError(
            "collection.decided", "Something else was said before.", data={"staff_id": due.staff_id}
        )
    return {
        "order_id": told.order_id,
        "operation_id": due.operation_id,
        "collected": result.status is OperationStatus.SUCCEEDED,
        "amount": _money(due.amount),
    }


async def list_collections(context: Context, who: MerchantPrincipal, order_id: str) -> dict[str, Any]:
    """What of an order is to be collected, or given back, in person."""
    rows = await context.store.read(lambda reader: waiting_collections(reader, who.merchant_id, order_id))
    return {
        "collections": [
            {
                "operation_id": row.operation_id,
                "kind": row.kind,
                "amount": {"amount_minor": row.amount_minor, "currency": row.currency},
                "leg_id": row.leg_id,
                "refund_id": row.refund_id,
            }
            for row in rows
        ]
    }


async def _tell_vault(context: Context, due: Due) -> OperationResult:
    operation_id = OperationId(due.operation_id)
    if due.tendered is None:
        return await context.vault.decline_cash(operation_id, due.staff_id)
    return await context.vault.confirm_cash(operation_id, due.tendered, due.staff_id)


def _hear(uow: UnitOfWork, order_id: str, operation_id: str) -> None:
    """Let the order hear of it now and not at its next look."""
    ask_again(uow, order_id, operation_id, after_ms=0)


def refund_document(row: Any) -> dict[str, Any]:
    """A request as its merchant sees it."""
    document = {
        "refund_id": row.refund_id,
        "order_id": row.order_id,
        "state": row.state,
        "way": row.way,
        "amount": {"amount_minor": row.amount_minor, "currency": row.currency},
        "done": {"amount_minor": row.done_minor, "currency": row.currency},
        "leg_id": row.leg_id,
        "payment_method_id": row.payment_method_id,
        "reason": row.reason,
        "requested_by": row.requested_by,
        "decided_by": row.decided_by,
        "failure": row.failure,
        "created_at": rfc3339(row.created_at_ms),
    }
    if row.expires_at_ms is not None:
        document["approve_until"] = rfc3339(row.expires_at_ms)
    return document


def _answer_document(answer: RefundAnswer) -> dict[str, Any]:
    return {
        "refund_id": answer.refund_id,
        "state": answer.state.value,
        "amount": _money(answer.amount),
        "replayed": answer.replayed,
    }


def _money(amount: Money) -> dict[str, Any]:
    return {"amount_minor": amount.amount_minor, "currency": amount.currency}
