"""The vault process: builds every part once, serves, closes all again."""

from __future__ import annotations

import asyncio
import fcntl
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO, Self

import uvicorn
from starlette.types import ASGIApp

from gateway.kernel.bounded_http import BoundedProtocol
from gateway.kernel.clock import Clock, SystemClock
from gateway.kernel.ids import IdSource, TimeSortedIds
from gateway.kernel.interpreter import tune
from wallets.vault.http.access import Access
from wallets.vault.http.api import create_vault_api
from wallets.vault.http.card_pages import CardPages
from wallets.vault.http.delegated import DelegatedRoute
from wallets.vault.http.operating import Operating
from wallets.vault.http.providing import open_served_vault
from wallets.vault.http.settings import VaultSettings
from wallets.vault.http.webhook_route import WebhookRoute
from wallets.vault.listening import listen
from wallets.vault.whole import WholeVault

_KEPT_ALIVE_S = 75
"""Longer than `remote.RemoteVault` keeps an idle connection, so that it is never closed under a request."""


class VaultProcess:
    """A vault with its API and pages. Make it with `open`; `asgi` serves it."""

    def __init__(self, settings: VaultSettings) -> None:
        self.settings = settings
        self._closing = AsyncExitStack()
        self.vault: WholeVault
        self.asgi: ASGIApp

    @classmethod
    async def open(
        cls, settings: VaultSettings, *, clock: Clock | None = None, ids: IdSource | None = None
    ) -> Self:
        """Open databases and keys. Raises KeyUseError, RuntimeError when another process uses the files."""
        process = cls(settings)
        try:
            await process._build(clock or SystemClock(), ids)
        except BaseException:
            await process.close()
            raise
        return process

    async def close(self) -> None:
        """Finish what is under way and close every file."""
        await self._closing.aclose()

    async def _build(self, clock: Clock, given_ids: IdSource | None) -> None:
        settings = self.settings
        ids = given_ids or TimeSortedIds(clock)
        await asyncio.to_thread(settings.data_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
        self._closing.callback(_lock(settings.data_dir / "vault.lock").close)
        self.vault, provider_pages = await open_served_vault(settings, clock, ids, self._closing)
        webhooks = WebhookRoute(self.vault)
        webhooks.start()
        self._closing.push_async_callback(webhooks.stop)
        access = Access(self.vault.store, clock)
        self._closing.push_async_callback(access.close)
        delegated = DelegatedRoute(self.vault, access)
        delegated.start()
        self._closing.push_async_callback(delegated.stop)
        self.asgi = create_vault_api(
            self.vault,
            access,
            [
                *webhooks.routes(),
                *Operating(self.vault, access).routes(),
                *CardPages(self.vault.intake).routes(),
                *delegated.routes(),
                *provider_pages,
            ],
            pages_url=settings.base_url,
        )


class VaultServer(uvicorn.Server):
    """A uvicorn server for a vault that is opened and closed by us, not by its lifespan."""

    def __init__(self, asgi: ASGIApp, settings: VaultSettings, listening: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                asgi,
                http=BoundedProtocol,
                # A header that says where a request came from can be written by anybody; the audit trail
                # has the address of the connection.
                proxy_headers=False,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEPT_ALIVE_S,
                timeout_graceful_shutdown=5,
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
            )
        )
        self._listening = listening

    async def run_until_stopped(self) -> None:
        """Serve until a signal or `stop`."""
        await self.serve(sockets=[self._listening])

    def stop(self) -> None:
        """Ask the server to end."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in order; uvicorn would raise the signal again in the middle of closing the databases."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


async def serve(settings: VaultSettings, *, ready: Callable[[VaultProcess], None] | None = None) -> None:
    """Open a vault and serve it until the process is told to stop."""
    listening = listen(settings.host, settings.port)
    settings = replace(settings, port=listening.getsockname()[1])
    process = await VaultProcess.open(settings)
    tune()
    try:
        if ready is not None:
            ready(process)
        await VaultServer(process.asgi, settings, listening).run_until_stopped()
    finally:
        await process.close()


def run(settings: VaultSettings, *, ready: Callable[[VaultProcess], None] | None = None) -> None:
    """Blocking form of `serve`, on uvloop where it is installed."""
    leave_no_core()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(settings, ready=ready))
        return
    uvloop.run(serve(settings, ready=ready))


def leave_no_core() -> None:
    """Have a crash leave nothing of this process's memory on a disk (PCI DSS 3.3.1: codes are unrecoverable).

    A code stays in freed memory until that is used again: Python cannot wipe what it frees. The limit stops
    core files; a program that the kernel hands cores to is given one without memory (core(5)).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mapped = Path("/proc/self/coredump_filter")
    if mapped.exists():
        mapped.write_text("0")


def _lock(path: Path) -> IO[str]:
    """Take the data directory for this process; released when the process ends, however it ends."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RuntimeError(f"another vault uses {path.parent}") from None
    return file
