"""The session core: bytes in, bytes and actions out. No I/O, no clock of its own, no tasks.

A connection goes through three states. Before sign-in it accepts one message, ``auth`` or ``resume``; when
ready, commands and heartbeats; when closing, nothing. The socket shell moves the bytes and carries out the
actions; tests drive the core by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.identity.model import DevicePrincipal
from gateway.kernel.errors import UnavailableError, VitrineError
from gateway.kernel.events.log import Position
from gateway.kernel.events.model import RecordedEvent
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.codec import (
    JSON_DEPTH,
    UnreadableError,
    decode,
    encode_event,
    encode_message,
    error_body,
)
from gateway.protocol.messages import MESSAGE_BYTES, AnyCommand, Auth, Heartbeat, Resume


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one connection may do (W10). Counts are per connection, times in milliseconds."""

    before_auth_bytes: int = 8 * 1024
    in_flight: int = 16
    commands_per_second: int = 30
    burst: int = 60
    connections_per_account: int = 5
    connections_before_auth: int = 2_000
    """Of all clients together: connections cost memory before anybody knows whose they are."""
    outbound_messages: int = 256
    outbound_bytes: int = 1024 * 1024
    heartbeat_ms: int = 20_000
    auth_timeout_ms: int = 10_000


class SessionState(StrEnum):
    AWAITING_AUTH = "awaiting_auth"
    AUTHENTICATING = "authenticating"
    READY = "ready"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class SignIn:
    """Check the token, then call `Session.signed_in` or `Session.refused`."""

    request: Auth | Resume


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry out the command, then call `Session.replied`."""

    command: AnyCommand


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes of one message for the client."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection with this code."""

    code: CloseCode
    reason: str


Action = SignIn | Perform | Send | Close


