"""What is printed when something unexpected fails: enough to find it, and nothing that is secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from sqlalchemy import bindparam, column, select, table

from gateway.identity import tokens
from gateway.kernel.store.statements import Statement
from gateway.logs import configure
from tests.support.gateway import HOLDER, OpenGateway
from tests.support.wire import wired
from wallets.vault.providers.test_cards import AMEX

CODE = "7391"
EXPIRY = 2031


@pytest.fixture(params=[True, False], ids=["json", "terminal"])
def as_json(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[bool]:
    configure(json=request.param)
    yield request.param
    structlog.reset_defaults()


BROKEN = Statement(
    select(column("customer_id"))
    .select_from(table("no_such_table"))
    .where(column("h") == bindparam("digest"))
)
"""The database refuses it with the values in its hands."""


async def test_neither_a_failed_sign_in_nor_a_failed_card_prints_what_is_secret(
    as_json: bool,
    shop: OpenGateway,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    customer = await shop.customer("visa")
    vault = shop.gateway.vault
    verify = vault._providers.default.verify

    with monkeypatch.context() as broken:
        broken.setattr(tokens, "_TOKEN", BROKEN)
        async with wired(shop.base_url) as wire:
            answer = await wire.sign_in(customer.token)
            assert answer["body"]["code"] == "internal"
        header = {"Authorization": f"Bearer {customer.token}"}
        assert (await shop.http.get("/v1/wallet", headers=header)).status_code == 500

    async def fail(*given: Any) -> Any:
        number, code = AMEX, CODE  # what a provider's adapter has in its hands
        raise RuntimeError(f"the provider broke after {len(number) + len(code)} characters")

    monkeypatch.setattr(vault._providers.default, "verify", fail)
    card = {
        "number": AMEX,
        "expiry_month": 12,
        "expiry_year": EXPIRY,
        "security_code": CODE,
        "holder": HOLDER,
    }
    stored = await shop.http.post(
        f"/v1/merchant/customers/{customer.customer_id}/payment-methods",
        headers={"Authorization": f"Bearer {shop.keys['atelier-nord']}"},
        json=card,
    )
    assert stored.status_code == 500
    monkeypatch.setattr(vault._providers.default, "verify", verify)

    captured = capsys.readouterr()
    printed = captured.err + captured.out + caplog.text
    assert "session.sign_in_failed" in printed and "no such table" in printed
    assert "the provider broke after 19 characters" in printed
    assert "Traceback" in printed
    if as_json:
        assert all("event" in json.loads(line) for line in captured.err.splitlines() if line[:1] == "{")
    assert [secret for secret in {AMEX, *shop.secrets} if secret in printed] == []
    assert re.search(rf"\b{CODE}\b", printed) is None
    assert customer.token[:20] not in printed, "nor a part of one"
