"""ACP's delegated payment: an agent hands in a card and gets a token that pays for one checkout session.

``POST /agentic_commerce/delegate_payment`` (Agentic Commerce Protocol, version 2026-04-17). The card is
stored like any other, for a customer that is nothing but this agent, merchant and session; the token is the
id of a one-time allowance on it. The order side looks the token up with `Vault.allowance` and authorizes
with the terms it finds: merchant, session, currency, amount and expiry hold like for every allowance. When
the allowance has ended, the card is forgotten (`acp_forgetting`).

Answers are ACP's: 201 with the token, or a flat error object. What the provider declined is an answer like
any other and kept with its key, so that a card is not tried again by sending again; what was refused before
anything was done, and what failed on our side, is not kept.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.kernel.clock import Clock, parse_rfc3339, rfc3339
from gateway.kernel.currencies import EXPONENTS
from gateway.kernel.errors import ForbiddenError, InvalidError, UnavailableError
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import PaymentMethodId
from wallets.vault import acp_idempotency, allowances, delegated, methods
from wallets.vault.acp_canonical import NotJsonError, canonical, read
from wallets.vault.acp_forgetting import Cards, Forgetting
from wallets.vault.acp_idempotency import Answer, Claim, Held, RequestKey
from wallets.vault.acp_schema import DelegatePayment, MisfitError, parse
from wallets.vault.acp_signatures import SignatureKey, is_signed, is_timely
from wallets.vault.audit import Action, Actor, acting_as, current_actor, note
from wallets.vault.http.bodies import body_of, origin_of
from wallets.vault.keys import KeyRing
from wallets.vault.kms import KeyUseError, Kms
from wallets.vault.number_search import digits_of, holds_card_number, is_named_like_a_code
from wallets.vault.port import AllowanceId, AllowanceReason, AllowanceTerms, CardEntry

log = structlog.get_logger("vitrine.vault")

PATH = "/agentic_commerce/delegate_payment"
VERSIONS = ("2025-09-29", "2026-04-17")
_MOST_BYTES = 64 * 1024
_RETRY_AFTER_S = 2
_MAC_PURPOSE = b"vitrine.vault.acp-body.v1\x00"
_SWEEP_EVERY_MS = 10 * 60_000

Gatekeeper = Callable[[str, str], Awaitable[str]]
"""Takes the Authorization header and the origin, returns the caller's name. Raises ForbiddenError."""


@dataclass(frozen=True, slots=True)
class AcpOptions:
    channels: frozenset[str] = frozenset({"chat", "web"})
    """Where orders with a delegated token may come from."""
    longest_ms: int = 90 * 24 * 3_600_000
    """How far away an expiry may be: so long a card may be kept for an agent."""
    signature_keys: Mapping[str, SignatureKey] = field(default_factory=dict)
    """By caller. A caller with a key must sign and say the time."""


