"""The HTTP API as a page to read: made from the OpenAPI document, without scripts or anything from elsewhere.

It shares its origin with the pages that take payments, so nothing on it may run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, Response

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_TAGS = {
    "customer": "For customers, with a device's access token. The socket has the same and more.",
    "cards": "Storing cards. Numbers reach the vault alone.",
    "merchant": "For merchants, with an API key.",
    "merchant payments": "Refunds, collections and pay links of a merchant's orders, with an API key.",
    "documents": "The socket protocol, for machines.",
    "assets": "3D models.",
    "tokens": "What a token's address shows.",
    "operation": "For load balancers and monitoring.",
    "hosted pages": "For browsers: where customers approve payments and pay links.",
}
_METHODS = ("get", "post", "put", "patch", "delete")

Document = Mapping[str, Any]


def reference_router(app: FastAPI) -> APIRouter:
    """Return the routes of the page. It describes what ``app`` serves by the first time it is asked for."""
    router = APIRouter(include_in_schema=False)

    @cache
    def page() -> str:
        return reference_page(app.openapi())

    @router.get("/docs")
    async def show() -> Response:
        return HTMLResponse(page(), headers=_HEADERS)

    @router.get("/docs/reference.css")
    async def stylesheet() -> Response:
        return Response(_stylesheet(), media_type="text/css; charset=utf-8", headers=_HEADERS)

    return router


def reference_page(document: Document) -> str:
    """Return the page of an OpenAPI 3.1 document."""
    groups: dict[str, list[str]] = {tag: [] for tag in _TAGS}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                tag = operation.get("tags", ["operation"])[0]
                groups.setdefault(tag, []).append(_operation(document, path, method, operation))
    sections = [
        f'<section id="{_anchor(tag)}"><h2>{escape(tag.capitalize())}</h2><p>{escape(_TAGS.get(tag, ""))}</p>'
        f"{''.join(entries)}</section>"
        for tag, entries in groups.items()
        if entries
    ]
    contents = "".join(
        f'<a href="#{_anchor(tag)}">{escape(tag.capitalize())}</a>'
        for tag, entries in groups.items()
        if entries
    )
    info = document["info"]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(info['title'])}: HTTP API</title>\n"
        '<link rel="stylesheet" href="/docs/reference.css">\n</head>\n<body>\n<main>\n'
        f"<h1>{escape(info['title'])}</h1>\n<p>{escape(info.get('description', ''))}</p>\n"
        '<p>The same for machines: <a href="/v1/openapi.json">openapi.json</a>, '
        '<a href="/v1/asyncapi.json">asyncapi.json</a>.</p>\n'
        f"<nav>{contents}</nav>\n{''.join(sections)}\n</main>\n</body>\n</html>\n"
    )


def _operation(document: Document, path: str, method: str, operation: Document) -> str:
    text = operation.get("description") or operation.get("summary", "")
    first, _, rest = text.partition("\n\n")
    parts = [f"<p>{_text(paragraph)}</p>" for paragraph in rest.split("\n\n") if paragraph.strip()]
    # The credential is said once, above the group.
    given = [one for one in operation.get("parameters", ()) if one["name"].lower() != "authorization"]
    if given:
        rows = [
            (one["name"], one["in"], _type(document, one["schema"]), one.get("required", False), "")
            for one in given
        ]
        parts.append(_table("Parameters", rows))
    body = _body(operation)
    if body is not None:
        parts.append(_table("Body", _fields(document, body)))
    good = [status for status in operation["responses"] if status.startswith("2")]
    parts.append(
        f'<p class="answers">Answers {escape(", ".join(good))}; errors are problem documents (RFC 9457).</p>'
    )
    return (
        f'<details><summary><span class="method {method}">{method.upper()}</span> '
        f"<code>{escape(path)}</code> "
        f"<span>{_text(first)}</span></summary>{''.join(parts)}</details>\n"
    )


def _body(operation: Document) -> Document | None:
    content = operation.get("requestBody", {}).get("content", {})
    schema: Document | None = content.get("application/json", {}).get("schema")
    return schema


def _fields(document: Document, schema: Document, prefix: str = "") -> list[tuple[str, str, str, bool, str]]:
    """Return a row for each field, those of inner objects with a dotted name."""
    resolved = _resolved(document, schema)
    required = resolved.get("required", ())
    rows = []
    for name, field in resolved.get("properties", {}).items():
        meaning = field.get("description", "")
        rows.append((prefix + name, "", _type(document, field), name in required, meaning))
        inner = _resolved(document, field)
        if inner.get("properties") and prefix.count(".") < 2:
            rows += _fields(document, inner, f"{prefix}{name}.")
    return rows


def _resolved(document: Document, schema: Document) -> Document:
    while "$ref" in schema:
        found: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    return schema


def _type(document: Document, schema: Document) -> str:
    """Return a type in words: ``string, at most 64 characters``, ``list of object``."""
    schema = _resolved(document, schema)
    if "anyOf" in schema:
        return " or ".join(_type(document, one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(one) for one in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_type(document, schema.get('items', {}))}"
    words = [str(schema.get("type", "any"))]
    if "maxLength" in schema:
        words.append(f"at most {schema['maxLength']} characters")
    if "minimum" in schema and "maximum" in schema:
        words.append(f"{schema['minimum']} to {schema['maximum']}")
    if "format" in schema:
        words.append(str(schema["format"]))
    return ", ".join(words)


def _table(title: str, rows: list[tuple[str, str, str, bool, str]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code>{'' if required else ' <small>optional</small>'}</td>"
        f"<td>{escape(kind)}{f' <small>in {escape(where)}</small>' if where else ''}</td>"
        f"<td>{_text(meaning)}</td></tr>"
        for name, where, kind, required, meaning in rows
    )
    return f"<h3>{title}</h3><table>{lines}</table>"


def _text(prose: str) -> str:
    """Return a docstring's text as HTML, names in it as code."""
    return re.sub(r"``(.+?)``", r"<code>\1</code>", escape(prose))


def _anchor(tag: str) -> str:
    return tag.replace(" ", "-")


@cache
def _stylesheet() -> bytes:
    return resources.files("gateway.http.assets").joinpath("reference.css").read_bytes()
