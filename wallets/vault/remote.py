"""The vault in another process: its port over HTTP/1.1 on connections that stay open.

Nothing of a card goes through here. A failure that leaves open whether the vault acted, a broken connection,
a deadline, an answer that is none, raises `UnavailableError`; the caller asks again under the same operation
id, which the vault recognizes. What could not be sent is sent once more at once, for the same reason.
"""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Any, Self

import structlog

from gateway.kernel.errors import ForbiddenError, InvalidError, UnavailableError
from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId, PaymentMethodId
from wallets.vault.http.calls import CALLS
from wallets.vault.http.connections import BrokenConnectionError, Connections
from wallets.vault.http.problems import MEDIA_TYPE, error_of
from wallets.vault.http.wire import WireError, dumps, loads
from wallets.vault.port import (
    Allowance,
    AllowanceId,
    AllowanceTerms,
    Approval,
    ApprovalState,
    Authorize,
    Capture,
    CardEntry,
    CardKey,
    CardSession,
    Increment,
    MethodPage,
    OperationPage,
    OperationResult,
    PassedMethod,
    Payout,
    Reauthorize,
    Refund,
    StoredMethod,
    Void,
)

log = structlog.get_logger("vitrine.vault")

_RETRY_AFTER_MS = 1_000
_TO_PROVIDERS = frozenset(
    {"authorize", "reauthorize", "capture", "void", "refund", "increment", "payout", "store_sealed_card"}
)
"""Calls that wait for a provider. They have connections of their own, so that look-ups and all that the vault
answers by itself do not wait behind them."""
_MOST_TO_PROVIDERS = 512
"""More than the vault has under way with one provider (`provider_calls.MOST_CALLS`) and those that wait for a
turn there: a silent provider must not keep another one's calls from being made."""
_SENT_ONCE = frozenset({"store_sealed_card", "open_card_session", "store_method"})
"""Sending these again would not find the first one's answer."""


