"""V1 and S8: with the vault apart, no card number and no security code is ever anywhere in a gateway.

Three real processes: ``vitrine serve``, ``vitrine vault serve`` and the simulated acquirer. Canary cards go
through approval, decline, silence, malformed input and kill -9; then the memory of the living gateway, its
logs, databases, write-ahead logs and events are searched byte by byte. The vault may have numbers in its
memory, and nowhere else; a security code is in none of its files.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stories.test_vault_apart import bought
from tests.support.buying import until
from tests.support.gateway import Customer, free_port
from tests.support.memory import found_in_memory
from tests.support.secrets_in_files import forms, secrets_in_files
from tests.support.seed import ATELIER, Seed
from tests.support.vault_apart import ApartShop, VaultHost, entered, issue
from wallets.vault.credentials import Role
from wallets.vault.http.settings import VaultSettings
from wallets.vault.port import CardEntry
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME

ROOT = Path(__file__).parents[2]
CLI = "from gateway.cli import main; main()"
MUG = "FJORD-MUG:physical"
CODE, AMEX_CODE = "739", "7391"
LONG_CODE = "83915520467"
"""No code has eleven digits: it goes through the way of malformed input, and can be searched for."""
HOLDER = "Wilhelmina Canary"
UNKNOWN = "4929420573595709"
"""Well formed, and not a test card."""
MALFORMED = "4242424242424241"
CARDS = (
    "visa",
    "amex",
    "insufficient_funds",
    "lost_card",
    "answer_lost",
    "never_arrives",
    "challenge",
    "slow",
)
NUMBERS = {TEST_CARDS_BY_NAME[name].number for name in CARDS} | {
    UNKNOWN,
    MALFORMED,
    TEST_CARDS_BY_NAME["wrong_security_code"].number,
}
CANARIES = {*NUMBERS, HOLDER, LONG_CODE}
NAMED_CODES = {
    f'{name}{colon}"{code}"'
    for name in ('security_code"', 'cvc"', 'number"')
    for colon in (":", ": ")
    for code in (CODE, AMEX_CODE)
}
"""A code has three or four digits, which turn up by chance; beside its name it does not."""


class Program:
    """A real program of ours with its output in a file; can be killed and started again."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self._arguments = [sys.executable, *arguments]
        # Nothing of the test runner's own environment, which may name anything.
        self._environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
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


