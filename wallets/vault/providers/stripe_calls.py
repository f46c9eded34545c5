"""Calls to a Stripe-compatible API over HTTP: form encoding, keys, and what an HTTP status means."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from wallets.vault.providers.port import NoAnswerError
from wallets.vault.secret import Secret

_API_VERSION = "2025-09-30.clover"
_PAGE = 100
_MOST_PAGES = 50

# Refused before anything was done, and certain to be refused again. Every other status says nothing about
# the operation: 401 and 403 are a matter of our key, 409 of a lock, 429 of our rate, 5xx of Stripe.
_DEFINITE = (400, 402, 404)


class RefusedError(Exception):
    """An explicit no. ``error`` is the ``error`` object of the answer."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"refused with {status}")
        self.status = status
        self.error = error

    @property
    def is_decline(self) -> bool:
        return self.status == 402


class StripeCalls:
    """One connection pool. Every method may raise NoAnswerError or RefusedError."""

    def __init__(self, base_url: str, key: Secret, *, timeout_ms: int) -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {key.reveal()}", "stripe-version": _API_VERSION},
            timeout=timeout_ms / 1000,
            follow_redirects=False,
        )

    async def post(self, path: str, form: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Send a form under an idempotency key. Nested forms become ``outer[inner]``."""
        return await self._answer(
            self._http.build_request("POST", path, data=flat(form), headers={"idempotency-key": key})
        )

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return await self._answer(self._http.build_request("GET", path, params=flat(query or {})))

    async def each(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Walk a list to its end. Raises NoAnswerError for a list that is too long to be read."""
        page: dict[str, Any] = {**query, "limit": _PAGE}
        for _ in range(_MOST_PAGES):
            answer = await self.get(path, page)
            items = answer["data"]
            for item in items:
                yield item
            if not answer.get("has_more") or not items:
                return
            page["starting_after"] = items[-1]["id"]
        raise NoAnswerError("the list has no end")

    async def close(self) -> None:
        await self._http.aclose()

    async def _answer(self, request: httpx.Request) -> dict[str, Any]:
        try:
            response = await self._http.send(request)
            document = response.json()
        except (httpx.HTTPError, ValueError) as error:
            # Not chained: the error holds the request, and the request may hold a card.
            raise NoAnswerError(type(error).__name__) from None
        if not isinstance(document, dict):
            raise NoAnswerError("the answer is no object")
        if response.status_code == 200:
            return document
        error_object = document.get("error")
        if response.status_code in _DEFINITE and isinstance(error_object, dict):
            raise RefusedError(response.status_code, error_object)
        raise NoAnswerError(f"status {response.status_code}")


def flat(form: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a nested mapping as Stripe's form fields. None is left out."""
    fields: dict[str, str] = {}
    for name, value in form.items():
        field = f"{prefix}[{name}]" if prefix else name
        if isinstance(value, Mapping):
            fields.update(flat(value, field))
        elif isinstance(value, bool):
            fields[field] = "true" if value else "false"
        elif value is not None:
            fields[field] = str(value)
    return fields
