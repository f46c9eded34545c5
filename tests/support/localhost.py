"""A gateway whose public address is a domain, as browsers and authenticators want it for passkeys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.settings import Settings
from tests.support.gateway import QUICK, OpenGateway, free_port
from tests.support.seed import Seed


@asynccontextmanager
async def at_localhost(seed: Seed, folder: Path, **settings: Any) -> AsyncIterator[OpenGateway]:
    """Open a gateway at ``http://localhost`` on a copy of the seed."""
    data_dir, port = seed.copy(folder / "data"), free_port()
    shop = OpenGateway(f"http://localhost:{port}", seed.keys, data_dir)
    await shop.start(
        Settings(data_dir=data_dir, port=port, public_url=shop.base_url, **{**QUICK, **settings})
    )
    try:
        yield shop
    finally:
        await shop.http.aclose()
        await shop.stop()
