"""The harness runs as a whole at the smallest size. Its figures mean nothing at that size; its checks do."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import show
from bench.figures import NOT_MEASURED, Figure, not_measured, rounded
from bench.processes import ROOT
from bench.rows import dump, key_columns, writes_between
from bench.verify import check_orders

NAMES = {
    "place_rate_vs_group_commit",
    "place_p99_vs_ideal",
    "completed_per_s",
    "completed_purchase_cpu_ms",
    "authorize_own_p99_ms",
    "tokenize_rate_vs_limit",
    "capture_cost_growth",
    "command_cpu_vs_websockets_echo",
    "idle_connection_kib",
    "gas_item_numbered_b100",
    "gas_item_open_b100",
    "gas_vs_erc721",
    "mint_rate_embedded_vs_raw",
    "mint_rate_anvil_vs_raw",
    "loop_block_ms_max",
}
NEEDS_OTHERS = {"gas_vs_erc721", "mint_rate_anvil_vs_raw"}
"""Measured only where a package of npm is installed."""


@pytest.mark.timeout(110)
async def test_every_figure_is_measured_and_written(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench",
        "--smoke",
        "--output",
        str(output),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(child.communicate(), 100)
    assert child.returncode == 0, said.decode()
    written = json.loads(output.read_text())
    assert {figure["name"] for figure in written["figures"]} == NAMES
    for figure in written["figures"]:
        assert set(figure) == {"name", "value", "unit", "target", "better", "workload"}
        if figure["value"] is None:
            assert figure["name"] in NEEDS_OTHERS
            assert figure["workload"].startswith(NOT_MEASURED)
            assert f"{NOT_MEASURED} on this machine" in said.decode()
        else:
            # CPU is counted in ticks and memory in pages: so little work may cost none.
            assert figure["value"] >= 0
    assert set(written) == {"machine", "commit", "figures"}


def test_a_figure_is_met_on_the_side_its_target_says() -> None:
    assert Figure("rate", 0.12, "ratio", 0.12, "higher", "").met
    assert not Figure("rate", 0.11, "ratio", 0.12, "higher", "").met
    assert Figure("cost", 4.0, "ms", 4.0, "lower", "").met
    assert not Figure("cost", 4.1, "ms", 4.0, "lower", "").met
    assert Figure("trend", 1.0, "1/s", None, "higher", "").met is None


def test_a_figure_that_cannot_be_measured_keeps_its_place_and_says_why() -> None:
    figure = not_measured("rate", "ratio", 0.5, "higher", "no [node] here")
    assert figure.met is None
    assert figure.document()["value"] is None
    console = Console(width=100, record=True)
    show(console, [figure])
    shown = console.export_text()
    assert f"{NOT_MEASURED}: no [node] here" in shown
    assert f"{NOT_MEASURED} on this machine: rate" in shown


def test_values_keep_three_digits() -> None:
    assert [rounded(value) for value in (0.12345, 12.345, 1234.5)] == [0.123, 12.3, 1234.0]


def test_what_an_order_wrote_is_the_difference_of_two_dumps(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "some.db", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("CREATE TABLE pool (name TEXT PRIMARY KEY, held INTEGER, sold INTEGER)")
        connection.execute("INSERT INTO pool VALUES ('a', 0, 0), ('b', 0, 0)")
        before = dump(connection)
        connection.execute("UPDATE pool SET held = 2 WHERE name = 'b'")
        connection.execute("INSERT INTO pool VALUES ('c', 0, 0)")
        update, insert = writes_between(before, dump(connection), {"pool": key_columns(connection, "pool")})
    assert (update.values, update.key) == ({"held": 2}, {"name": "b"})
    assert update.sql == 'UPDATE "pool" SET held = ? WHERE name = ?'
    assert insert.values == {"name": "c", "held": 0, "sold": 0}
    assert insert.sql == 'INSERT INTO "pool" (name, held, sold) VALUES (?, ?, ?)'


async def test_one_id_for_two_requests_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="given to two requests"):
        await check_orders(tmp_path, ["ord_1", "ord_1"])
