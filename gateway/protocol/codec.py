"""Bytes to messages and back. No I/O, no state."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from gateway.kernel.clock import rfc3339
from gateway.kernel.errors import InvalidError, VitrineError
from gateway.kernel.events.model import RecordedEvent
from gateway.protocol.errors import ERROR_CODES
from gateway.protocol.messages import (
    MESSAGE_BYTES,
    AnyCommand,
    Auth,
    ClientMessage,
    Command,
    Heartbeat,
    Resume,
)

JSON_DEPTH = 32
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[Auth | Resume | Heartbeat | AnyCommand, Field(discriminator="type")]
)


class UnreadableError(InvalidError):
    """A message that cannot be carried out; ``re`` is its id where it could be found."""

    def __init__(self, code: str, message: str, *, re: str | None = None, param: str | None = None) -> None:
        super().__init__(code, message, param=param)
        self.re = re


def decode(raw: bytes | str) -> ClientMessage:
    """Return the message; raises UnreadableError with a code of the closed list."""
    size = len(raw) if isinstance(raw, bytes) else len(raw.encode("utf-8", "surrogatepass"))
    if size > MESSAGE_BYTES:
        raise UnreadableError("message.too_large", f"A message may have {MESSAGE_BYTES} bytes.")
    _check_depth(raw)
    if (b"\\u0000" in raw) if isinstance(raw, bytes) else ("\\u0000" in raw):
        # Databases hold text without NUL; nobody types one.
        raise UnreadableError("message.invalid", "NUL characters are not text.")
    try:
        message = _CLIENT.validate_json(raw)
    except ValidationError as error:
        raise _explain(raw, error) from None
    if isinstance(message, Command) and message.changes and message.key is None:
        raise UnreadableError(
            "idempotency.key_required", f"{message.type} needs a key.", re=message.id, param="$.key"
        )
    return message


def command_adapter(model: type[Command]) -> TypeAdapter[Any]:
    """Return the parser of one command, for the HTTP twin."""
    return TypeAdapter(model)


def encode_message(message_id: str, type: str, now_ms: int, body: Any, *, re: str | None = None) -> bytes:
    """Return an envelope without a place in a stream: hello, ready, ok, error, heartbeat."""
    envelope: dict[str, Any] = {"v": 1, "id": message_id, "type": type}
    if re is not None:
        envelope["re"] = re
    envelope["ts"] = rfc3339(now_ms)
    envelope["body"] = body
    return to_json(envelope)


def encode_event(recorded: RecordedEvent) -> bytes:
    """Return the envelope of an event; its body goes out as it is stored."""
    return (
        f'{{"v":1,"id":"{recorded.event_id}","type":"{recorded.type}","ts":"{rfc3339(recorded.at_ms)}",'
        f'"stream":"{recorded.stream}","epoch":"{recorded.epoch}","seq":{recorded.seq},"body":{recorded.body}}}'
    ).encode()


def error_body(error: VitrineError) -> dict[str, Any]:
    """Return the body of ``error``. A code outside the closed list is a bug and is answered ``internal``."""
    known = ERROR_CODES.get(error.code)
    if known is None:
        return {
            "code": "internal",
            "class": ERROR_CODES["internal"].error_class.value,
            "message": ERROR_CODES["internal"].meaning,
        }
    body: dict[str, Any] = {
        "code": error.code,
        "class": known.error_class.value,
        "message": error.message,
    }
    if error.param is not None:
        body["param"] = error.param
    if error.retry_after_ms is not None:
        body["retry_after_ms"] = error.retry_after_ms
    if error.data:
        body["data"] = error.data
    return body


def _check_depth(raw: bytes | str) -> None:
    # A cheap bound first: a message with few brackets cannot be deep.
    opened = raw.count(b"{") + raw.count(b"[") if isinstance(raw, bytes) else raw.count("{") + raw.count("[")
    if opened <= JSON_DEPTH:
        return
    text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
    depth = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character in "{[":
            depth += 1
            if depth > JSON_DEPTH:
                raise UnreadableError("message.too_deep", f"A message may be {JSON_DEPTH} levels deep.")
        elif character in "}]":
            depth -= 1


def _explain(raw: bytes | str, error: ValidationError) -> UnreadableError:
    """Turn pydantic's report into one code, one sentence and the path of the first problem."""
    try:
        document = from_json(raw)
    except ValueError:
        return UnreadableError("message.malformed", "The message is not JSON in UTF-8.")
    if not isinstance(document, dict):
        return UnreadableError("message.malformed", "A message is a JSON object.")
    re = document.get("id")
    re = re if isinstance(re, str) and 0 < len(re) <= 64 else None
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        if not isinstance(document.get("type"), str):
            return UnreadableError("message.invalid", "A message has a type.", re=re, param="$.type")
        return UnreadableError(
            "command.unknown", f"There is no command {document['type'][:64]!r}.", re=re, param="$.type"
        )
    path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"][1:])
    code = "price.client_sent" if first["type"] == "price_sent" else "message.invalid"
    return UnreadableError(code, first["msg"], re=re, param=path)
