"""WebSocket close codes. 4000 to 4499: reconnect and resume. 4500 to 4999: stop, something must change."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why the gateway closed a connection; the client's action follows from the range."""

    NORMAL = 1000
    MESSAGE_TOO_LARGE = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    HEARTBEAT_MISSED = 4000
    SLOW_CONSUMER = 4001
    """Too much waits to be sent; nothing is lost, resume from the last number."""
    AUTH_TIMEOUT = 4408
    TOO_MANY_CONNECTIONS = 4429
    """The account has as many connections as it may; one of them has to end first."""
    TOKEN_EXPIRED = 4500
    TOKEN_INVALID = 4501
    PROTOCOL_VIOLATED = 4502
    """A message before sign-in, a second sign-in, or a message that is not text."""

    @property
    def client_action(self) -> str:
        """What a client does about it."""
        if self is CloseCode.NORMAL:
            return "done"
        if self is CloseCode.MESSAGE_TOO_LARGE:
            return "stop; send smaller messages"
        if self in (CloseCode.INTERNAL_ERROR, CloseCode.RESTART) or 4000 <= self <= 4499:
            return "reconnect with jittered back-off and resume"
        return "stop; sign in again or fix the client"
