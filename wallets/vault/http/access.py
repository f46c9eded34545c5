"""Whether a request may make its call: a bearer credential with a role that may.

A credential is looked up in the database once in a few seconds, so a revoked one is refused within
`_REMEMBERED_MS`. Every refusal is recorded (PCI DSS 10.2.1.4), those of unknown callers in numbers.
"""

from __future__ import annotations

import structlog

from gateway.kernel.clock import Clock
from gateway.kernel.errors import ForbiddenError
from gateway.kernel.store.unit import Lane, Store
from wallets.vault import audit
from wallets.vault.credentials import PREFIX, Caller, Role, caller_of, digest
from wallets.vault.http.refusals import AnonymousRefusals

log = structlog.get_logger("vitrine.vault")

_REMEMBERED_MS = 3_000
_MOST_REMEMBERED = 1_000


class Access:
    """Knows the callers of one vault."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._anonymous = AnonymousRefusals(store, clock)
        self._known: dict[str, tuple[Caller, int]] = {}

    async def allow(self, authorization: str, roles: frozenset[Role], call: str, origin: str) -> Caller:
        """Return who calls. Raises ForbiddenError ``credential.required`` or ``credential.role``."""
        known = self._known.get(authorization)
        now_ms = self._clock.now_ms()
        if known is not None and now_ms < known[1]:
            caller: Caller | None = known[0]
        else:
            caller = await self._looked_up(authorization)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            if caller is None:
                self._known.pop(authorization, None)
            else:
                self._known[authorization] = (caller, now_ms + _REMEMBERED_MS)
        if caller is None:
            log.warning("vault.access_refused", caller="unknown", call=call, origin=origin)
            await self._anonymous.note(origin, call, "credential.required")
            raise ForbiddenError("credential.required", "Send Authorization: Bearer with a credential.")
        if caller.role not in roles:
            await self._refuse(caller.role, caller.name, call, origin, "credential.role")
            raise ForbiddenError("credential.role", "This credential's role may not do that.")
        return caller

    async def close(self) -> None:
        """Write down what was only counted yet."""
        await self._anonymous.close()

    async def _looked_up(self, authorization: str) -> Caller | None:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not secret.startswith(PREFIX) or len(secret) > 128:
            return None
        secret_digest = digest(secret)
        return await self._store.read(lambda reader: caller_of(reader, secret_digest))

    async def _refuse(self, role: str, name: str, call: str, origin: str, reason: str) -> None:
        log.warning("vault.access_refused", caller=name, call=call, origin=origin, reason=reason)
        actor = audit.Actor(role, name, origin)
        await self._store.write(
            lambda uow: audit.note(uow, actor, audit.Action.ACCESS, call, outcome=reason),
            lane=Lane.BACKGROUND,
        )
