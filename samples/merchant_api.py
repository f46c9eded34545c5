"""A merchant's server asking its gateway over HTTP, with the standard library alone."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any


class MerchantApi:
    """The merchant API of one gateway with one merchant's key."""

    def __init__(self, url: str, api_key: str, timeout_s: float = 10.0) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._timeout_s = timeout_s

    async def get(self, path: str) -> Any:
        """Return the document at a path; raises urllib.error.HTTPError for a problem."""
        return await asyncio.to_thread(self._get, path)

    async def books(self) -> dict[tuple[str, str], int]:
        """Return the merchant's balances by account and unit. Debit is positive, credit negative."""
        found = await self.get("/v1/merchant/books")
        return {(one["account"], one["unit"]): one["amount"] for one in found["balances"]}

    def _get(self, path: str) -> Any:
        asking = urllib.request.Request(self._url + path, headers=self._headers)
        with urllib.request.urlopen(asking, timeout=self._timeout_s) as answer:
            return json.load(answer)
