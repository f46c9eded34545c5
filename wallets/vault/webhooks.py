"""Webhooks of providers: checked, written down, answered; then the provider is asked (H3).

A webhook is believed in one thing only: that there is something to ask about. What an operation became is the
provider's answer to our query, so events may come twice, late, in any order or not at all. An event about an
operation that is not known here is parked and looked at again, since our own commit may still be under way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, case, or_, select, update

from gateway.kernel.clock import Clock
from gateway.kernel.errors import ForbiddenError, InvalidError, NotFoundError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from wallets.vault.inserts import insert_named
from wallets.vault.model import OperationState
from wallets.vault.providers.port import NotAuthenticError
from wallets.vault.registry import Providers
from wallets.vault.tables import operation, webhook

LONGEST_BODY = 262_144
"""Bytes. Whoever receives the request should refuse more before reading it."""
_AGAIN_MS = 60_000
"""How long a parked or waiting event rests at least; then as long as it had been there when looked at."""
_GIVEN_UP_MS = 30 * 86_400_000
"""A parked event stays visible; after this long nobody looks for its operation any more."""

_INSERT = insert_named(
    webhook, "provider event_id type operation_id reference body_digest received_at_ms state"
)
_OPEN = Statement(
    select(webhook)
    .where(
        webhook.c.provider == bindparam("provider"),
        webhook.c.state != "processed",
        or_(
            webhook.c.state == "received",
            webhook.c.state.in_(["parked", "waiting"])
            & (webhook.c.processed_at_ms <= bindparam("rested_since_ms"))
            & (2 * webhook.c.processed_at_ms - webhook.c.received_at_ms <= bindparam("now_ms")),
        ),
        webhook.c.received_at_ms >= bindparam("since_ms"),
    )
    # What has just come goes first, however much rests.
    .order_by(case((webhook.c.state == "received", 0), else_=1), webhook.c.received_at_ms)
    .limit(bindparam("most"))
)
_CLOSE = Statement(
    update(webhook)
    .where(
        webhook.c.provider == bindparam("provider_"),
        webhook.c.event_id == bindparam("event_id_"),
        webhook.c.state != "processed",
    )
    .values(state=bindparam("state"), processed_at_ms=bindparam("processed_at_ms"))
)
_PARKED = Statement(
    select(webhook).where(webhook.c.state == "parked").order_by(webhook.c.received_at_ms).limit(1_000)
)
_BY_REFERENCE = Statement(
    select(operation.c.operation_id)
    .where(operation.c.provider == bindparam("provider"), operation.c.provider_reference == bindparam("ref"))
    .limit(100)
)
_UNDECIDED_AROUND = Statement(
    select(operation.c.operation_id)
    .where(
        or_(
            operation.c.operation_id == bindparam("operation_id"),
            operation.c.parent_id == bindparam("operation_id"),
        ),
        operation.c.state.in_([OperationState.SENT.value, OperationState.REQUIRES_ACTION.value]),
    )
    .limit(100)
)
_KNOWN = Statement(
    select(operation.c.operation_id).where(operation.c.operation_id == bindparam("operation_id"))
)


class ReceiptState(StrEnum):
    RECEIVED = "received"
    """Written down; to be processed."""
    KNOWN = "known"
    """Had been written down before."""


class EventState(StrEnum):
    """What looking at an event led to."""

    PROCESSED = "processed"
    PARKED = "parked"
    """About an operation that is not known here."""
    WAITING = "waiting"
    """The provider did not say what became of the operation; it is asked again."""


@dataclass(frozen=True, slots=True)
class WebhookReceipt:
    """What is answered with 2xx."""

    event_id: str
    state: ReceiptState


@dataclass(frozen=True, slots=True)
class ParkedWebhook:
    """An event about an operation that is not known here."""

    provider: str
    event_id: str
    type: str
    operation_id: str | None
    reference: str | None
    received_at_ms: int


class Webhooks:
    """The inbox of all providers of one vault."""

    def __init__(self, store: Store, clock: Clock, providers: Providers) -> None:
        self._store = store
        self._clock = clock
        self._providers = providers

    async def receive(self, provider: str, headers: Mapping[str, str], body: bytes) -> WebhookReceipt:
        """Check and store an event; answer 2xx once this has returned.

        Raises NotFoundError ``webhook.unknown_provider``, ForbiddenError ``webhook.not_authentic``,
        InvalidError ``webhook.unreadable``.
        """
        notifying = self._providers.notifying(provider)
        if notifying is None:
            raise NotFoundError("webhook.unknown_provider", "Nobody of this name sends webhooks here.")
        if len(body) > LONGEST_BODY:
            raise InvalidError("webhook.unreadable", "The body is too long.")
        named = {name.lower(): value for name, value in headers.items()}
        try:
            notice = notifying.notice(named, body, self._clock.now_ms())
        except NotAuthenticError:
            raise ForbiddenError("webhook.not_authentic", "The signature is not valid.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidError("webhook.unreadable", "The body is no event.") from None
        row = {
            "provider": provider,
            "event_id": notice.event_id[:255],
            "type": notice.type[:100],
            "operation_id": notice.operation_id,
            "reference": notice.reference,
            "body_digest": hashlib.sha256(body).digest(),
            "state": "received",
        }

        def insert(uow: UnitOfWork) -> bool:
            return bool(uow.run(_INSERT, {**row, "received_at_ms": uow.now_ms}))

        is_new = await self._store.write(insert)
        return WebhookReceipt(notice.event_id, ReceiptState.RECEIVED if is_new else ReceiptState.KNOWN)

    async def open(self, provider: str, most: int = 100) -> list[Any]:
        """Return a provider's events that are to be processed: new ones, oldest first, then those that have
        rested."""
        now_ms = self._clock.now_ms()
        values = {
            "provider": provider,
            "rested_since_ms": now_ms - _AGAIN_MS,
            "now_ms": now_ms,
            "since_ms": now_ms - _GIVEN_UP_MS,
            "most": most,
        }
        return await self._store.read(lambda reader: reader.rows(_OPEN, values))

    async def subjects(self, event: Any) -> list[OperationId] | None:
        """Return the undecided operations that an event is about; None if it is about none of ours."""

        def query(reader: Any) -> list[OperationId] | None:
            ids: list[str] = []
            if event.operation_id is not None:
                ids = [row.operation_id for row in reader.rows(_KNOWN, {"operation_id": event.operation_id})]
            if not ids and event.reference is not None:
                found = reader.rows(_BY_REFERENCE, {"provider": event.provider, "ref": event.reference})
                ids = [row.operation_id for row in found]
            if not ids:
                return None
            # A capture's event may name the authorization: whatever hangs on it is asked about too.
            around = {
                row.operation_id
                for each in ids
                for row in reader.rows(_UNDECIDED_AROUND, {"operation_id": each})
            }
            return [OperationId(each) for each in sorted(around)]

        return await self._store.read(query)

    async def close_event(self, event: Any, state: EventState) -> None:
        """Write down what became of an event."""
        await self._store.write(
            lambda uow: uow.run(
                _CLOSE,
                {
                    "provider_": event.provider,
                    "event_id_": event.event_id,
                    "state": state.value,
                    "processed_at_ms": uow.now_ms,
                },
            )
        )

    async def parked(self) -> list[ParkedWebhook]:
        """Return events about operations that are not known here (at most 1000)."""
        rows = await self._store.read(lambda reader: reader.rows(_PARKED))
        return [
            ParkedWebhook(
                row.provider, row.event_id, row.type, row.operation_id, row.reference, row.received_at_ms
            )
            for row in rows
        ]
