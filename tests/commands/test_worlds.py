"""What an operator does with worlds on the command line, and what becomes of consents between facts."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.commands import worlds as commands
from gateway.identity import worlds
from gateway.identity.worlds import Allowed, PlayerConsent, Scope, authenticate_world
from gateway.kernel.clock import ManualClock
from gateway.kernel.store.sqlite import SqliteStore
from gateway.orders.world_notices import WorldEndpoints
from gateway.webhooks import outbox
from gateway.webhooks.signing import SigningKeys
from tests.support.stores import gateway_store

HOOK = "https://game.example/hook"


class Operator:
    """Somebody at the command line, beside a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._runner = CliRunner()

    def says(self, *words: str, fails: bool = False) -> str:
        result = self._runner.invoke(app, ["worlds", *words, "--data-dir", str(self.data_dir)])
        assert (result.exit_code != 0) == fails, result.output
        return result.stderr if fails else result.stdout


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    async def make() -> None:
        async with gateway_store(tmp_path):
            pass

    asyncio.run(make())
    return Operator(tmp_path)


def _in_store(operator: Operator, work: Any) -> Any:
    async def run() -> Any:
        from gateway.kernel.clock import SystemClock
        from gateway.kernel.ids import TimeSortedIds

        clock = SystemClock()
        store = SqliteStore(operator.data_dir / "gateway.db", clock, TimeSortedIds(clock))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _whose(operator: Operator, key: str) -> str:
    found = _in_store(operator, lambda store: store.read(lambda reader: authenticate_world(reader, key)))
    return str(found.world_id)


def test_a_key_is_printed_once_and_can_be_replaced(operator: Operator) -> None:
    key = operator.says("add", "aurora", "--webhook", HOOK).strip()
    assert key.startswith("vwk_") and _whose(operator, key) == "aurora"
    assert key not in operator.says("list")
    new = operator.says("rotate-key", "aurora", "--overlap-hours", "1").strip()
    assert _whose(operator, key) == _whose(operator, new) == "aurora"
    newest = operator.says("rotate-key", "aurora", "--overlap-hours", "0").strip()
    assert _whose(operator, newest) == "aurora"
    with pytest.raises(Exception, match=r"auth\.invalid_token"):
        _whose(operator, new)
    for file in operator.data_dir.rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes()


def _cells(table: str) -> list[list[str]]:
    """Return the rows of a printed table, its header first."""
    lines = [line.strip("┃│ ") for line in table.splitlines() if line[:1] in "┃│"]
    return [[cell.strip() for cell in re.split("[┃│]", line)] for line in lines]


def test_the_list_says_what_is_open_stopped_and_closed(operator: Operator) -> None:
    operator.says("add", "aurora", "--title", "Aurora of the North", "--webhook", HOOK)
    operator.says("add", "borealis")
    header, *rows = _cells(operator.says("list"))
    assert header == ["world", "title", "webhook", "state"]
    assert rows == [
        ["aurora", "Aurora of the North", HOOK, "open"],
        ["borealis", "borealis", "no webhook", "open"],
    ]
    stop = worlds.stop_webhook
    _in_store(operator, lambda store: store.write(lambda uow: stop(uow, "aurora", HOOK, "410")))
    assert "stopped: 410" in operator.says("list")
    assert operator.says("webhook", "aurora", HOOK + "2") == f"notices of aurora go to {HOOK}2\n"
    assert ["aurora", "Aurora of the North", HOOK + "2", "open"] in _cells(operator.says("list"))
    assert operator.says("webhook", "aurora") == "notices of aurora go nowhere\n"
    operator.says("close", "borealis")
    assert "closed" in operator.says("list")
    assert "number" in operator.says("notices", "borealis"), "what it was sent can still be looked at"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("add", "Bad Name"), "world.name"),
        (("add", "aurora"), "world.exists"),
        (("add", "x", "--webhook", "http://game.example/"), "webhook.address"),
        (("webhook", "aurora", "https://127.0.0.1/"), "webhook.address"),
        (("webhook", "nowhere", HOOK), "world.not_found"),
        (("rotate-key", "nowhere"), "world.not_found"),
        (("close", "nowhere"), "world.not_found"),
        (("notices", "aurora", "--replay", "ntc_x"), "notice.not_found"),
        (("notices", "nowhere"), "world.not_found"),
    ],
)
def test_what_cannot_be_done_says_why(operator: Operator, words: tuple[str, ...], code: str) -> None:
    operator.says("add", "aurora", "--webhook", HOOK)
    assert operator.says(*words, fails=True).startswith(code)


def test_who_tries_it_out_is_told_what_allows_this_machine(operator: Operator) -> None:
    operator.says("add", "aurora")
    for url in ("http://127.0.0.1:18474/", "https://localhost/", "https://127.0.0.1/"):
        assert "VITRINE_PRIVATE_WEBHOOKS=on" in operator.says("webhook", "aurora", url, fails=True)


