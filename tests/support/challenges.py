"""What customers do on a second screen: from the hosted page to their bank's, and decide there."""

from __future__ import annotations

import html
import re

import httpx


async def bank_page(http: httpx.AsyncClient, page: str) -> str:
    """Follow a hosted page's link to the bank, as this browser; returns the address of the bank's page."""
    shown = await http.get(page)
    assert shown.status_code == 200, shown.text
    found = re.search(r'id="bank"[^>]*href="([^"]+)"', shown.text)
    assert found is not None, "the hosted page leads to no bank"
    sent = await http.get(shown.url.join(html.unescape(found.group(1))))
    assert sent.status_code == 303, sent.text
    return sent.headers["location"]


async def decide(http: httpx.AsyncClient, page: str, decision: str = "approve") -> httpx.Response:
    """Follow a hosted page to the bank and approve or deny there; returns what the bank shows then."""
    return await http.post(f"{await bank_page(http, page)}/{decision}", follow_redirects=True)
