"""``vitrine vault serve`` as a real process: what it loads, what it refuses, whom it knows."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway.settings import Settings, SettingsError
from tests.support.gateway import free_port
from tests.support.vault_apart import VaultHost, entered, issue
from tests.wallets.vault.shop import card
from wallets.vault.credentials import Role
from wallets.vault.http.settings import VaultSettings, VaultSettingsError
from wallets.vault.remote import RemoteVault

ROOT = Path(__file__).parents[3]
CHAINS = ("web3", "eth", "eth_", "coincurve", "vyper", "rlp", "trimesh", "numpy", "fastapi")

LOADED = """
import asyncio, sys
from wallets.vault.http import serving
from wallets.vault.http.settings import VaultSettings

def ready(process):
    print(*sorted(sys.modules), flush=True)
    asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)

sys.argv = ["vitrine", "vault", "serve", "--port", "0"]
serve = serving.serve
serving.serve = lambda settings, ready=None, own=ready: serve(settings, ready=own)
from gateway.cli import main
main()
"""


def _run(program: str, data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={**os.environ, "VITRINE_VAULT_DATA_DIR": str(data_dir), **environment},
    )


def test_the_vault_process_loads_the_kernel_the_vault_and_its_command_alone(tmp_path: Path) -> None:
    done = _run(LOADED, tmp_path)
    loaded = done.stdout.split()
    assert "wallets.vault.http.api" in loaded, done.stderr
    ours = {name for name in loaded if name.startswith(("gateway.", "wallets.", "fulfillment"))}
    allowed = ("gateway.kernel", "wallets.vault", "gateway.cli", "gateway.cli_vault", "gateway.logs")
    assert {name for name in ours if not name.startswith(allowed)} == set()
    assert [name for name in loaded if name.split(".")[0] in CHAINS or name.startswith("eth_")] == []


async def test_the_process_serves_gateways_and_customers(tmp_path: Path) -> None:
    settings = VaultSettings(data_dir=tmp_path, port=free_port())
    secret = await issue(settings, Role.GATEWAY, "one")
    host = VaultHost(settings, tmp_path / "log")
    host.start()
    try:
        await host.until_ready()
        remote = RemoteVault(settings.base_url, secret)
        session = await remote.open_card_session("cus_ada", None)
        assert session.url.startswith(settings.base_url)
        async with httpx.AsyncClient() as http:
            assert (await entered(http, session.url, card())).is_success
        (method,) = await remote.methods("cus_ada")
        assert method.last4 == "4242"
        await asyncio.to_thread(host.kill)
        host.start()
        await host.until_ready()
        assert await remote.methods("cus_ada") == [method], "connections are made anew"
        await remote.close()
        with pytest.raises(AssertionError, match="another vault uses"):
            second = VaultHost(VaultSettings(data_dir=tmp_path, port=free_port()), tmp_path / "second")
            second.start()
            await second.until_ready()
        await asyncio.to_thread(host.terminate)
    finally:
        host.destroy()
    assert secret not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"VITRINE_VAULT_HOST": "0.0.0.0"}, "TLS_CERTIFICATE"),
        ({"VITRINE_VAULT_TLS_KEY": "/k"}, "go together"),
        ({"VITRINE_VAULT_PORT": "many"}, "VITRINE_VAULT_PORT"),
        ({"VITRINE_VAULT_KMS_KEYS": "one,two"}, "three keys"),
        ({"VITRINE_VAULT_STRIPE_URL": "http://psp.example"}, "STRIPE_URL"),
        ({"VITRINE_VAULT_ACQUIRER_URL": "http://10.0.0.9:8090"}, "ACQUIRER_URL"),
    ],
)
def test_settings_that_are_not_safe_or_not_readable_are_refused_by_name(
    environment: dict[str, str], told: str
) -> None:
    with pytest.raises(VaultSettingsError, match=told):
        VaultSettings.load(environment)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"VITRINE_VAULT_PRODUCTION": "1"}, "live provider"),
        ({"VITRINE_VAULT_PRODUCTION": "1", "VITRINE_VAULT_STRIPE_KEY": "sk_live_x"}, "key service"),
        ({"VITRINE_VAULT_STRIPE_KEY": "sk_live_x"}, "key service"),
        ({"VITRINE_VAULT_ACQUIRER_URL": "http://127.0.0.1:9"}, "ACQUIRER_KEY"),
        ({"VITRINE_VAULT_STRIPE_KEY_FILE": "/nowhere"}, "STRIPE_KEY_FILE"),
    ],
)
def test_a_vault_that_cannot_open_says_why_and_ends(
    tmp_path: Path, environment: dict[str, str], told: str
) -> None:
    done = _run(
        "import sys; sys.argv = ['vitrine', 'vault', 'serve', '--port', '0']; from gateway.cli import main; main()",
        tmp_path,
        **environment,
    )
    assert done.returncode == 1
    assert told in done.stderr and "Traceback" not in done.stderr


def test_keys_are_in_no_repr_of_settings() -> None:
    database_url = "postgresql://vault:k3y@db/vault"
    vault = VaultSettings(acquirer_key="k3y", stripe_key="k3y", webhook_key="k3y", database_url=database_url)
    gateway = Settings(vault_credential="k3y")
    assert "k3y" not in f"{vault!r} {gateway!r}"


def test_a_gateway_reads_its_credential_from_a_file_and_keeps_it_off_the_open_wire(tmp_path: Path) -> None:
    file = tmp_path / "credential"
    file.write_text("vvc_secret\n")
    environment = {"VITRINE_VAULT_URL": "https://vault.example", "VITRINE_VAULT_CREDENTIAL_FILE": str(file)}
    assert Settings.load(environment).vault_secret() == "vvc_secret"
    for url in ("http://vault.example", "ftp://localhost", "vault.example"):
        with pytest.raises(SettingsError, match="must be https"):
            Settings.load({**environment, "VITRINE_VAULT_URL": url}).vault_secret()
    with pytest.raises(SettingsError, match="missing"):
        Settings.load({"VITRINE_VAULT_URL": "https://vault.example"}).vault_secret()
    with pytest.raises(SettingsError, match="cannot be read"):
        Settings.load({**environment, "VITRINE_VAULT_CREDENTIAL_FILE": "/nowhere"}).vault_secret()
