"""A capture whose answer was lost and that no query can tell: the settlement file settles it, and the order
hears of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.kernel.clock import utc_datetime
from gateway.payments.reconciler import reconcile
from tests.support.buying import buy, ended
from tests.support.gateway import opened
from tests.support.seed import Seed
from wallets.vault.providers.acquirer.settling import settle_day
from wallets.vault.providers.port import NoAnswerError
from wallets.vault.providers.settlement import settlement_csv


async def test_p9_the_settlement_file_ends_an_unknown_capture(
    seed: Seed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"

    async def forgotten(_: Any) -> None:
        raise NoAnswerError("the provider cannot tell")

    async with opened(seed, data, acquirer_deadline_ms=300) as shop:
        acquirer = shop.gateway.vault.acquirer
        monkeypatch.setattr(acquirer, "find", forgotten)
        customer = await shop.customer("capture_answer_lost")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "HALM-CHAIR:digital", card="capture_answer_lost")
            while not [one for one in await acquirer.effects() if one.kind == "capture"]:
                await asyncio.sleep(0.05)
            effects = await acquirer.effects()
            lines, _ = settle_day(effects, [], utc_datetime(effects[0].at_ms).date())
            path = tmp_path / "settlement.csv"
            path.write_text(settlement_csv(lines))

            def reconciled() -> Result:
                return CliRunner().invoke(app, ["books", "reconcile", str(path), "--data-dir", str(data)])

            # Beside the gateway, which goes on asking in vain.
            first = await asyncio.to_thread(reconciled)
            assert first.exit_code == 1
            assert "missing_here" in first.output
            assert "undecided here, succeeded in the vault now" in first.output
            # What the gateway does every half minute.
            await reconcile(shop.gateway.context.store, shop.gateway.vault)
            await ended(headset, order_id)
            second = await asyncio.to_thread(reconciled)
            assert second.exit_code == 0, second.output
            assert "0 differences" in second.output
        assert len([one for one in await acquirer.effects() if one.kind == "capture"]) == 1
