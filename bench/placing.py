"""``order.place``: how many orders are acknowledged per second, against bare group commit of the same rows.

Workers are paused, so what is measured is the acknowledgement: everything an order writes, durable before it
is answered. Afterwards the workers drain the backlog and every order is accounted for.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.figures import Figure
from bench.goods import FORMATS
from bench.processes import Process
from bench.raw_commits import BATCH, RawOrders, Template, copy_database
from bench.rows import dump, ids_in, key_columns, read_only, writes_between
from bench.run import Run
from bench.verify import check_orders, until_quiet

_DRAIN_WITHIN_S = 90.0


async def measure(run: Run) -> list[Figure]:
    """Return the figures of placing; raises BenchError when an order was lost or done twice."""
    scale = run.scale
    gateway, load = await asyncio.gather(run.gateway(workers=False, customers=scale.clients), run.load())
    await load.ask("connect", url=gateway.url, customers=gateway.customers)
    database = run.data_dir / "gateway.db"
    templates, accepted = await _templates(load, database)
    # One segment more than is measured, to warm both sides up.
    await load.ask("quotes", each=scale.place_each * (scale.place_segments + 1), clients=scale.clients)
    # On this thread on purpose: nothing else happens meanwhile, and both sides take turns.
    copy_database(database, run.folder / "raw.db")
    raw = RawOrders(run.folder / "raw.db", templates)
    ratios, tails, placed_per_s, raw_per_s = [], [], [], []
    with closing(raw):
        for segment in range(scale.place_segments + 1):
            placed = await load.ask("place", each=scale.place_each)
            count = len(placed["order_ids"])
            raw_s = raw.commit_orders(count)
            accepted += placed["order_ids"]
            if segment == 0:
                continue
            rate = count / placed["seconds"]
            placed_per_s.append(rate)
            raw_per_s.append(count / raw_s)
            ratios.append(rate * raw_s / count)
            tails.append(quantiles(placed["latencies_s"], n=100)[98] / (scale.clients / rate))
    await load.stop()
    await gateway.process.stop()
    done = await _drain(run, accepted)
    written = ", ".join(f"{len(template.writes)} {name}" for name, template in templates.items())
    clients = f"{scale.clients} clients of as many customers, one request in flight each, quotes made before"
    return [
        Figure(
            "place_rate_vs_group_commit",
            median(ratios),
            "ratio",
            0.12,
            "higher",
            f"order.place over WebSocket, {clients}, workers paused: {median(placed_per_s):,.0f}/s; "
            f"raw: the same rows ({written}; a third each) and indexes, bare sqlite3, WAL, "
            f"synchronous=FULL, {BATCH} orders a commit: {median(raw_per_s):,.0f}/s; median of "
            f"{scale.place_segments} interleaved pairs of {count} orders; backlog drained and verified: "
            f"{done['orders']} orders, {done['captures']} captures, {done['tokens']} tokens, "
            f"{done['parcels']} parcels, each once",
        ),
        Figure(
            "place_p99_vs_ideal",
            median(tails),
            "ratio",
            3.0,
            "lower",
            f"p99 latency of order.place / ({scale.clients} / throughput), same run; ideal is "
            f"{1000 * scale.clients / median(placed_per_s):.0f} ms",
        ),
    ]


async def _templates(load: Process, database: Path) -> tuple[dict[str, Template], list[str]]:
    """Place one order of each format and return what each wrote."""
    templates: dict[str, Template] = {}
    accepted: list[str] = []
    with closing(read_only(database)) as connection:
        keys = {name: key_columns(connection, name) for name in dump(connection)}
        for name in FORMATS:
            # The quote is written before the first dump: an order is made of a quote that stands.
            quote_id: str = await load.ask("quote_one", format=name)
            before = dump(connection)
            accepted.append(await load.ask("place_one"))
            writes = writes_between(before, dump(connection), keys)
            quote = before["quote"][(quote_id,)]
            holds = [row for row in before["inventory_hold"].values() if row["quote_id"] == quote_id]
            templates[name] = Template(
                format=name,
                writes=writes,
                quote=quote,
                holds=[row["hold_id"] for row in sorted(holds, key=_by_reference)],
                stream_row=before["stream"][(quote["customer_id"],)],
                known_ids=frozenset(ids_in(before)),
            )
    return templates, accepted


def _by_reference(hold: dict[str, Any]) -> tuple[str, str]:
    return hold["ref"], hold["hold_id"]


async def _drain(run: Run, accepted: list[str]) -> dict[str, int]:
    gateway = await run.gateway(workers=True, customers=0)
    await until_quiet(run.data_dir, _DRAIN_WITHIN_S)
    await gateway.process.stop()
    return await check_orders(run.data_dir, accepted)
