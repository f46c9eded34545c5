"""How long a customer waits for the word that the money is secured, while the gateway has room to breathe.

Saturation is measured first, in the same run and with the same clients. Then customers decide at random
moments at 30 % of it: an open loop, so that a slow answer cannot hold back the next question.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from statistics import median, quantiles

from bench.figures import Figure
from bench.run import Run
from bench.server import provider_times
from bench.verify import check_orders, until_quiet

CLIENTS = 50
_SHARE = 0.3
_QUIET_WITHIN_S = 30.0
_WINDOWS = 5


async def measure(run: Run) -> list[Figure]:
    """Return the figure of authorizing; raises BenchError when an order was lost or done twice."""
    scale = run.scale
    clients = min(CLIENTS, scale.clients)
    gateway, load = await asyncio.gather(
        run.gateway(workers=True, customers=clients, times_provider=True), run.load()
    )
    await load.ask("connect", url=gateway.url, customers=gateway.customers)
    await load.ask("shop")
    await asyncio.sleep(scale.shop_warm_up_s)
    count, began = await load.ask("completed"), time.perf_counter()
    await asyncio.sleep(scale.authorize_s / 2)
    saturation = (await load.ask("completed") - count) / (time.perf_counter() - began)
    shopped = await load.ask("leave")
    rate = _SHARE * saturation
    # Half as many again as are expected, shared out evenly.
    await load.ask("quotes", each=math.ceil(1.5 * rate * scale.authorize_s / clients) + 5, clients=clients)
    await until_quiet(run.data_dir, _QUIET_WITHIN_S)
    arrived = await load.ask("arrive", rate=rate, seconds=scale.authorize_s, clients=clients)
    await load.stop()
    await gateway.process.stop()
    provider_s = json.loads(provider_times(run.data_dir).read_text())
    waits_ms = [1000 * wait_s for wait_s in arrived["waits_s"]]
    own_ms = [
        wait_ms - 1000 * provider_s[order_id]
        for wait_ms, order_id in zip(waits_ms, arrived["order_ids"], strict=True)
    ]
    # Windows in a row, and their median: other work on the machine shows in some of them.
    window_s = scale.authorize_s / _WINDOWS
    windows: list[list[float]] = [[] for _ in range(_WINDOWS)]
    for decided_s, own in zip(arrived["decided_s"], own_ms, strict=True):
        windows[min(int(decided_s / window_s), _WINDOWS - 1)].append(own)
    p99s_ms = [quantiles(window, n=100)[98] for window in windows if len(window) > 1]
    await check_orders(run.data_dir, shopped["order_ids"] + arrived["order_ids"])
    return [
        Figure(
            "authorize_own_p99_ms",
            median(p99s_ms),
            "ms",
            25.0,
            "lower",
            f"from order.place sent to payment.authorized received, at the client, over WebSocket, less the "
            f"time that the embedded acquirer took for that order (p99 with it "
            f"{quantiles(waits_ms, n=100)[98]:.0f} ms); a third each digital, physical, bundle, minted or "
            f"routed and captured meanwhile; {clients} clients, open loop, {rate:.0f} arrivals/s, "
            f"{100 * _SHARE:.0f} % of the {saturation:.0f}/s that the same clients complete at most; "
            f"{len(own_ms)} purchases, their median {median(own_ms):.1f} ms; median of the p99 of {_WINDOWS} "
            f"windows of {window_s:g} s: {', '.join(f'{one:.0f}' for one in p99s_ms)} ms; "
            f"{arrived['late']} waits for a free client",
        )
    ]
