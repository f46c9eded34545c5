"""Which endpoints of a chain are taken from the settings, and what a gateway does with them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.app import Gateway
from gateway.cli import app
from gateway.settings import Settings, SettingsError
from tests.support.anvil import anvil
from tests.support.gateway import free_port
from tests.support.rpc_proxy import Limit, rpc_proxy
from wallets.custody.local_signer import LocalSigner
from wallets.minting.contract import verify
from wallets.minting.requests import define_item


def test_no_endpoint_is_the_embedded_chain() -> None:
    assert Settings.load({}).chain_urls == ()


def test_endpoints_keep_their_order() -> None:
    settings = Settings.load({"VITRINE_CHAIN_URL": "https://one.example/key, http://127.0.0.1:8545 ,"})
    assert settings.chain_urls == ("https://one.example/key", "http://127.0.0.1:8545")
    assert "one.example" not in repr(settings), "an address may hold a key"


@pytest.mark.parametrize("value", ["foo", "http://127.0.0.1:9,http://127.0.0.1:9"])
def test_endpoints_that_cannot_be_used_are_told_before_anything_opens(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_CHAIN_URL", value)
    for words in (["serve", "--port", "0"], ["merchants", "list"]):
        told = CliRunner().invoke(app, [*words, "--data-dir", str(tmp_path / "data")])
        assert (told.exit_code, told.stderr.count("\n")) == (2, 1), told.output
        assert told.stderr.startswith("VITRINE_CHAIN_URL: endpoint ")
    assert not (tmp_path / "data").exists()


def test_where_no_endpoint_answers_the_setting_is_named(tmp_path: Path) -> None:
    environment = {"VITRINE_CHAIN_URL": f"http://127.0.0.1:{free_port()}"}
    told = CliRunner(env=environment).invoke(app, ["serve", "--port", "0", "--data-dir", str(tmp_path)])
    assert told.exit_code == 1
    (line,) = [line for line in told.stderr.splitlines() if line.startswith("Vitrine cannot open")]
    assert "no endpoint of VITRINE_CHAIN_URL answered" in line


def test_verifying_over_an_endpoint_that_is_away_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([f"0x{1:040x}", f"http://127.0.0.1:{free_port()}/secret"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("the endpoint gave no usable answer: ") and told.err.count("\n") == 1
    assert "secret" not in told.err and not told.out


@pytest.mark.parametrize("value", ["ws://one.example", "one.example:8545", "https:///path", "file:///tmp/x"])
def test_what_is_no_http_address_is_refused_without_being_told(value: str) -> None:
    with pytest.raises(SettingsError, match="endpoint 1") as refused:
        _ = Settings(chain_url=value).chain_urls
    assert value not in str(refused.value)


def test_an_endpoint_that_would_agree_with_itself_is_refused() -> None:
    with pytest.raises(SettingsError, match="named twice"):
        _ = Settings(chain_url="https://one.example,https://two.example,https://one.example").chain_urls


async def test_a_gateway_opens_over_the_second_endpoint_and_closes_under_throttling(tmp_path: Path) -> None:
    signer = await asyncio.to_thread(LocalSigner.open, tmp_path / "keys")
    async with anvil(tmp_path) as node, rpc_proxy(node.url) as first, rpc_proxy(node.url) as second:
        await node.ask("anvil_setBalance", await signer.address("minter/0"), hex(10**21))
        first.status = 503
        gateway = await Gateway.open(
            Settings(data_dir=tmp_path, port=1, chain_url=f"{first.url},{second.url}"), checked=True
        )
        assert gateway.minting is not None
        assert gateway.minting.chain_id == 31337
        assert second.asked["eth_sendRawTransaction"] >= 1
        first.status = None
        for proxy in (first, second):
            proxy.limit, proxy.retry_after = Limit(0.01), "60"
        await gateway.context.store.write(
            lambda uow: define_item(uow, item_number=7, sku="mask", cap=None, numbered=False, uri="")
        )
        async with asyncio.timeout(10):
            while not second.refused:
                await asyncio.sleep(0.01)
        start = time.monotonic()
        await gateway.close()
        assert time.monotonic() - start < 5, "no lane waits for the minute that was asked for"
