"""V1 and S8: with the vault apart, no card number and no security code is ever anywhere in a gateway.

Three real processes: ``vitrine serve``, ``vitrine vault serve`` and the simulated acquirer. Canary cards go
through approval, decline, silence, malformed input, a provider that stands still while a code is checked, and
kill -9, also in that very moment; then the memory of the living gateway, its logs, databases, write-ahead logs,
temporary files and events are searched byte by byte. The vault may have numbers in its memory, and nowhere else;
a security code is in none of its files.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stories.test_vault_apart import bought
from tests.support.buying import until
from tests.support.evidence import Evidence
from tests.support.gateway import Customer
from tests.support.memory import found_in_memory
from tests.support.secrets_in_files import forms, secrets_in_files
from tests.support.seed import ATELIER, Seed
from tests.support.three_processes import Processes, three_processes
from tests.support.vault_apart import ApartShop, entered
from wallets.vault.port import CardEntry
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME

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


async def page_of(shop: ApartShop, customer: Customer) -> str:
    opened = await shop.merchant("POST", f"/customers/{customer.customer_id}/card-sessions", json={})
    return str(opened["url"])


async def enter(shop: ApartShop, customer: Customer, number: str, code: str) -> Any:
    return await entered(
        shop.http, await page_of(shop, customer), CardEntry.typed(number, 12, 2031, code, HOLDER)
    )


async def while_a_code_is_checked(processes: Processes, customer: Customer) -> None:
    """The provider does not answer in time; and the vault dies with the code in its hands."""
    shop = processes.shop
    amex = TEST_CARDS_BY_NAME["amex"].number
    with processes.acquirer.stopped():
        slow = await enter(shop, customer, amex, AMEX_CODE)
        assert (slow.status_code, slow.json()["code"]) == (503, "vault.provider_unavailable")
        page = await page_of(shop, customer)
        card = CardEntry.typed(amex, 12, 2031, AMEX_CODE, HOLDER)
        entering = asyncio.create_task(entered(shop.http, page, card))
        await until(lambda: asyncio.to_thread(attempts_held, shop))
        await asyncio.to_thread(processes.vault.kill)
        with pytest.raises(httpx.TransportError):
            await entering
    processes.vault.start()
    await processes.vault.until(f"{shop.vault.settings.base_url}/healthz")


def attempts_held(shop: ApartShop) -> int:
    """How many pages are in the middle of storing a card."""
    return Evidence(shop.vault.settings.data_dir).count(
        "vault_card_session",
        "attempts > 0 AND payment_method_id IS NULL AND busy_until_ms > ?",
        time.time_ns() // 1_000_000,
        database="vault",
    )


def codes_in(folder: Path) -> Iterator[str]:
    """Yield where a security code stands alone: in quotes or after an equals sign in a file, as a value in a row.

    Three digits in the middle of others prove nothing; nothing else of the story consists of just these.
    """
    alone = re.compile(rb"""["'=](%s)["'&\\]""" % b"|".join((CODE.encode(), AMEX_CODE.encode())))
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        data = file.read_bytes()
        if found := alone.search(data):
            yield f"{file.relative_to(folder)}: {data[max(0, found.start() - 30) : found.end() + 30]!r}"
        if data.startswith(b"SQLite format 3"):
            yield from (f"{file.name}.{place}" for place in _codes_in_rows(file))


def _codes_in_rows(file: Path) -> Iterator[str]:
    codes = {CODE, AMEX_CODE}
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f"SELECT * FROM {table}"):
                told = (value.decode("latin-1") if isinstance(value, bytes) else value for value in row)
                if codes.intersection(value for value in told if isinstance(value, str)):
                    yield f"{table}: {row!r}"


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
    await while_a_code_is_checked(processes, customer)
    for name in CARDS:
        number = TEST_CARDS_BY_NAME[name].number
        answer = await enter(shop, customer, number, AMEX_CODE if name == "amex" else CODE)
        assert answer.is_success, answer.text
        customer.methods[name] = await shop.method(customer, number[-4:])
    for name in CARDS:
        await bought(shop, customer, customer.methods[name], name, MUG)
        if name == "answer_lost":
            await processes.vault_anew()
        if name == "challenge":
            await processes.gateway_anew()

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
    assert not list(codes_in(tmp_path))
    (tmp_path / "log").write_text(f'{{"what": "{CODE}"}}')
    with sqlite3.connect(tmp_path / "some.db") as connection:
        connection.execute("CREATE TABLE kept (text TEXT)")
        connection.execute("INSERT INTO kept VALUES (?)", (AMEX_CODE,))
    assert len(list(codes_in(tmp_path))) == 2
    assert len(set(forms(number))) >= 6


async def nowhere(folder: Path) -> None:
    """Fail with every file that holds a canary or a code."""
    found = await asyncio.to_thread(lambda: [*secrets_in_files(folder, CANARIES), *codes_in(folder)])
    assert not found, "\n".join(map(str, found))


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
        await nowhere(tmp_path)
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
        await nowhere(tmp_path)
