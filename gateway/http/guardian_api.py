"""A guardian's requests over HTTP, for an application without a socket: the socket's twins."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.commands import guardian
from gateway.http.callers import AsDevice, InContext, Key
from gateway.protocol.documents import GuardianAnswerReply, GuardianListReply
from gateway.protocol.messages import GuardianAnswerBody, GuardianApprove, GuardianDecline

router = APIRouter(prefix="/v1/guardian", tags=["customer"])
_ID = "http"


@router.get("/requests", response_model=GuardianListReply)
async def list_requests(context: InContext, who: AsDevice) -> Any:
    """What waits for this guardian (``guardian.list``)."""
    return await guardian.list_requests(context, who)


@router.post("/requests/{approval_id}/approve", response_model=GuardianAnswerReply)
async def approve(context: InContext, who: AsDevice, key: Key, approval_id: str) -> Any:
    """Agree to one purchase (``guardian.approve``)."""
    body = GuardianAnswerBody(approval_id=approval_id)
    return await guardian.decide(
        context, who, GuardianApprove(id=_ID, type="guardian.approve", key=key, body=body)
    )


@router.post("/requests/{approval_id}/decline", response_model=GuardianAnswerReply)
async def decline(context: InContext, who: AsDevice, key: Key, approval_id: str) -> Any:
    """Say no to one purchase (``guardian.decline``)."""
    body = GuardianAnswerBody(approval_id=approval_id)
    return await guardian.decide(
        context, who, GuardianDecline(id=_ID, type="guardian.decline", key=key, body=body)
    )
