"""A bad line to a node: a proxy on loopback that throttles, hangs, cuts off, lags and lies on command.

It stands between a JSON-RPC client and a real node, so what the client sees is real HTTP. Every switch is an
attribute and may be changed while requests are under way.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from wallets.minting.contract.calls import encode_are_minted

Lie = Callable[[list[Any], Any], Any]
"""What to answer in place of the node, given the parameters and its answer."""

_ARE_MINTED = "0x" + encode_are_minted([])[:4].hex()


class Limit:
    """So many requests a second, with as many at once, as endpoints are sold."""

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self._left = per_s
        self._at = asyncio.get_running_loop().time()

    def takes(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._left = min(self.per_s, self._left + (now - self._at) * self.per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class RpcProxy:
    """Use `rpc_proxy`. ``url`` is what a client is given."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.limit: Limit | None = None
        self.retry_after: str | None = None
        """The Retry-After field of a refusal for too many requests; None: there is none."""
        self.hangs = False
        """Take requests, and answer nothing until this is off again."""
        self.cuts_off = False
        """Have the node carry out the request, and close the connection in the middle of the answer."""
        self.status: int | None = None
        """Answer with this HTTP status and a page."""
        self.answers_page = False
        """Answer 200 with a page that is not JSON."""
        self.lies: dict[str, Lie] = {}
        """By method."""
        self.keeps_sent = False
        """Say that sent bytes were taken, and do not pass them on."""
        self.stands_at: int | None = None
        """Know no block above this one: an endpoint that lags behind."""
        self.asked: Counter[str] = Counter()
        """How often each method was asked, refused requests included."""
        self.refused = 0
        self._upstream = upstream
        self._http: aiohttp.ClientSession | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked[body["method"]] += 1
        while self.hangs:
            await asyncio.sleep(0.01)
        if self.limit is not None and not self.limit.takes():
            self.refused += 1
            headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
            return web.Response(status=429, headers=headers, text="too many requests")
        if self.status is not None or self.answers_page:
            return web.Response(status=self.status or 200, text="<html>", content_type="text/html")
        answer = json.dumps(await self._answer(body)).encode()
        if self.cuts_off:
            response = web.StreamResponse(headers={"Content-Length": str(len(answer))})
            await response.prepare(request)
            await response.write(answer[: len(answer) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        return web.Response(body=answer, content_type="application/json")

    async def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        method, params = body["method"], body.get("params") or []
        if method == "eth_sendRawTransaction" and self.keeps_sent:
            from eth_utils.crypto import keccak

            return {"jsonrpc": "2.0", "id": body["id"], "result": "0x" + keccak(hexstr=params[0]).hex()}
        params = self._as_of(method, params)
        assert self._http is not None
        async with self._http.post(self._upstream, json={**body, "params": params}) as response:
            answer = await response.json()
        if "result" in answer:
            answer["result"] = self._lagging(method, answer["result"])
        if method in self.lies and "result" in answer:
            answer["result"] = self.lies[method](params, answer["result"])
        return answer

    def _as_of(self, method: str, params: list[Any]) -> list[Any]:
        if self.stands_at is None:
            return params
        block = hex(self.stands_at)
        return [block if param == "latest" else param for param in params]

    def _lagging(self, method: str, result: Any) -> Any:
        if self.stands_at is None:
            return result
        if method == "eth_blockNumber":
            return hex(self.stands_at)
        is_later = method == "eth_getTransactionReceipt" and result is not None
        if is_later and int(result["blockNumber"], 16) > self.stands_at:
            return None
        return result


@asynccontextmanager
async def rpc_proxy(upstream: str) -> AsyncIterator[RpcProxy]:
    """Open a proxy in front of a node and close it again."""
    proxy = RpcProxy(upstream)
    application = web.Application(client_max_size=1 << 22)
    application.router.add_post("/", proxy.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    proxy.url = f"http://{host}:{port}/"
    async with aiohttp.ClientSession() as proxy._http:
        try:
            yield proxy
        finally:
            proxy.hangs = False
            await runner.cleanup()


# Lies


def another(value: Any) -> Lie:
    """Always answer this."""
    return lambda params, result: value


def higher_by(count: int) -> Lie:
    """A number that is too high."""
    return lambda params, result: hex(int(result, 16) + count)


def minted_is(flag: bool) -> Lie:
    """Say of all purchase numbers that they are minted, or that none is; other calls are true."""

    def lie(params: list[Any], result: str) -> str:
        if not params[0]["data"].startswith(_ARE_MINTED):
            return result
        words = (len(result) - 2) // 64 - 2
        return result[: 2 + 128] + f"{int(flag):064x}" * words

    return lie


def changed_field(name: str, value: Any) -> Lie:
    """An object with one field that is not true, where there is an object."""
    return lambda params, result: result if result is None else {**result, name: value}
