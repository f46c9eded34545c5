"""ACP's delegated payments in a vault process: the endpoint for agents, and forgetting their cards."""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from starlette.routing import Route

from wallets.vault.acp import DelegatedPayments
from wallets.vault.audit import Actor, acting_as
from wallets.vault.credentials import Role
from wallets.vault.http.access import Access
from wallets.vault.service import VaultService

log = structlog.get_logger("vitrine.vault")

_FORGET_EVERY_S = 600
_SWEEPER = Actor("vault", "vault", "process")
_AGENTS = frozenset({Role.AGENT})


class DelegatedRoute:
    """Serves the endpoint to credentials with the role of an agent."""

    def __init__(self, vault: VaultService, access: Access) -> None:
        async def allow(authorization: str, origin: str) -> str:
            return (await access.allow(authorization, _AGENTS, "delegate_payment", origin)).name

        self._delegated: DelegatedPayments = vault.delegated_payments(allow)
        self._task: asyncio.Task[None] | None = None

    def routes(self) -> list[Route]:
        return self._delegated.routes()

    def start(self) -> None:
        """Forget cards whose tokens have ended, from now on and every ten minutes."""
        self._task = asyncio.create_task(self._forget())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _forget(self) -> None:
        while True:
            try:
                with acting_as(_SWEEPER):
                    while await self._delegated.forgetting.sweep():
                        pass
            except Exception as error:
                # The next round tries again; what is due stays due.
                log.warning("vault.acp_sweep_failed", reason=type(error).__name__)
            await asyncio.sleep(_FORGET_EVERY_S)
