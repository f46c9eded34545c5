"""The protocol's documents, made from the models: JSON Schema per message and AsyncAPI 3.

The generated AsyncAPI document is committed under ``docs/``; a test fails when it differs from the code.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from gateway.protocol.close_codes import CloseCode
from gateway.protocol.documents import (
    REPLIES,
    ErrorBody,
    HeartbeatReply,
    HelloBody,
    ReadyBody,
    SnapshotBody,
)
from gateway.protocol.errors import ERROR_CODES
from gateway.protocol.events import EVENTS
from gateway.protocol.messages import COMMANDS, SUBPROTOCOL, Auth, Heartbeat, Resume

_SERVER_MESSAGES: dict[str, type[BaseModel]] = {
    "hello": HelloBody,
    "ready": ReadyBody,
    "snapshot": SnapshotBody,
    "error": ErrorBody,
    "heartbeat": HeartbeatReply,
}


@cache
def message_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every message by name.

    Names: the type for what a client sends (``order.place``) and for events (``order.placed``);
    ``<command>.ok`` for the reply of a command; ``server.<type>`` for the other messages of the gateway.
    """
    schemas: dict[str, dict[str, Any]] = {}
    client_messages: tuple[type[BaseModel], ...] = (Auth, Resume, Heartbeat, *COMMANDS)
    for model in client_messages:
        schemas[type_of(model)] = _schema(model)
    for command, reply in REPLIES.items():
        schemas[f"{command}.ok"] = _envelope("ok", _schema(reply), answers=True)
    for name, body in _SERVER_MESSAGES.items():
        schemas[f"server.{name}"] = _envelope(name, _schema(body), answers=name != "hello")
    for name, body in EVENTS.items():
        schemas[name] = _event_envelope(name, _schema(body))
    return schemas


def message_schema(name: str) -> dict[str, Any] | None:
    """Return one message's schema, or None."""
    return message_schemas().get(name)


def type_of(model: type[BaseModel]) -> str:
    """Return the ``type`` a client message is told apart by."""
    (value,) = model.model_fields["type"].annotation.__args__  # type: ignore[union-attr]  # a Literal
    return str(value)


@cache
def asyncapi_document() -> dict[str, Any]:
    """Return the socket protocol as AsyncAPI 3.0."""
    schemas = message_schemas()
    messages = {
        _key(name): {
            "name": name,
            "title": name,
            "contentType": "application/json",
            "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": schema},
            "correlationId": {"location": "$message.payload#/id"},
        }
        for name, schema in schemas.items()
    }
    channel = {"$ref": "#/channels/session"}
    operations: dict[str, Any] = {}
    for model in COMMANDS:
        name = type_of(model)
        operations[_key(name)] = {
            "action": "receive",
            "channel": channel,
            "summary": (model.__doc__ or name).strip().splitlines()[0] if model.__doc__ else name,
            "messages": [_in_channel(name)],
            "reply": {
                "channel": channel,
                "messages": [_in_channel(f"{name}.ok"), _in_channel("server.error")],
            },
        }
    operations["sign_in"] = {
        "action": "receive",
        "channel": channel,
        "summary": "Sign in, or sign in and continue after an event number.",
        "messages": [_in_channel("auth"), _in_channel("resume")],
        "reply": {
            "channel": channel,
            "messages": [_in_channel("server.ready"), _in_channel("server.error")],
        },
    }
    operations["beat"] = {
        "action": "receive",
        "channel": channel,
        "summary": "Say that the application lives and what it has seen.",
        "messages": [_in_channel("heartbeat")],
        "reply": {"channel": channel, "messages": [_in_channel("server.heartbeat")]},
    }
    operations["tell"] = {
        "action": "send",
        "channel": channel,
        "summary": "Greeting, snapshot and the events of the customer's stream.",
        "messages": [
            _in_channel("server.hello"),
            _in_channel("server.snapshot"),
            *(_in_channel(name) for name in EVENTS),
        ],
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Vitrine",
            "version": "1.0.0",
            "description": f"WebSocket protocol {SUBPROTOCOL}: hello, sign-in, commands with one reply each, "
            "and a gapless numbered stream of events per customer.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:8080",
                "protocol": "ws",
                "description": "A gateway started with make serve.",
            }
        },
        "channels": {
            "session": {
                "address": "/v1/connect",
                "title": "One customer's session",
                "messages": {_key(name): {"$ref": f"#/components/messages/{_key(name)}"} for name in schemas},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": operations,
        "components": {"messages": messages},
        "x-error-codes": {
            code: {
                "class": entry.error_class.value,
                "http_status": entry.http_status,
                "meaning": entry.meaning,
            }
            for code, entry in ERROR_CODES.items()
        },
        "x-close-codes": {
            str(code.value): {"name": code.name.lower(), "client": code.client_action} for code in CloseCode
        },
    }


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")


def _envelope(name: str, body: dict[str, Any], *, answers: bool) -> dict[str, Any]:
    definitions = body.pop("$defs", None)
    schema: dict[str, Any] = {
        "title": name,
        "type": "object",
        "properties": {
            "v": {"const": 1},
            "id": {"type": "string"},
            "type": {"const": name},
            "ts": {"type": "string", "format": "date-time"},
            "body": body,
        },
        "required": ["v", "id", "type", "ts", "body"],
    }
    if answers:
        schema["properties"]["re"] = {"type": "string", "description": "The id of the message answered."}
    if definitions:
        schema["$defs"] = definitions
    return schema


def _event_envelope(name: str, body: dict[str, Any]) -> dict[str, Any]:
    schema = _envelope(name, body, answers=False)
    schema["properties"] |= {
        "stream": {"type": "string"},
        "epoch": {"type": "string"},
        "seq": {"type": "integer", "minimum": 1},
    }
    schema["required"] += ["stream", "epoch", "seq"]
    return schema


def _key(name: str) -> str:
    return name.replace(".", "_")


def _in_channel(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/session/messages/{_key(name)}"}