class Session:
    """One connection.

    Two clocks, both in milliseconds and both read by the caller: ``steady_ms`` never jumps and is for
    time-outs and rates, ``now_ms`` is the time of day that messages carry.
    """

    __slots__ = (
        "_allowance",
        "_allowance_at_ms",
        "_in_flight",
        "_limits",
        "_next_id",
        "_server",
        "acknowledged",
        "epoch",
        "heard_at_ms",
        "principal",
        "resumed_from",
        "sent_seq",
        "session_id",
        "state",
    )

    def __init__(self, session_id: str, server: str, limits: SessionLimits, steady_ms: int) -> None:
        self.session_id = session_id
        self.state = SessionState.AWAITING_AUTH
        self.principal: DevicePrincipal | None = None
        self.epoch = ""
        self.sent_seq = 0
        """Number of the last event handed out."""
        self.acknowledged = 0
        self.heard_at_ms = steady_ms
        self.resumed_from: int | None = None
        self._server = server
        self._limits = limits
        self._next_id = 0
        self._in_flight = 0
        self._allowance = float(limits.burst)
        self._allowance_at_ms = steady_ms

    def is_closing(self) -> bool:
        """Whether the connection is ending or has ended."""
        return self.state is SessionState.CLOSING

    def hello(self, nonce: str, now_ms: int) -> Send:
        """The first message of every connection."""
        limits = self._limits
        return self._send(
            "hello",
            now_ms,
            {
                "versions": ["v1"],
                "server": self._server,
                "heartbeat_ms": limits.heartbeat_ms,
                "auth_timeout_ms": limits.auth_timeout_ms,
                "nonce": nonce,
                "limits": {
                    "message_bytes": MESSAGE_BYTES,
                    "json_depth": JSON_DEPTH,
                    "in_flight": limits.in_flight,
                    "commands_per_second": limits.commands_per_second,
                    "burst": limits.burst,
                    "connections_per_account": limits.connections_per_account,
                },
            },
        )

    def received(self, raw: str | bytes | None, steady_ms: int, now_ms: int) -> list[Action]:
        """Take one text message (None: it was not text) and say what to do."""
        if self.state is SessionState.CLOSING:
            return []
        self.heard_at_ms = steady_ms
        if raw is None:
            return [self._close(CloseCode.PROTOCOL_VIOLATED, "messages are text")]
        if self.state is not SessionState.READY and len(raw) > self._limits.before_auth_bytes:
            return [self._close(CloseCode.MESSAGE_TOO_LARGE, "too large before sign-in")]
        try:
            message = decode(raw)
        except UnreadableError as error:
            if self.state is not SessionState.READY:
                return [
                    self._error(error, error.re, now_ms),
                    self._close(CloseCode.PROTOCOL_VIOLATED, "sign in first"),
                ]
            return [self._error(error, error.re, now_ms)]
        if isinstance(message, Auth | Resume):
            if self.state is not SessionState.AWAITING_AUTH:
                return [self._close(CloseCode.PROTOCOL_VIOLATED, "signed in already")]
            self.state = SessionState.AUTHENTICATING
            return [SignIn(message)]
        if self.state is not SessionState.READY:
            return [self._close(CloseCode.PROTOCOL_VIOLATED, "sign in first")]
        if isinstance(message, Heartbeat):
            self.acknowledged = max(self.acknowledged, min(message.body.seq, self.sent_seq))
            return [self._send("heartbeat", now_ms, {"seq": self.sent_seq}, re=message.id)]
        return [self._admit(message, steady_ms, now_ms)]

    def _admit(self, command: AnyCommand, steady_ms: int, now_ms: int) -> Action:
        """Apply the limits: a token bucket for the rate, a count for what is in flight."""
        limits = self._limits
        earned = (steady_ms - self._allowance_at_ms) * limits.commands_per_second / 1000
        self._allowance = min(limits.burst, self._allowance + earned)
        self._allowance_at_ms = steady_ms
        if self._allowance < 1:
            wait_ms = int((1 - self._allowance) * 1000 / limits.commands_per_second) + 1
            return self._error(
                UnavailableError("command.rate_limited", "Too many commands.", retry_after_ms=wait_ms),
                command.id,
                now_ms,
            )
        if self._in_flight >= limits.in_flight:
            return self._error(
                UnavailableError("command.too_many_in_flight", "Wait for replies first.", retry_after_ms=100),
                command.id,
                now_ms,
            )
        self._allowance -= 1
        self._in_flight += 1
        return Perform(command)

    def signed_in(
        self, principal: DevicePrincipal, position: Position, request: Auth | Resume, now_ms: int
    ) -> tuple[Send, bool]:
        """The token was good. Returns ``ready`` and whether events can be continued without a gap."""
        self.principal = principal
        self.state = SessionState.READY
        self.epoch = position.epoch
        resumed = (
            isinstance(request, Resume)
            and request.body.epoch == position.epoch
            and request.body.seq <= position.seq
        )
        self.sent_seq = request.body.seq if resumed and isinstance(request, Resume) else position.seq
        self.acknowledged = self.sent_seq
        ready = self._send(
            "ready",
            now_ms,
            {
                "session_id": self.session_id,
                "customer_id": principal.customer_id,
                "device_id": principal.device_id,
                "epoch": position.epoch,
                "seq": self.sent_seq,
                "resumed": resumed,
            },
            re=request.id,
        )
        return ready, resumed

    def refused(self, request: Auth | Resume, error: VitrineError, now_ms: int) -> list[Action]:
        """The token was not good."""
        if error.code == "auth.expired_token":
            code = CloseCode.TOKEN_EXPIRED
        elif error.code == "auth.too_many_connections":
            code = CloseCode.TOO_MANY_CONNECTIONS
        elif error.error_class.value == "retry":
            code = CloseCode.INTERNAL_ERROR
        else:
            code = CloseCode.TOKEN_INVALID
        return [self._error(error, request.id, now_ms), self._close(code, error.code)]

    def snapshot(self, orders: list[Any], now_ms: int) -> Send:
        """The customer's orders as they are at ``sent_seq``, when events cannot be continued."""
        return self._send("snapshot", now_ms, {"epoch": self.epoch, "seq": self.sent_seq, "orders": orders})

    def event(self, recorded: RecordedEvent) -> Send | None:
        """The next event, or None when it is not the next: known already, or something lies between."""
        if recorded.seq != self.sent_seq + 1:
            return None
        self.sent_seq = recorded.seq
        return Send(encode_event(recorded))

    def replied(self, command: AnyCommand, body: Any, now_ms: int) -> Send:
        """The command succeeded."""
        self._in_flight -= 1
        return self._send("ok", now_ms, body, re=command.id)

    def failed(self, command: AnyCommand, error: VitrineError, now_ms: int) -> Send:
        """The command was refused."""
        self._in_flight -= 1
        return self._error(error, command.id, now_ms)

    def tick(self, steady_ms: int) -> Close | None:
        """Call now and then: ends connections that do not sign in, fall silent, or whose token ended."""
        limits, silent_ms = self._limits, steady_ms - self.heard_at_ms
        unknown = self.state in (SessionState.AWAITING_AUTH, SessionState.AUTHENTICATING)
        if unknown and silent_ms >= limits.auth_timeout_ms:
            return self._close(CloseCode.AUTH_TIMEOUT, "no sign-in in time")
        # Two beats may be late; half a beat is for the road.
        if self.state is SessionState.READY and silent_ms >= limits.heartbeat_ms * 5 // 2:
            return self._close(CloseCode.HEARTBEAT_MISSED, "two heartbeats missed")
        return None

    def token_ended(self) -> Close:
        """The token's time is over: the client signs in with a new one."""
        return self._close(CloseCode.TOKEN_EXPIRED, "the token has expired")

    def close_failed(self) -> Close:
        """Something failed on our side; the client resumes."""
        return self._close(CloseCode.INTERNAL_ERROR, "something failed; resume")

    def close_slow(self) -> Close:
        """Too much waits for this client; it resumes from its last number."""
        return self._close(CloseCode.SLOW_CONSUMER, "too slow; resume")

    def _close(self, code: CloseCode, reason: str) -> Close:
        self.state = SessionState.CLOSING
        return Close(code, reason)

    def _error(self, error: VitrineError, re: str | None, now_ms: int) -> Send:
        return self._send("error", now_ms, error_body(error), re=re)

    def _send(self, type: str, now_ms: int, body: Any, *, re: str | None = None) -> Send:
        self._next_id += 1
        return Send(encode_message(f"s{self._next_id}", type, now_ms, body, re=re))
