"""What a guardian does: sees what waits for them, approves or declines one purchase.

A guardian is a customer like any other, signed in on a device of their own. Whose guardian they are is
written in the allowance, at the vault.
"""

from __future__ import annotations

from typing import Any

from gateway.commands.context import Context
from gateway.identity.model import DevicePrincipal
from gateway.orders.guardian_facts import GuardianAnswer, answer, open_requests
from gateway.orders.idempotency import request_hash
from gateway.protocol.messages import GuardianApprove, GuardianDecline


async def list_requests(context: Context, who: DevicePrincipal) -> dict[str, Any]:
    """What waits for this guardian (``guardian.list``)."""
    return {"requests": await context.store.read(lambda reader: open_requests(reader, who.customer_id))}


async def decide(
    context: Context, who: DevicePrincipal, command: GuardianApprove | GuardianDecline
) -> dict[str, Any]:
    """Record the guardian's word (``guardian.approve``, ``guardian.decline``)."""
    given = GuardianAnswer(
        guardian_id=who.customer_id,
        device_id=who.device_id,
        approval_id=command.body.approval_id,
        key=command.key or "",
        request_hash=request_hash(command.body),
        approves=isinstance(command, GuardianApprove),
    )
    answered = await context.store.write(
        lambda uow: answer(uow, given, context.process), locks=(f"key:{who.customer_id}:{command.key}",)
    )
    return {
        "approval_id": answered.approval_id,
        "order_id": answered.order_id,
        "state": answered.state,
        "replayed": answered.replayed,
    }