class AcpError(Exception):
    """A refusal as ACP writes it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str = "invalid_request",
        param: str | None = None,
        retry_after_s: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.retry_after_s = retry_after_s
        self.body: dict[str, Any] = {"type": kind, "code": code, "message": message, **(more or {})}
        if param is not None:
            self.body["param"] = param


class DelegatedPayments:
    """The endpoint over a vault's parts. It owns none of them."""

    def __init__(
        self,
        cards: Cards,
        store: Store,
        kms: Kms,
        ring: KeyRing,
        clock: Clock,
        allow: Gatekeeper,
        options: AcpOptions | None = None,
    ) -> None:
        self._cards = cards
        self._store = store
        self._kms = kms
        self._ring = ring
        self._clock = clock
        self._allow = allow
        self._options = options or AcpOptions()
        self.forgetting = Forgetting(cards, store, clock)
        """Requests let it work now and then; a process that wants it sooner calls it."""
        self._swept_at_ms = 0

    def routes(self) -> list[Route]:
        """Return what to mount into the vault's application."""
        return [Route(PATH, self.endpoint, methods=["POST"])]

    async def endpoint(self, request: Request) -> Response:
        """Answer one request."""
        headers = {"Cache-Control": "no-store"}
        request_id = request.headers.get("request-id", "")
        if request_id.isascii() and request_id.isprintable() and 0 < len(request_id) <= 255:
            headers["Request-Id"] = request_id
        try:
            answer, is_replay = await self._answered(request)
        except AcpError as error:
            if error.retry_after_s is not None:
                headers["Retry-After"] = str(error.retry_after_s)
            if error.status == 401:
                headers["WWW-Authenticate"] = "Bearer"
            return JSONResponse(error.body, error.status, headers)
        if is_replay:
            headers["Idempotent-Replayed"] = "true"
        return JSONResponse(answer.body, answer.status, headers)

    async def _answered(self, request: Request) -> tuple[Answer, bool]:
        """Answer, with ACP's words for what goes wrong on our side."""
        try:
            caller = await self._caller(request)
            # What is done on the way, forgetting others' cards too, is done by who asked.
            with acting_as(Actor("agent", caller, origin_of(request))):
                found = await self._answer(request, caller)
                await self._sweep_now_and_then()
        except (AcpError, ClientDisconnect):
            raise
        except UnavailableError:
            raise _unavailable() from None
        except Exception as error:
            # Only the type: texts and frames may hold the request.
            log.error("vault.acp_failed", error=type(error).__name__)
            raise AcpError(500, "internal_error", "Something failed here.", kind="processing_error") from None
        return found

    async def _sweep_now_and_then(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms >= self._swept_at_ms + _SWEEP_EVERY_MS:
            self._swept_at_ms = now_ms
            await self.forgetting.sweep()

    async def _answer(self, request: Request, caller: str) -> tuple[Answer, bool]:
        """Check what needs no state, claim the key, then do it."""
        key = _request_key(request, caller)
        _check_version(request)
        document, body = await self._body(request, caller)
        card, terms = self._read(body, key)
        own = await self._claimed(key, document, terms.customer_id)
        if isinstance(own, Answer):
            return own, True
        try:
            return await self._perform(key, own, body, card, terms), False
        except Exception:
            # Nothing is kept of a request that failed; an answer that was kept already stays.
            await self._store.write(lambda uow: acp_idempotency.release(uow, key, own))
            raise

    async def _caller(self, request: Request) -> str:
        try:
            return await self._allow(request.headers.get("authorization", ""), origin_of(request))
        except ForbiddenError as error:
            raise AcpError(401, "unauthorized", "Unauthorized", kind="unauthorized") from error

    async def _body(self, request: Request, caller: str) -> tuple[bytes, DelegatePayment]:
        """Return the canonical body and what it says."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise AcpError(415, "invalid_request", "Content-Type must be application/json.")
        try:
            document = read(await body_of(request, _MOST_BYTES))
        except InvalidError:
            raise AcpError(413, "invalid_request", "The body is too large.") from None
        except NotJsonError:
            raise AcpError(400, "invalid_request", "The body is not JSON.", param="$") from None
        text = canonical(document)
        self._check_signature(request, caller, text)
        try:
            return text, parse(document)
        except MisfitError as error:
            of_card = error.param.startswith("$.payment_method")
            code = "invalid_card" if of_card else "invalid_request"
            raise AcpError(400, code, error.message, param=error.param) from None

    def _check_signature(self, request: Request, caller: str, text: bytes) -> None:
        key = self._options.signature_keys.get(caller)
        if key is None:
            return
        if not is_timely(request.headers.get("timestamp", ""), self._clock.now_ms()):
            raise AcpError(401, "invalid_timestamp", "Timestamp is missing or too far from our clock.")
        if not is_signed(key, request.headers.get("signature", ""), text):
            raise AcpError(401, "invalid_signature", "Signature does not fit the body.")

    def _read(self, body: DelegatePayment, key: RequestKey) -> tuple[CardEntry, AllowanceTerms]:
        """Return the card and the terms of its allowance, without the method yet."""
        card, wanted = body.payment_method, body.allowance
        if card.card_number_type != "fpan":
            raise _invalid_card("card_number_type", "Network tokens are not taken here.")
        for name in ("exp_month", "exp_year", "cvc"):
            if getattr(card, name) is None:
                raise _invalid_card(name, "Is needed to store the card.")
        if not (card.number.isascii() and card.number.isdigit()):
            raise _invalid_card("number", "Must be digits only.")
        _keep_number_out(body, key)
        if any(signal.action == "blocked" for signal in body.risk_signals):
            raise AcpError(
                422, "invalid_card", "The card is blocked by its risk signals.", param="$.risk_signals"
            )
        currency = wanted.currency.upper()
        if currency not in EXPONENTS:
            raise _invalid("currency", "Is no currency of ISO 4217.")
        try:
            expires_at_ms = parse_rfc3339(wanted.expires_at)
        except (ValueError, OverflowError):
            raise _invalid("expires_at", "Is no RFC 3339 time.") from None
        entry = CardEntry.typed(
            card.number, int(card.exp_month or 0), int(card.exp_year or 0), card.cvc or "", card.name or ""
        )
        terms = AllowanceTerms(
            allowance_id=AllowanceId(f"{delegated.TOKEN_PREFIX}{secrets.token_hex(16)}"),
            payment_method_id=PaymentMethodId(""),
            customer_id=_customer_of(key.principal, wanted.merchant_id, wanted.checkout_session_id),
            merchant_id=wanted.merchant_id,
            order_id=None,
            channel=self._options.channels,
            place_id=None,
            device_id=None,
            reason=AllowanceReason.ONE_TIME,
            max_amount=Money(wanted.max_amount, currency),
            max_uses=1,
            expires_at_ms=expires_at_ms,
            session_id=wanted.checkout_session_id,
        )
        return entry, terms

    async def _claimed(self, key: RequestKey, document: bytes, customer_id: str) -> Claim | Answer:
        """Claim the key, or return the stored answer. Raises AcpError."""
        for _ in range(3):
            known = await self._store.read(lambda reader: acp_idempotency.mac_key_of(reader, key))
            try:
                mac_key_id = known or (await self._ring.keys()).fingerprint_key_id
                body_mac = await self._kms.mac(mac_key_id, _MAC_PURPOSE + document)
            except KeyUseError as error:
                log.error("vault.acp_key_unusable", reason=type(error).__name__)
                raise _unavailable() from None
            held = await self._store.write(partial(_claim, key, mac_key_id, body_mac, customer_id))
            if held is Held.OTHER_BODY:
                raise AcpError(422, "idempotency_conflict", "This Idempotency-Key had another body.")
            if held is Held.IN_FLIGHT:
                raise _in_flight()
            if isinstance(held, Claim | Answer):
                return held
        raise _in_flight()

    async def _perform(
        self, key: RequestKey, own: Claim, body: DelegatePayment, card: CardEntry, terms: AllowanceTerms
    ) -> Answer:
        """Store the card, then grant the allowance and keep the answer in one unit.

        Storing is the recovery point: the same card of the same session is the same method, so who takes
        over a claim goes on from there.
        """
        now_ms = self._clock.now_ms()
        # Only now: a repeat of what was answered has its answer, however late it comes.
        if not now_ms < terms.expires_at_ms <= now_ms + self._options.longest_ms:
            raise _invalid("expires_at", "Has passed, or is too far away.")
        try:
            stored = await self._cards.tokenize(terms.customer_id, card)
        except InvalidError as error:
            refused = AcpError(422, "invalid_card", error.message, param=_PARAMS.get(error.param or ""))
            if error.code != "card.declined":
                raise refused from None
            answer = Answer(422, refused.body)
            await self._finish(key, own, answer, None)
            return answer
        granted = replace(terms, payment_method_id=stored.payment_method_id)
        answer = Answer(
            201,
            {
                "id": str(granted.allowance_id),
                "created": rfc3339(self._clock.now_ms()),
                "metadata": {
                    **body.metadata,
                    "merchant_id": granted.merchant_id,
                    "idempotency_key": key.key,
                },
            },
        )
        await self._finish(key, own, answer, granted)
        return answer

    async def _finish(
        self, key: RequestKey, own: Claim, answer: Answer, granted: AllowanceTerms | None
    ) -> None:
        actor = current_actor()

        def finish(uow: UnitOfWork) -> bool:
            if granted is not None:
                known = uow.row(methods.GET, {"payment_method_id": granted.payment_method_id})
                if known is None or known.removed_at_ms is not None:
                    return False
            if not acp_idempotency.finish(uow, key, own, answer):
                return False
            if granted is None:
                return True
            is_granted = uow.now_ms < granted.expires_at_ms
            if is_granted:
                allowances.grant(uow, granted)
                method_id = granted.payment_method_id
                note(uow, actor, Action.ALLOWANCE_GRANT, granted.allowance_id, detail=method_id)
            token = {
                "allowance_id": granted.allowance_id,
                "payment_method_id": granted.payment_method_id,
                "principal": key.principal,
                "forget_at_ms": granted.expires_at_ms if is_granted else 0,
            }
            uow.run(delegated.INSERT, token)
            return True

        if not await self._store.write(finish):
            raise _in_flight()


def _claim(
    key: RequestKey, mac_key_id: str, body_mac: bytes, customer_id: str, uow: UnitOfWork
) -> Claim | Answer | Held | None:
    return acp_idempotency.claim(uow, key, mac_key_id, body_mac, customer_id)


def _request_key(request: Request, caller: str) -> RequestKey:
    key = request.headers.get("idempotency-key", "")
    if not key:
        raise AcpError(400, "idempotency_key_required", "Idempotency-Key header is required")
    if len(key) > 255 or not (key.isascii() and key.isprintable()):
        raise AcpError(400, "idempotency_key_required", "Idempotency-Key has 1 to 255 printable characters.")
    return RequestKey(caller, PATH, key)


def _check_version(request: Request) -> None:
    version = request.headers.get("api-version")
    if version in VERSIONS:
        return
    code = "missing_api_version" if version is None else "unsupported_api_version"
    supported = {"supported_versions": list(VERSIONS)}
    raise AcpError(400, code, "API-Version must be one of the supported versions.", more=supported)


def _keep_number_out(body: DelegatePayment, key: RequestKey) -> None:
    """Refuse a request that has a card number or code where it would be stored in the clear."""
    number = body.payment_method.number
    kept = {
        "$": [key.key],
        "$.metadata": [*body.metadata, *body.metadata.values()],
        "$.allowance.merchant_id": [body.allowance.merchant_id],
        "$.allowance.checkout_session_id": [body.allowance.checkout_session_id],
    }
    for param, texts in kept.items():
        for text in texts:
            if number in digits_of(text) or holds_card_number(text):
                raise AcpError(422, "invalid_card", "A card number does not belong here.", param=param)
    if any(map(is_named_like_a_code, body.metadata)):
        raise AcpError(422, "invalid_card", "A security code does not belong here.", param="$.metadata")


def _customer_of(caller: str, merchant_id: str, session_id: str) -> str:
    """Return the customer whose only payment method is the card of this session."""
    scope = canonical([caller, merchant_id, session_id])
    return f"{delegated.CUSTOMER_PREFIX}{hashlib.blake2b(scope, digest_size=14).hexdigest()}"


_PARAMS = {
    "$.number": "$.payment_method.number",
    "$.expiry_month": "$.payment_method.exp_month",
    "$.expiry_year": "$.payment_method.exp_year",
    "$.security_code": "$.payment_method.cvc",
    "$.holder": "$.payment_method.name",
}


def _invalid_card(name: str, message: str) -> AcpError:
    return AcpError(422, "invalid_card", message, param=f"$.payment_method.{name}")


def _invalid(name: str, message: str) -> AcpError:
    return AcpError(422, "invalid_request", message, param=f"$.allowance.{name}")


def _in_flight() -> AcpError:
    return AcpError(
        409,
        "idempotency_in_flight",
        "A request with this Idempotency-Key is being processed.",
        retry_after_s=_RETRY_AFTER_S,
    )


def _unavailable() -> AcpError:
    return AcpError(
        503,
        "service_unavailable",
        "The card can not be stored now; try again.",
        kind="service_unavailable",
        retry_after_s=_RETRY_AFTER_S,
    )