@asynccontextmanager
async def three_processes(seed: Seed, folder: Path) -> AsyncIterator[Processes]:
    ports = {name: free_port() for name in ("gateway", "vault", "acquirer")}
    url = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    data = {name: folder / name for name in ports}
    data_dir = await asyncio.to_thread(seed.copy, data["gateway"])
    credential = await issue(VaultSettings(data_dir=data["vault"]), Role.GATEWAY, "canary")
    found = Processes()
    found.acquirer = Program(
        [
            *("-m", "wallets.vault.providers.acquirer", "serve", "--port", str(ports["acquirer"])),
            *("--data-dir", str(data["acquirer"]), "--slow-ms", "400"),
        ],
        {"VITRINE_ACQUIRER_KEY": "acquirer-key"},
        folder / "acquirer.log",
    )
    found.vault = Program(
        ["-c", CLI, "vault", "serve"],
        {
            "VITRINE_VAULT_DATA_DIR": str(data["vault"]),
            "VITRINE_VAULT_PORT": str(ports["vault"]),
            "VITRINE_VAULT_ACQUIRER_URL": url["acquirer"],
            "VITRINE_VAULT_ACQUIRER_KEY": "acquirer-key",
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


async def page_of(shop: ApartShop, customer: Customer) -> str:
    opened = await shop.merchant("POST", f"/customers/{customer.customer_id}/card-sessions", json={})
    return str(opened["url"])


async def enter(shop: ApartShop, customer: Customer, number: str, code: str) -> Any:
    return await entered(
        shop.http, await page_of(shop, customer), CardEntry.typed(number, 12, 2031, code, HOLDER)
    )


async def all_ways(processes: Processes) -> None:
    """Approval, declines, silence, a challenge, malformed cards, and the death of either side in between."""
    shop = processes.shop
    customer = await shop.customer()
    for number, code, status in (
        (MALFORMED, CODE, 400),
        (UNKNOWN, CODE, 400),
        (TEST_CARDS_BY_NAME["visa"].number, LONG_CODE, 400),
        (TEST_CARDS_BY_NAME["wrong_security_code"].number, CODE, 402),
    ):
        assert (await enter(shop, customer, number, code)).status_code == status
    # Sent in the clear to the vault's page, by a script that is not ours.
    page = await page_of(shop, customer)
    clear = {"number": TEST_CARDS_BY_NAME["visa"].number, "security_code": LONG_CODE}
    assert (await shop.http.post(page, json=clear)).status_code == 400
    for name in CARDS:
        number = TEST_CARDS_BY_NAME[name].number
        answer = await enter(shop, customer, number, AMEX_CODE if name == "amex" else CODE)
        assert answer.is_success, answer.text
        customer.methods[name] = await shop.method(customer, number[-4:])
    for name in CARDS:
        await bought(shop, customer, customer.methods[name], name, MUG)
        if name == "answer_lost":
            await asyncio.to_thread(processes.vault.kill)
            processes.vault.start()
            await processes.vault.until(f"{shop.vault.settings.base_url}/healthz")
        if name == "challenge":
            await asyncio.to_thread(processes.gateway.kill)
            processes.gateway.start()
            await processes.gateway.until(f"{shop.base_url}/healthz")

    async def decided() -> bool | None:
        rows = shop.evidence.rows("SELECT state FROM payment_operation WHERE kind = 'authorize'")
        states = {row["state"] for row in rows}
        enough = {"succeeded", "declined", "requires_action"} <= states and "created" not in states
        return True if enough and len(rows) >= len(CARDS) else None

    await until(decided, within_s=40)


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """A search that finds nothing is worth something only if it finds what was planted."""
    number = "4000056655665556"
    program = (
        "import sys, time; digits = '400005665566' + sys.argv[1];"
        "held = [digits, digits.encode(), int(digits)]; print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, number[-4:]], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert found_in_memory(process.pid, {number})
            assert not found_in_memory(process.pid, {"4000056655665572"})
        finally:
            process.kill()
    (tmp_path / "log").write_text("a line about 4000-0566-5566-5556")
    assert list(secrets_in_files(tmp_path, {number}))
    assert len(set(forms(number))) >= 6


@pytest.mark.timeout(170)
async def test_v1_no_canary_is_in_a_gateway_or_in_a_file_of_the_vault(seed: Seed, tmp_path: Path) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("the memory of a process can be searched on Linux only")
    async with three_processes(seed, tmp_path) as processes:
        await all_ways(processes)
        shop = processes.shop
        in_memory = await asyncio.to_thread(
            found_in_memory, processes.gateway.process.pid, CANARIES | NAMED_CODES
        )
        assert not in_memory, "\n".join(in_memory)
        # While all of them live, so that write-ahead logs are there too.
        assert [file.name for file in tmp_path.rglob("*-wal")]
        everywhere = await asyncio.to_thread(lambda: list(secrets_in_files(tmp_path, CANARIES)))
        assert not everywhere, "\n".join(map(str, everywhere))
        in_vault = await asyncio.to_thread(
            found_in_memory, processes.vault.process.pid, {TEST_CARDS_BY_NAME["visa"].number}
        )
        assert in_vault, "the numbers are known where they belong"
        # Sent to the gateway by mistake: refused, and in none of its files.
        answer = await shop.http.post(
            "/v1/merchant/customers/cus_x/payment-methods",
            headers={"Authorization": f"Bearer {shop.keys[ATELIER]}"},
            json={"number": UNKNOWN, "security_code": LONG_CODE},
        )
        assert not answer.is_success and UNKNOWN not in answer.text
        await asyncio.to_thread(processes.gateway.end)
        await asyncio.to_thread(processes.vault.end)
        everywhere = await asyncio.to_thread(lambda: list(secrets_in_files(tmp_path, CANARIES)))
        assert not everywhere, "\n".join(map(str, everywhere))
