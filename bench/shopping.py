"""Whole purchases: from quote to capture, minted or routed and dispatched, with workers running."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from bench.figures import Figure
from bench.processes import BenchError, Process
from bench.run import Gateway, Run
from bench.verify import check_orders, until_quiet

_QUIET_WITHIN_S = 30.0
_WINDOWS = 5
_CPU_TICK_S = 0.01
"""The kernel counts a process's CPU time in these."""
_ASKING = 64
"""Clients that ask at the same time, of the gateway and of the echo server."""


async def measure(run: Run) -> list[Figure]:
    """Return the figures of completed purchases, and of one question about an order."""
    scale = run.scale
    gateway, load = await asyncio.gather(run.gateway(workers=True, customers=scale.clients), run.load())
    await load.ask("connect", url=gateway.url, customers=gateway.customers)
    purchases = await _purchases(run, gateway, load)
    await until_quiet(run.data_dir, _QUIET_WITHIN_S)
    command = await _command_cpu(run, gateway, load)
    shopped = await load.ask("leave")
    await load.stop()
    await gateway.process.stop()
    await check_orders(run.data_dir, shopped["order_ids"])
    return [*purchases, command]


async def _purchases(run: Run, gateway: Gateway, load: Process) -> list[Figure]:
    scale = run.scale
    await load.ask("shop")
    await asyncio.sleep(scale.shop_warm_up_s)
    # Windows in a row, and their median: other work on the machine shows in some of them.
    rates, costs_ms, total = [], [], 0
    for _ in range(_WINDOWS):
        count, cpu_s, began = await load.ask("completed"), gateway.process.cpu_s(), time.perf_counter()
        await asyncio.sleep(scale.shop_window_s / _WINDOWS)
        count = await load.ask("completed") - count
        if not count:
            raise BenchError("no purchase was completed in a window")
        costs_ms.append(1000 * (gateway.process.cpu_s() - cpu_s) / count)
        rates.append(count / (time.perf_counter() - began))
        total += count
    waits_s = (await load.ask("leave"))["waits_s"]
    workload = (
        f"a third each digital token, physical, bundle: quote.create, order.place, authorized, minted or "
        f"routed, dispatched and captured; {scale.clients} clients, each waits for its order to be completed "
        f"before the next; {total} purchases in {scale.shop_window_s:g} s after {scale.shop_warm_up_s:g} s, "
        f"median of {_WINDOWS} windows"
    )
    return [
        Figure(
            "completed_per_s",
            median(rates),
            "purchases/s",
            None,
            "higher",
            f"{workload}; median {median(waits_s):.2f} s from quote to end, of which 0.1 s the backend waits",
        ),
        Figure(
            "completed_purchase_cpu_ms",
            median(costs_ms),
            "ms",
            4.0,
            "lower",
            "CPU, user and system, of the server process per purchase, with vault, acquirer, order backend "
            f"and chain, all embedded; {workload}",
        ),
    ]


async def _command_cpu(run: Run, gateway: Gateway, load: Process) -> Figure:
    scale = run.scale
    echo = await run.echo()
    clients = min(_ASKING, scale.clients)
    await load.ask("connect_echo", url=echo.url, count=clients)
    ratios, ours_us, echo_us = [], [], []
    for segment in range(scale.ask_segments + 1):
        cpu_s = gateway.process.cpu_s()
        asked = await load.ask("ask", each=scale.ask_each, clients=clients)
        ours = 1e6 * (gateway.process.cpu_s() - cpu_s) / asked
        cpu_s = echo.process.cpu_s()
        # An echo is so cheap that it takes more of them to see it.
        echoed = await load.ask("echo", each=4 * scale.ask_each)
        plain = 1e6 * max(echo.process.cpu_s() - cpu_s, _CPU_TICK_S) / echoed
        if segment == 0:
            continue
        ours_us.append(ours)
        echo_us.append(plain)
        ratios.append(ours / plain)
    await echo.process.stop()
    return Figure(
        "command_cpu_vs_websockets_echo",
        median(ratios),
        "ratio",
        8.0,
        "lower",
        f"CPU of one order.get ({median(ours_us):.0f} us) / one echo of the same message by a stand-alone "
        f"websockets server on uvloop ({median(echo_us):.0f} us); {clients} clients, one request in flight "
        f"each; median of {scale.ask_segments} interleaved pairs of {clients * scale.ask_each} commands",
    )
