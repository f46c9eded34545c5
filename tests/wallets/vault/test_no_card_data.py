"""Card numbers, security codes and keys are nowhere but where they belong."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.kernel.clock import SystemClock
from gateway.kernel.errors import VitrineError
from gateway.kernel.ids import TimeSortedIds
from tests.wallets.vault.shop import Shop, card, eur
from wallets.vault.embedded import open_embedded_vault
from wallets.vault.port import CardEntry
from wallets.vault.providers import test_cards

CODE = "739"
HOLDER = "Wilhelmina Canary"
LIVE = "4929420573595709"
NUMBERS = (
    test_cards.VISA,
    test_cards.AMEX,
    test_cards.LOST_CARD,
    test_cards.ANSWER_LOST,
    test_cards.NEVER_ARRIVES,
    test_cards.CHALLENGE,
    test_cards.CAPTURE_DECLINED,
    test_cards.WRONG_SECURITY_CODE,
    LIVE,
    "4242424242424241",
)


async def test_no_number_code_name_or_key_is_in_any_file_log_or_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = SystemClock()
    vault = await open_embedded_vault(tmp_path, clock, TimeSortedIds(clock), deadline_ms=50)
    shop = Shop(vault, clock, TimeSortedIds(clock))
    said: list[str] = []
    for number in NUMBERS:
        code = CODE + "6" if number == test_cards.AMEX else CODE
        entry = CardEntry.typed(number, 12, 2035, code, HOLDER)
        said.append(repr(entry))
        try:
            method = await vault.tokenize("cus_ada", entry)
            request = shop.request(shop.terms(method, eur(500)), eur(500))
            result = await vault.authorize(request)
            said += [repr(method), repr(request), repr(result)]
            said.append(repr(await shop.capture(request.operation_id, eur(100))))
            said.append(repr(await vault.operation(request.operation_id)))
        except VitrineError as error:
            said.append(f"{error!r} {error.data!r} {error.__cause__!r} {error.__context__!r}")
    # Once with the database open, so that the write-ahead log and the shared memory are searched too.
    while_open = _files(tmp_path)
    await vault.close()
    keys = [path.read_bytes() for path in (tmp_path / "keys").iterdir()]
    canaries = [text.encode() for number in NUMBERS for text in (number, number[6:])] + [HOLDER.encode()]
    printed = capsys.readouterr()
    texts = [text.encode() for text in (*said, caplog.text, printed.out, printed.err)]
    for contents in (while_open, _files(tmp_path)):
        assert {path.name for path in contents} >= {"vault.db", "acquirer.db"}
        for path, content in contents.items():
            for canary in canaries:
                assert canary not in content, path.name
            if path.parent.name != "keys":
                for key in keys:
                    assert key not in content, path.name
                # Three digits turn up in ids by chance; as text of its own the code must not.
                assert f'"{CODE}"'.encode() not in content, path.name
    for text in texts:
        for canary in (*canaries, *keys, f"'{CODE}'".encode()):
            assert canary not in text


async def test_a_long_security_code_like_canary_is_nowhere(tmp_path: Path) -> None:
    """A code of the wrong length is refused; it must not be kept or repeated on that way out either."""
    clock = SystemClock()
    vault = await open_embedded_vault(tmp_path, clock, TimeSortedIds(clock))
    canary = "83915520467"
    entry = card()
    with pytest.raises(VitrineError) as caught:
        await vault.tokenize("cus_ada", CardEntry.typed(test_cards.VISA, 12, 2035, canary))
    assert canary not in f"{caught.value!r} {entry!r}"
    contents = _files(tmp_path)
    await vault.close()
    assert all(canary.encode() not in content for content in contents.values())


def test_the_vault_loads_nothing_of_the_gateway_but_the_kernel() -> None:
    program = (
        "import sys, wallets.vault.embedded;"
        "ours = ('gateway.', 'wallets.', 'fulfillment');"
        "print(*sorted(name for name in sys.modules if name.startswith(ours)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "wallets.vault.service" in loaded
    assert [name for name in loaded if not name.startswith(("gateway.kernel", "wallets.vault"))] == []


def _files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_writes_settle_before_the_search(tmp_path: Path) -> None:
    """The search above is only worth something if it finds what is there: a planted canary is found."""
    clock = SystemClock()
    vault = await open_embedded_vault(tmp_path, clock, TimeSortedIds(clock))
    await vault.tokenize("cus_planted_canary", card())
    await asyncio.sleep(0)
    assert any(b"cus_planted_canary" in content for content in _files(tmp_path).values())
    await vault.close()