def test_notices_are_listed_by_state_and_sent_again(operator: Operator) -> None:
    operator.says("add", "aurora", "--webhook", HOOK)

    async def write(store: SqliteStore) -> str:
        for number in range(3):
            await store.write(
                lambda uow, number=number: outbox.write_notice(
                    uow, "aurora", "ply_1", "item.granted", {"n": number}, sent=number > 0
                )
            )
        rows = await store.read(lambda reader: outbox.notices_after(reader, "aurora", 0, 10))
        return str(rows[0].notice_id)

    first = _in_store(operator, write)
    assert operator.says("notices", "aurora").count("ntc_") == 3
    assert operator.says("notices", "aurora", "--limit", "1").count("ntc_") == 1
    assert operator.says("notices", "aurora", "--state", "kept").count(first) == 1
    again = operator.says("notices", "aurora", "--replay", first, "--state", "waiting")
    assert again.count("ntc_") == 3 and first in again
    assert operator.says("notices", "aurora", "--state", "odd", fails=True)


def test_signing_keys_are_changed_with_an_overlap(operator: Operator) -> None:
    (first,) = operator.says("signing-keys").splitlines()
    assert first.startswith("1  whpk_")
    both = operator.says("signing-keys", "--rotate").splitlines()
    assert [line[0] for line in both] == ["2", "1"]
    (left,) = operator.says("signing-keys", "--retire").splitlines()
    assert left == both[0]
    assert "only key" in operator.says("signing-keys", "--retire", fails=True)
    assert [key.number for key in SigningKeys(operator.data_dir / "keys").current()] == [2]


def test_where_there_is_no_gateway_no_signing_key_is_made(tmp_path: Path) -> None:
    Operator(tmp_path / "mistyped").says("signing-keys", fails=True)
    assert not (tmp_path / "mistyped").exists()


# --- Consents between facts -------------------------------------------------------------------------


async def _allow(
    store: SqliteStore,
    expires_at_ms: int | None = None,
    *,
    last_seq: int = 0,
    scopes: tuple[Scope, ...] = (Scope.ITEMS,),
) -> PlayerConsent:
    allowed = Allowed("cus_1", "dev_1", "aurora", scopes, expires_at_ms, worlds.new_player_id(), "00" * 16)
    return await store.write(lambda uow: worlds.allow(uow, allowed, last_seq=last_seq))


async def test_what_happened_before_a_consent_that_had_ended_is_never_told(tmp_path: Path) -> None:
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        await commands.add_world(store, "aurora", title="", webhook_url=HOOK)
        endpoints = WorldEndpoints()
        first = await _allow(store, clock.now_ms() + 1000)

        async def after() -> int | None:
            sight = await store.read(lambda reader: endpoints.sight(reader, "aurora", first.player_id))
            return None if sight is None else sight.after_seq

        assert await after() == 0
        clock.advance(1000)
        assert await after() is None, "it has ended by itself"
        await _allow(store, last_seq=7)
        assert await after() == 7, "and a new consent says nothing of what was before"
        await _allow(store, last_seq=9)
        assert await after() == 7, "one that stands goes on"
        await store.write(lambda uow: worlds.revoke(uow, "cus_1", "aurora"))
        assert await after() is None


async def test_wallets_are_hidden_from_a_world_that_may_not_see_them_any_more(tmp_path: Path) -> None:
    async with gateway_store(tmp_path) as store:
        await commands.add_world(store, "aurora", title="", webhook_url=HOOK)
        data = {"item": {"sku": "A", "wallet": "0x1"}, "from": "0x1", "to": "0x2"}

        async def shown(*scopes: Scope) -> dict[str, Any]:
            player = await _allow(store, scopes=scopes)
            sight = await store.read(
                lambda reader: WorldEndpoints().sight(reader, "aurora", player.player_id)
            )
            assert sight is not None
            return sight.shown(data)

        assert await shown(Scope.ITEMS, Scope.WALLETS) == data
        assert await shown(Scope.ITEMS) == {"item": {"sku": "A"}}


async def test_an_address_is_asked_for_at_every_attempt(tmp_path: Path) -> None:
    async with gateway_store(tmp_path) as store:
        await commands.add_world(store, "aurora", title="", webhook_url=HOOK)
        endpoints = WorldEndpoints()

        async def url() -> str | None:
            return await store.read(lambda reader: endpoints.url_of(reader, "aurora"))

        assert await url() == HOOK
        await store.write(lambda uow: endpoints.stop(uow, "aurora", HOOK, "410"))
        assert await url() is None
        await commands.set_webhook(store, "aurora", HOOK)
        assert await url() == HOOK
        await commands.set_webhook(store, "aurora", None)
        assert await url() is None
        await commands.set_webhook(store, "aurora", HOOK)
        await commands.close_world(store, "aurora")
        assert await url() is None
