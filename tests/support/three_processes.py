"""Three real processes: ``vitrine serve``, ``vitrine vault serve`` and the simulated acquirer.

Each can be killed, stopped in the middle of what it does, and started again. Whatever they write is below one
folder, temporary files included, so that a test can search all of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx

from tests.support.gateway import free_port
from tests.support.seed import Seed
from tests.support.vault_apart import ApartShop, VaultHost, issue
from tests.wallets.vault.providers.stands import API_KEY, AcquirerServer
from wallets.vault.credentials import Role
from wallets.vault.http.settings import VaultSettings

ROOT = Path(__file__).parents[2]
CLI = "from gateway.cli import main; main()"


class Program:
    """A real program of ours with its output in a file; can be killed and started again."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self._arguments = [sys.executable, *arguments]
        # Nothing of the test runner's own environment, which may name anything.
        temporary = log.parent / "temporary"
        temporary.mkdir(exist_ok=True)
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            # Whatever goes through a temporary file is searched too.
            **dict.fromkeys(("TMPDIR", "SQLITE_TMPDIR"), str(temporary)),
            **environment,
        }
        self._log = log
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._arguments, env=self._environment, cwd=self._log.parent, stdout=output, stderr=output
            )

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL, self._log.read_text()[-2000:]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Within this it stands still: connections to it are taken, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    async def until(self, url: str, within_s: float = 40) -> None:
        give_up_at = time.monotonic() + within_s
        async with httpx.AsyncClient() as http:
            while time.monotonic() < give_up_at:
                assert self.process.poll() is None, self._log.read_text()[-3000:]
                try:
                    await http.get(url)
                    return
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        raise AssertionError(f"{url} does not answer: {self._log.read_text()[-3000:]}")


class Processes:
    """The three of them, and the shop as its customers see it."""

    shop: ApartShop
    gateway: Program
    vault: Program
    acquirer: Program
    beyond: AcquirerServer
    """What tests ask the acquirer: its faults, its clock, what it has done."""

    async def vault_anew(self) -> None:
        """kill -9 of the vault, and its next life on the same files."""
        await asyncio.to_thread(self.vault.kill)
        self.vault.start()
        await self.vault.until(f"{self.shop.vault.settings.base_url}/healthz")

    async def gateway_anew(self) -> None:
        """kill -9 of the gateway, and its next life on the same files."""
        await asyncio.to_thread(self.gateway.kill)
        self.gateway.start()
        await self.gateway.until(f"{self.shop.base_url}/healthz")


@asynccontextmanager
async def three_processes(seed: Seed, folder: Path, *acquirer_options: str) -> AsyncIterator[Processes]:
    """Start them on a copy of the seed, each in a folder of its own below ``folder``; all are gone afterwards."""
    ports = {name: free_port() for name in ("gateway", "vault", "acquirer")}
    url = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    data = {name: folder / name for name in ports}
    data_dir = await asyncio.to_thread(seed.copy, data["gateway"])
    credential = await issue(VaultSettings(data_dir=data["vault"]), Role.GATEWAY, "three")
    found = Processes()
    found.beyond = AcquirerServer(url["acquirer"])
    found.acquirer = Program(
        [
            *("-m", "wallets.vault.providers.acquirer", "serve", "--port", str(ports["acquirer"])),
            *("--data-dir", str(data["acquirer"]), "--slow-ms", "400"),
            *acquirer_options,
        ],
        {"VITRINE_ACQUIRER_KEY": API_KEY.reveal()},
        folder / "acquirer.log",
    )
    found.vault = Program(
        ["-c", CLI, "vault", "serve"],
        {
            "VITRINE_VAULT_DATA_DIR": str(data["vault"]),
            "VITRINE_VAULT_PORT": str(ports["vault"]),
            "VITRINE_VAULT_ACQUIRER_URL": url["acquirer"],
            "VITRINE_VAULT_ACQUIRER_KEY": API_KEY.reveal(),
            "VITRINE_VAULT_PROVIDER_DEADLINE_MS": "300",
        },
        folder / "vault.log",
    )
    found.gateway = Program(
        ["-c", CLI, "serve"],
        {
            "VITRINE_DATA_DIR": str(data_dir),
            "VITRINE_PORT": str(ports["gateway"]),
            "VITRINE_VAULT_URL": url["vault"],
            "VITRINE_VAULT_CREDENTIAL": credential,
            # Less to load and to search; cards are the same to what is minted.
            "VITRINE_MINT": "off",
            "VITRINE_DISPATCH_AFTER_MS": "50",
            "VITRINE_DELIVER_AFTER_MS": "50",
        },
        folder / "gateway.log",
    )
    found.shop = ApartShop(url["gateway"], seed.keys, data_dir)
    found.shop.vault = VaultHost(
        VaultSettings(data_dir=data["vault"], port=ports["vault"]), folder / "vault.log"
    )
    programs = (found.acquirer, found.vault, found.gateway)
    for program in programs:
        program.start()
    try:
        for name, program in zip(("acquirer", "vault", "gateway"), programs, strict=True):
            await program.until(f"{url[name]}/healthz")
        yield found
    finally:
        await found.shop.http.aclose()
        for program in programs:
            program.process.kill()
            program.process.wait()