class RemoteVault:
    """`Vault` over HTTP. `close` when done.

    ``url`` is the vault's base address, ``credential`` one of role ``gateway``. ``deadline_ms`` bounds a
    call with its resending; it is longer than the vault's own deadline for its provider, and shorter than a
    task's lease. ``trust`` verifies the vault's certificate with other authorities than the system's.
    """

    def __init__(
        self,
        url: str,
        credential: str,
        *,
        deadline_ms: int = 15_000,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._deadline_s = deadline_ms / 1000
        headers = {
            "Authorization": f"Bearer {credential}",
            "Content-Type": "application/json",
            "Accept": f"application/json, {MEDIA_TYPE}",
        }
        self._connections = Connections(url, headers, trust)
        self._for_providers = Connections(url, headers, trust, most=_MOST_TO_PROVIDERS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        self._connections.close()
        self._for_providers.close()

    async def tokenize(self, customer_id: str, card: CardEntry) -> StoredMethod:
        """Refuse: this process is not to have a card. Raises InvalidError ``card_entry.hosted``."""
        raise InvalidError("card_entry.hosted", "Cards are entered on the vault's page, or sent encrypted.")

    async def methods(self, customer_id: str) -> list[StoredMethod]:
        found: list[StoredMethod] = await self._call("methods", customer_id=customer_id)
        return found

    async def open_card_session(self, customer_id: str, return_url: str | None) -> CardSession:
        found: CardSession = await self._call(
            "open_card_session", customer_id=customer_id, return_url=return_url
        )
        return found

    async def card_key(self) -> CardKey:
        found: CardKey = await self._call("card_key")
        return found

    async def store_sealed_card(self, customer_id: str, sealed: str) -> StoredMethod:
        found: StoredMethod = await self._call("store_sealed_card", customer_id=customer_id, sealed=sealed)
        return found

    async def methods_since(self, cursor: str, limit: int) -> MethodPage:
        found: MethodPage = await self._call("methods_since", cursor=cursor, limit=limit)
        return found

    async def authorize(self, request: Authorize) -> OperationResult:
        return await self._operation("authorize", request=request)

    async def capture(self, request: Capture) -> OperationResult:
        return await self._operation("capture", request=request)

    async def void(self, request: Void) -> OperationResult:
        return await self._operation("void", request=request)

    async def refund(self, request: Refund) -> OperationResult:
        return await self._operation("refund", request=request)

    async def reauthorize(self, request: Reauthorize) -> OperationResult:
        return await self._operation("reauthorize", request=request)

    async def payout(self, request: Payout) -> OperationResult:
        return await self._operation("payout", request=request)

    async def remove_method(self, customer_id: str, payment_method_id: PaymentMethodId) -> bool:
        removed: bool = await self._call(
            "remove_method", customer_id=customer_id, payment_method_id=payment_method_id
        )
        return removed

    async def store_method(self, customer_id: str, passed: PassedMethod) -> StoredMethod:
        found: StoredMethod = await self._call("store_method", customer_id=customer_id, passed=passed)
        return found

    async def increment(self, request: Increment) -> OperationResult:
        return await self._operation("increment", request=request)

    async def confirm_cash(
        self, operation_id: OperationId, tendered: Money, confirmed_by: str
    ) -> OperationResult:
        return await self._operation(
            "confirm_cash", operation_id=operation_id, tendered=tendered, confirmed_by=confirmed_by
        )

    async def decline_cash(self, operation_id: OperationId, confirmed_by: str) -> OperationResult:
        return await self._operation("decline_cash", operation_id=operation_id, confirmed_by=confirmed_by)

    async def operation(self, operation_id: OperationId) -> OperationResult | None:
        found: OperationResult | None = await self._call("operation", operation_id=operation_id)
        return found

    async def abandon(self, operation_id: OperationId) -> OperationResult:
        return await self._operation("abandon", operation_id=operation_id)

    async def note_settled(
        self, operation_id: OperationId, provider: str, provider_reference: str
    ) -> OperationResult | None:
        found: OperationResult | None = await self._call(
            "note_settled",
            operation_id=operation_id,
            provider=provider,
            provider_reference=provider_reference,
        )
        return found

    async def operations_since(self, cursor: str, limit: int) -> OperationPage:
        found: OperationPage = await self._call("operations_since", cursor=cursor, limit=limit)
        return found

    async def grant(self, terms: AllowanceTerms) -> Allowance:
        found: Allowance = await self._call("grant", terms=terms)
        return found

    async def allowance(self, allowance_id: AllowanceId) -> Allowance | None:
        found: Allowance | None = await self._call("allowance", allowance_id=allowance_id)
        return found

    async def approve(self, approval: Approval) -> ApprovalState:
        found: ApprovalState = await self._call("approve", approval=approval)
        return found

    async def decline_approval(self, approval: Approval) -> ApprovalState:
        found: ApprovalState = await self._call("decline_approval", approval=approval)
        return found

    async def revoke(self, allowance_id: AllowanceId) -> None:
        await self._call("revoke", allowance_id=allowance_id)

    async def _operation(self, name: str, **arguments: Any) -> OperationResult:
        found: OperationResult = await self._call(name, **arguments)
        return found

    async def _call(self, name: str, **arguments: Any) -> Any:
        call = CALLS[name]
        connections = self._for_providers if name in _TO_PROVIDERS else self._connections
        path, content = f"/v1/{name}", dumps(call.encode_arguments(arguments))
        try:
            async with asyncio.timeout(self._deadline_s):
                try:
                    status, data = await connections.post(path, content)
                except BrokenConnectionError:
                    if name in _SENT_ONCE:
                        raise
                    # Mostly a connection that the other side had closed, or that died with it.
                    status, data = await connections.post(path, content)
        except (BrokenConnectionError, TimeoutError) as error:
            log.warning("vault.unreachable", call=name, reason=str(error) or type(error).__name__)
            raise _unavailable() from None
        try:
            if status == 200:
                return call.result.decode(loads(data), "$")
            told = error_of(loads(data))
        except WireError as error:
            log.error("vault.answer_malformed", call=name, status=status, param=error.param)
            raise _unavailable() from None
        if told is None or told.code == "internal":
            log.error("vault.call_failed", call=name, status=status)
            raise _unavailable()
        if isinstance(told, ForbiddenError):
            # An operator's matter: with another credential the same call may go through later.
            log.error("vault.access_refused", call=name, reason=told.code)
            raise _unavailable()
        raise told


def _unavailable() -> UnavailableError:
    return UnavailableError(
        "vault.unavailable", "The vault does not answer; ask again.", retry_after_ms=_RETRY_AFTER_MS
    )
