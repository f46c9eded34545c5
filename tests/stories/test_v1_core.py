"""V1: what a vault leaves behind when it crashes holds no card number and no security code.

A real core dump: the process may write one of any size, has just stored cards, and is aborted. Codes lie in its
memory for a while after they were used, as Python frees what it cannot wipe.
"""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stories.test_canary import AMEX_CODE, CODE, HOLDER, NAMED_CODES, enter
from tests.support.memory import found_in_memory
from tests.support.secrets_in_files import secrets_in_files
from tests.support.seed import Seed
from tests.support.three_processes import three_processes
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME


@pytest.fixture
def cores_of_any_size() -> Iterator[None]:
    """What is started from here may leave a core."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if not pattern.exists() or pattern.read_text().startswith(("|", "/")) or before[1] == 0:
        pytest.skip("this machine leaves no core files beside a program")
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.timeout(90)
async def test_v1_a_vault_that_crashes_leaves_no_card_behind(
    seed: Seed, tmp_path: Path, cores_of_any_size: None
) -> None:
    numbers = {TEST_CARDS_BY_NAME[name].number for name in ("visa", "amex", "mastercard")}
    async with three_processes(seed, tmp_path) as processes:
        customer = await processes.shop.customer()
        for name in ("visa", "amex", "mastercard", "insufficient_funds", "challenge", "slow"):
            code = AMEX_CODE if name == "amex" else CODE
            number = TEST_CARDS_BY_NAME[name].number
            assert (await enter(processes.shop, customer, number, code)).is_success
        vault = processes.vault.process
        held = await asyncio.to_thread(found_in_memory, vault.pid, numbers | NAMED_CODES)
        assert held, "there was something to leave behind"
        vault.send_signal(signal.SIGABRT)
        assert await asyncio.to_thread(vault.wait, 20) == -signal.SIGABRT
        found = await asyncio.to_thread(
            lambda: list(secrets_in_files(tmp_path, {*numbers, *NAMED_CODES, HOLDER}))
        )
        assert not found, "\n".join(map(str, found))
