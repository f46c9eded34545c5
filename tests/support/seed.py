"""A data directory with the sample catalog in it, made once per test session and copied by every test."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from gateway.app import Gateway
from gateway.commands import merchant as commands
from gateway.settings import Settings
from tests.support.evidence import Evidence

SAMPLES = Path(__file__).parents[2] / "samples" / "catalog"
ATELIER, HARBOUR = "atelier-nord", "harbour-and-thread"


@dataclass(frozen=True)
class Seed:
    """A closed gateway's files, and the API key of each merchant by its slug."""

    data_dir: Path
    keys: dict[str, str]

    def copy(self, to: Path) -> Path:
        """Return a copy of the files that a test may change."""
        shutil.copytree(self.data_dir, to)
        return to


def make_seed(data_dir: Path, catalog: Path = SAMPLES) -> Seed:
    """Open a gateway on an empty directory, import a catalog, wait for its editions on the chain, close."""
    return asyncio.run(_make(data_dir, catalog))


async def _make(data_dir: Path, catalog: Path) -> Seed:
    gateway = await Gateway.open(Settings(data_dir=data_dir, port=1, mint_window_ms=20), checked=True)
    try:
        await commands.import_catalog(gateway.context, catalog)
        keys = {
            merchant.slug: await commands.create_api_key(gateway.context, merchant.merchant_id, "tests")
            for merchant in gateway.context.catalog.current.merchants.values()
        }
        async with asyncio.timeout(20):
            while Evidence(data_dir).count("token_item", "state <> 'defined'"):
                await asyncio.sleep(0.05)
    finally:
        await gateway.close()
    return Seed(data_dir, keys)
