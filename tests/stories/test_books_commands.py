"""The books of real purchases on the command line: reconciled, closed, checked, exported."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.kernel.clock import utc_datetime
from gateway.ledger.chart import kind_of
from gateway.ledger.days import end_of
from tests.ledger.exports.datev_validator import validate
from tests.ledger.exports.test_beancount import our_sums, their_sums
from tests.support.buying import buy, ended
from tests.support.gateway import opened
from tests.support.peers import bean_check
from tests.support.seed import Seed
from wallets.vault.providers.acquirer.settling import settle_day
from wallets.vault.providers.settlement import bank_csv, settlement_csv

runner = CliRunner()


async def test_l10_a_days_purchases_are_reconciled_checked_and_exported(seed: Seed, tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(seed, data) as shop:
        customer = await shop.customer("visa", "capture_declined")
        async with shop.headset(customer) as headset:
            orders = [
                await buy(headset, customer, item)
                for item in ("KUPPEL-LAMP:bundle", "HALM-CHAIR:digital", "FJORD-MUG:physical")
            ]
            orders.append(await buy(headset, customer, "FJORD-MUG:physical", card="capture_declined"))
            for order_id in orders:
                await ended(headset, order_id)
            await shop.refund(orders[1])
            await headset.event("order.refunded", order_id=orders[1])
        # No check of the story's promises: they know nothing of settlement, and the gateway would be stopped.
        acquirer = shop.gateway.vault.acquirer
        effects = await acquirer.effects()
        captured = max(
            (one for one in effects if one.kind == "capture"), key=lambda one: one.amount.amount_minor
        )
        await acquirer.charge_back(captured.operation_id)
        day = utc_datetime(effects[0].at_ms).date()
        lines, bank = settle_day(await acquirer.effects(), await acquirer.chargebacks(), day)
        files = [tmp_path / "settlement.csv", tmp_path / "bank.csv"]
        files[0].write_text(settlement_csv(lines))
        files[1].write_text(bank_csv(bank))

        def vitrine(*arguments: object) -> Result:
            return runner.invoke(app, ["books", *map(str, arguments), "--data-dir", str(data)])

        # Beside the gateway, which goes on running.
        first = await asyncio.to_thread(vitrine, "reconcile", *files)
        assert first.exit_code == 0, first.output
        assert f"{len(lines) + len(bank)} matched, 0 differences" in first.output
        again = await asyncio.to_thread(vitrine, "reconcile", *files)
        assert "0 new lines, 0 transactions posted" in again.output and again.exit_code == 0
        checked = await asyncio.to_thread(vitrine, "verify")
        assert checked.exit_code == 0 and "0 problems" in checked.output, checked.output
        slug = await asyncio.to_thread(_slug, data)
        span = ("--from", day, "--to", day, "--merchant", slug, "--out", tmp_path / "out")
        for format in ("beancount", "datev", "csv"):
            done = await asyncio.to_thread(vitrine, "export", *span, "--format", format)
            assert done.exit_code == 0, done.output
        shown = await asyncio.to_thread(vitrine, "balances", "--merchant", slug)
        assert "asset:bank:main" in shown.output, shown.output
        merchant = shop.gateway.context.catalog.current.merchant_by_slug(slug).merchant_id
        ours = await our_sums(shop.gateway.context.store, end_of(str(day)), merchant)
    written = sorted((tmp_path / "out").iterdir())
    (ledger,) = [path for path in written if path.suffix == ".beancount"]
    result = bean_check(ledger)
    assert (result.returncode, result.stderr) == (0, "")
    assert ours and await asyncio.to_thread(their_sums, ledger) == ours
    batches = [path for path in written if path.name.startswith("EXTF_")]
    assert batches and all(validate(path.read_bytes()).problems == [] for path in batches)
    with sqlite3.connect(data / "gateway.db") as connection:
        for (account,) in connection.execute("SELECT DISTINCT account FROM ledger_entry"):
            assert kind_of(account)


async def test_a_difference_and_a_damaged_book_end_with_1(seed: Seed, tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(seed, data) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            await ended(headset, await buy(headset, customer, "HALM-CHAIR:digital"))
        acquirer = shop.gateway.vault.acquirer
        effects = await acquirer.effects()
        day = utc_datetime(effects[0].at_ms).date()
        lines, _ = settle_day(effects, [], day)
    wrong = (
        settlement_csv(lines).replace(lines[0].operation_id, "").replace(lines[0].provider_reference, "sim_x")
    )
    path = tmp_path / "settlement.csv"
    path.write_text(wrong)
    done = await asyncio.to_thread(
        runner.invoke, app, ["books", "reconcile", str(path), "--data-dir", str(data)]
    )
    assert done.exit_code == 1
    assert "missing_here" in done.output and "missing_at_provider" in done.output
    with sqlite3.connect(data / "gateway.db") as connection:
        connection.execute(
            "INSERT INTO ledger_entry SELECT ledger_transaction_id, 9, account, unit, 1 FROM ledger_entry LIMIT 1"
        )
    done = await asyncio.to_thread(runner.invoke, app, ["books", "verify", "--data-dir", str(data)])
    assert done.exit_code == 1 and "does not sum to zero" in done.output


def test_commands_say_what_they_could_not_do(tmp_path: Path) -> None:
    def vitrine(*arguments: object) -> Result:
        return runner.invoke(app, ["books", *map(str, arguments), "--data-dir", str(tmp_path)])

    assert vitrine("verify").exit_code == 2
    assert vitrine("reconcile", tmp_path / "nothing.csv").exit_code == 2
    (tmp_path / "x.csv").write_text("a,b\n")
    assert vitrine("reconcile", tmp_path / "x.csv").exit_code == 2
    for wrong in (("--from", "today", "--to", "2026-01-01"), ("--from", "2026-02-01", "--to", "2026-01-01")):
        assert vitrine("export", *wrong).exit_code == 2
    assert vitrine("export", "--from", "2026-01-01", "--to", "2026-01-01", "--adviser", 5).exit_code == 2
    assert "liability:vouchers:multi_purpose" in runner.invoke(app, ["books", "accounts"]).output


def _slug(data: Path) -> str:
    with sqlite3.connect(data / "gateway.db") as connection:
        (slug,) = connection.execute(
            "SELECT slug FROM merchant JOIN (SELECT merchant_id FROM ledger_transaction ORDER BY at_ms DESC LIMIT 1) "
            "USING (merchant_id)"
        ).fetchone()
    return str(slug)
