"""A gateway without sockets: HTTP straight into the application."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.app import Gateway
from gateway.commands import merchant as commands
from gateway.settings import Settings

CATALOG = Path(__file__).parents[2] / "samples" / "catalog"


@dataclass
class Api:
    gateway: Gateway
    http: httpx.AsyncClient
    keys: dict[str, str]

    def as_merchant(self, slug: str = "atelier-nord") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[slug]}"}


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the sample catalog, made once: drawing its pictures takes seconds."""
    data_dir = tmp_path_factory.mktemp("imported") / "data"

    async def make() -> None:
        gateway = await Gateway.open(Settings(data_dir=data_dir, mint=False, workers=False))
        try:
            await commands.import_catalog(gateway.context, CATALOG)
        finally:
            await gateway.close()

    asyncio.run(make())
    return data_dir


@pytest.fixture
async def api(imported: Path, tmp_path: Path) -> AsyncIterator[Api]:
    await asyncio.to_thread(shutil.copytree, imported, tmp_path, dirs_exist_ok=True)
    gateway = await Gateway.open(Settings(data_dir=tmp_path, mint=False, workers=False), checked=True)
    try:
        keys = {
            merchant.slug: await commands.create_api_key(gateway.context, merchant.merchant_id, "test")
            for merchant in gateway.context.catalog.current.merchants.values()
        }
        transport = httpx.ASGITransport(app=gateway.asgi, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http:
            yield Api(gateway, http, keys)
    finally:
        await gateway.close()
