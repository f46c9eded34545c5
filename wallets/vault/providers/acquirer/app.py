"""The acquirer over HTTP: operations for the vault, pages for the customer, switches for tests."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from datetime import date
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.kernel.clock import Clock
from gateway.kernel.errors import NotFoundError
from gateway.kernel.subjects import OperationId
from wallets.vault.port import OperationKind
from wallets.vault.providers.acquirer import wire
from wallets.vault.providers.acquirer.faults import LostReplyError, Switches, TroubledAcquirer, TroubleError
from wallets.vault.providers.acquirer.notifying import WebhookSender
from wallets.vault.providers.acquirer.settling import settle_day
from wallets.vault.providers.bank_page import bank_routes
from wallets.vault.providers.port import NoAnswerError, ProviderAnswer
from wallets.vault.providers.settlement import bank_csv, settlement_csv
from wallets.vault.providers.simulated import SimulatedAcquirer
from wallets.vault.secret import Secret

_LONGEST_BODY = 65_536


class ShiftedClock:
    """The machine's clock and what was added to it, so that days can pass while a test runs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.shift_ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.shift_ms


class AcquirerProcess:
    """Everything of the process but its socket."""

    def __init__(
        self,
        acquirer: SimulatedAcquirer,
        clock: ShiftedClock,
        api_key: Secret,
        *,
        webhook_url: str | None = None,
        webhook_key: Secret | None = None,
    ) -> None:
        self.switches = Switches()
        self._acquirer = acquirer
        self._clock = clock
        self._api_key = api_key
        self._sender: WebhookSender | None = None
        if webhook_url is not None and webhook_key is not None:
            self._sender = WebhookSender(clock, self.switches, webhook_url, webhook_key)
        self._provider = TroubledAcquirer(acquirer, self.switches, done=self._announce)
        self._calls: dict[str, Callable[[Any], Awaitable[ProviderAnswer]]] = {
            "verify": lambda body: self._provider.verify(wire.read_card(body)),
            "authorize": lambda body: self._provider.authorize(wire.read_authorize(body)),
            "capture": lambda body: self._provider.capture(wire.read_follow_up(body)),
            "void": lambda body: self._provider.void(wire.read_follow_up(body)),
            "refund": lambda body: self._provider.refund(wire.read_follow_up(body)),
            "increment": lambda body: self._provider.increment(wire.read_follow_up(body)),
            "payout": lambda body: self._provider.payout(wire.read_payout(body)),
        }

    def asgi(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/find", self._find, methods=["POST"]),
                Route("/v1/{call}", self._call, methods=["POST"]),
                Route("/admin/faults", self._faults, methods=["GET", "PUT"]),
                Route("/admin/clock", self._advance, methods=["POST"]),
                Route("/admin/effects", self._effects, methods=["GET"]),
                Route("/admin/debits", self._debits, methods=["POST"]),
                Route("/admin/chargebacks", self._charge_back, methods=["POST"]),
                Route("/admin/settlement/{day}", self._settlement, methods=["GET"]),
                Route("/admin/bank/{day}", self._bank, methods=["GET"]),
                Route("/healthz", lambda _: PlainTextResponse("ok"), methods=["GET"]),
                *bank_routes(self._acquirer, self._challenged),
            ]
        )

    async def close(self) -> None:
        if self._sender is not None:
            await self._sender.close()
        await self._acquirer.close()

    async def _call(self, request: Request) -> Response:
        call = self._calls.get(request.path_params["call"])
        body = await self._body(request)
        if call is None or body is None:
            return Response(status_code=404 if call is None else 401)
        try:
            return JSONResponse(wire.answer_document(await call(body)))
        except LostReplyError:
            return _broken()
        except TroubleError:
            return Response(status_code=503)
        except NoAnswerError:
            return Response(status_code=409)
        except (KeyError, ValueError, TypeError):
            return Response(status_code=400)

    async def _find(self, request: Request) -> Response:
        body = await self._body(request)
        if body is None:
            return Response(status_code=401)
        try:
            found = await self._provider.find(wire.read_lookup(body))
        except TroubleError:
            return Response(status_code=503)
        except (KeyError, ValueError, TypeError):
            return Response(status_code=400)
        return JSONResponse({} if found is None else wire.answer_document(found))

    async def _faults(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return Response(status_code=401)
        if request.method == "PUT":
            try:
                self.switches.change(json.loads(await request.body()))
            except (ValueError, AttributeError) as error:
                return PlainTextResponse(str(error), status_code=400)
        return JSONResponse(asdict(self.switches))

    async def _advance(self, request: Request) -> Response:
        body = await self._body(request)
        if body is None:
            return Response(status_code=401)
        self._clock.shift_ms += max(0, int(body["advance_ms"]))
        return JSONResponse({"now_ms": self._clock.now_ms()})

    async def _effects(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return Response(status_code=401)
        return JSONResponse([asdict(effect) for effect in await self._acquirer.effects()])

    async def _debits(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return Response(status_code=401)
        decided = await self._acquirer.decide_debits()
        for operation_id in decided:
            await self._announce_found(OperationKind.CAPTURE, operation_id)
        return JSONResponse(decided)

    async def _charge_back(self, request: Request) -> Response:
        body = await self._body(request)
        if body is None:
            return Response(status_code=401)
        try:
            await self._acquirer.charge_back(OperationId(body["operation_id"]))
        except NotFoundError:
            return Response(status_code=404)
        return Response(status_code=204)

    async def _settlement(self, request: Request) -> Response:
        return await self._file(request, bank=False)

    async def _bank(self, request: Request) -> Response:
        return await self._file(request, bank=True)

    async def _file(self, request: Request, *, bank: bool) -> Response:
        if not self._is_allowed(request):
            return Response(status_code=401)
        try:
            day = date.fromisoformat(request.path_params["day"])
        except ValueError:
            return Response(status_code=404)
        lines, banked = settle_day(await self._acquirer.effects(), await self._acquirer.chargebacks(), day)
        text = bank_csv(banked) if bank else settlement_csv(lines)
        return PlainTextResponse(text, media_type="text/csv")

    async def _challenged(self, operation_id: OperationId) -> None:
        await self._announce_found(OperationKind.AUTHORIZE, operation_id)

    async def _announce_found(self, kind: OperationKind, operation_id: OperationId) -> None:
        answer = await self._acquirer.known(operation_id)
        if answer is not None:
            self._announce(kind, operation_id, answer)

    def _announce(self, kind: OperationKind, operation_id: OperationId, answer: ProviderAnswer) -> None:
        if self._sender is not None:
            self._sender.announce(kind, operation_id, answer)

    def _is_allowed(self, request: Request) -> bool:
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self._api_key.reveal()}".encode())

    async def _body(self, request: Request) -> Any:
        """Return the JSON body; None without the key."""
        if not self._is_allowed(request):
            return None
        if int(request.headers.get("content-length", 0)) > _LONGEST_BODY:
            return {}
        return json.loads(await request.body())


def _broken() -> Response:
    """A reply that stops before its end, as when a connection is lost."""

    async def half() -> AsyncIterator[bytes]:
        yield b"{"
        raise ConnectionAbortedError("switched off")

    return StreamingResponse(half(), headers={"content-length": "1000"})
