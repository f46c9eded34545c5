"""The session core by hand: states, limits, resume, time-outs. No sockets, no tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.identity.model import DevicePrincipal
from gateway.kernel.errors import ForbiddenError
from gateway.kernel.events.log import Position
from gateway.kernel.events.model import RecordedEvent
from gateway.protocol.close_codes import CloseCode
from gateway.sessions.core import Close, Perform, Send, Session, SessionLimits, SessionState, SignIn

LIMITS = SessionLimits(in_flight=2, commands_per_second=10, burst=3, heartbeat_ms=1000, auth_timeout_ms=500)
NOW_MS = 1_795_000_000_000
WHO = DevicePrincipal("cus_1", "dev_1", 10**15)


def session(limits: SessionLimits = LIMITS) -> Session:
    return Session("ses_1", "test", limits, 0)


def ready(limits: SessionLimits = LIMITS, seq: int = 5) -> Session:
    made = session(limits)
    (action,) = made.received(text("auth", {"token": "t"}), 0, NOW_MS)
    assert isinstance(action, SignIn)
    made.signed_in(WHO, Position("epoch_1", seq), action.request, 0)
    return made


def text(type: str, body: dict[str, Any], **more: Any) -> str:
    return json.dumps({"v": 1, "id": "m1", "type": type, "body": body} | more)


def sent(action: object) -> dict[str, Any]:
    assert isinstance(action, Send)
    document: dict[str, Any] = json.loads(action.data)
    return document


def event(seq: int, epoch: str = "epoch_1") -> RecordedEvent:
    return RecordedEvent(f"evt_{seq}", "cus_1", epoch, seq, "order.placed", "{}", 0)


GET = text("order.get", {"order_id": "ord_1"})


def test_hello_names_versions_nonce_and_limits() -> None:
    body = sent(session().hello("n", 0))["body"]
    assert body["versions"] == ["v1"]
    assert body["nonce"] == "n"
    assert body["limits"]["message_bytes"] == 65536
    assert body["limits"]["in_flight"] == 2


@pytest.mark.parametrize("raw", [GET, text("heartbeat", {"seq": 1})])
def test_anything_before_sign_in_closes(raw: str) -> None:
    made = session()
    (action,) = made.received(raw, 0, NOW_MS)
    assert isinstance(action, Close) and action.code is CloseCode.PROTOCOL_VIOLATED
    assert made.state is SessionState.CLOSING
    assert made.received(GET, 0, NOW_MS) == []


def test_an_unreadable_first_message_is_explained_and_closes() -> None:
    error, close = session().received("{", 0, NOW_MS)
    assert sent(error)["body"]["code"] == "message.malformed"
    assert isinstance(close, Close)


def test_before_sign_in_messages_are_small() -> None:
    (action,) = session().received(text("auth", {"token": "t" * 9000}), 0, NOW_MS)
    assert isinstance(action, Close) and action.code is CloseCode.MESSAGE_TOO_LARGE


def test_signing_in_twice_closes() -> None:
    (action,) = ready().received(text("auth", {"token": "t"}), 0, NOW_MS)
    assert isinstance(action, Close) and action.code is CloseCode.PROTOCOL_VIOLATED


def test_messages_that_are_not_text_close() -> None:
    (action,) = ready().received(None, 0, NOW_MS)
    assert isinstance(action, Close) and action.code is CloseCode.PROTOCOL_VIOLATED


@pytest.mark.parametrize(
    ("code", "close"),
    [("auth.invalid_token", CloseCode.TOKEN_INVALID), ("auth.expired_token", CloseCode.TOKEN_EXPIRED)],
)
def test_a_bad_token_is_answered_and_closed_for_good(code: str, close: CloseCode) -> None:
    made = session()
    (action,) = made.received(text("auth", {"token": "t"}), 0, NOW_MS)
    assert isinstance(action, SignIn)
    error, closing = made.refused(action.request, ForbiddenError(code, "no"), 0)
    assert sent(error)["body"]["code"] == code
    assert isinstance(closing, Close) and closing.code is close and 4500 <= close <= 4999


def test_ready_tells_where_the_stream_stands() -> None:
    made = session()
    (action,) = made.received(text("auth", {"token": "t"}), 0, NOW_MS)
    assert isinstance(action, SignIn)
    message, resumed = made.signed_in(WHO, Position("epoch_1", 5), action.request, 0)
    assert not resumed
    assert sent(message)["body"]["seq"] == 5
    assert sent(message)["re"] == "m1"


@pytest.mark.parametrize(
    ("epoch", "seq", "resumed", "continues_at"),
    [
        ("epoch_1", 3, True, 3),
        ("epoch_1", 5, True, 5),
        ("epoch_1", 6, False, 5),  # a number from the future is not of this stream
        ("epoch_0", 3, False, 5),
    ],
)
def test_resume_continues_only_a_stream_it_was_part_of(
    epoch: str, seq: int, resumed: bool, continues_at: int
) -> None:
    made = session()
    (action,) = made.received(text("resume", {"token": "t", "epoch": epoch, "seq": seq}), 0, NOW_MS)
    assert isinstance(action, SignIn)
    message, did = made.signed_in(WHO, Position("epoch_1", 5), action.request, 0)
    assert did is resumed
    assert sent(message)["body"]["resumed"] is resumed
    assert made.sent_seq == continues_at


def test_only_the_next_event_goes_out() -> None:
    made = ready(seq=5)
    assert made.event(event(5)) is None
    assert made.event(event(7)) is None
    assert made.event(event(6)) is not None
    assert made.sent_seq == 6


def test_commands_in_flight_are_bounded() -> None:
    made = ready()
    first, second, third = (made.received(GET, 0, NOW_MS)[0] for _ in range(3))
    assert isinstance(first, Perform) and isinstance(second, Perform)
    assert sent(third)["body"]["code"] == "command.too_many_in_flight"
    made.replied(first.command, {}, 0)
    assert isinstance(made.received(GET, 1000, NOW_MS)[0], Perform)


def test_the_rate_is_bounded_and_says_when_to_come_back() -> None:
    made = ready()
    for _ in range(3):
        (action,) = made.received(GET, 0, NOW_MS)
        assert isinstance(action, Perform)
        made.replied(action.command, {}, 0)
    body = sent(made.received(GET, 0, NOW_MS)[0])["body"]
    assert body["code"] == "command.rate_limited"
    assert body["class"] == "retry"
    assert isinstance(made.received(GET, body["retry_after_ms"], NOW_MS)[0], Perform)


def test_errors_carry_the_id_of_the_command() -> None:
    (action,) = ready().received(text("order.steal", {}), 0, NOW_MS)
    assert sent(action)["re"] == "m1"


def test_a_heartbeat_acknowledges_and_answers_with_the_last_number() -> None:
    made = ready(seq=5)
    (action,) = made.received(text("heartbeat", {"seq": 4}), 0, NOW_MS)
    assert sent(action)["body"] == {"seq": 5}
    assert made.acknowledged == 5 or made.acknowledged == 4
    (action,) = made.received(text("heartbeat", {"seq": 99}), 0, NOW_MS)
    assert made.acknowledged <= made.sent_seq


def test_silence_ends_a_connection() -> None:
    waiting = session()
    assert waiting.tick(499) is None
    ended = waiting.tick(500)
    assert ended is not None and ended.code is CloseCode.AUTH_TIMEOUT
    talking = ready()
    assert talking.tick(2499) is None
    ended = talking.tick(2500)
    assert ended is not None and ended.code is CloseCode.HEARTBEAT_MISSED


def test_no_message_of_the_core_holds_the_token() -> None:
    made = session()
    (action,) = made.received(text("auth", {"token": "vdt_canary"}), 0, NOW_MS)
    assert isinstance(action, SignIn)
    messages = made.refused(action.request, ForbiddenError("auth.invalid_token", "no"), 0)
    assert all(b"vdt_canary" not in message.data for message in messages if isinstance(message, Send))


def test_messages_carry_the_time_of_day_and_not_of_the_steady_clock() -> None:
    made = ready()
    for raw in (text("heartbeat", {"seq": 1}), text("order.steal", {}), "{"):
        (action,) = made.received(raw, 7, NOW_MS)
        assert sent(action)["ts"] == "2026-11-18T11:06:40.000Z"
