"""Metadata of minted items (ERC-1155 Metadata URI JSON): what marketplaces and wallets show."""

from __future__ import annotations

import hashlib
import re

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.commands import token_metadata as commands
from gateway.http.callers import InContext
from gateway.http.problems import problem
from gateway.kernel.documents import encode
from gateway.kernel.errors import NotFoundError

router = APIRouter(tags=["tokens"])

_NAME = re.compile(r"[0-9a-f]{64}")
_ANYBODY = {
    # Marketplaces and wallets in browsers read it from their own sites.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag",
    "X-Content-Type-Options": "nosniff",
}
_CHANGING = "public, max-age=60"
"""How long a token's state may be old."""
_FOR_EVER = "public, max-age=31536000, immutable"
_NO_TOKEN = ("token.not_found", "There is no such digital item.")
_NO_DOCUMENT = ("document.not_found", "There is no such document.")


@router.head("/v1/tokens/{name}.json", include_in_schema=False)
@router.get("/v1/tokens/{name}.json")
async def token_metadata(request: Request, context: InContext, name: str) -> Response:
    """What a token is and how it stands. ``name`` is its id as 64 lower-case hex digits, as EIP-1155
    substitutes ``{id}``. A copy that is not on the chain yet is not found."""
    if _NAME.fullmatch(name) is None:
        return _missing()
    try:
        document = await commands.token_metadata(context, int(name, 16))
    except NotFoundError:
        return _missing()
    body = encode(document).encode()
    return _answer(request, body, hashlib.sha256(body).hexdigest(), _CHANGING)


@router.head("/v1/documents/{sha256}.json", include_in_schema=False)
@router.get("/v1/documents/{sha256}.json")
async def document(request: Request, context: InContext, sha256: str) -> Response:
    """What a token says of itself for ever: canonical JSON whose SHA-256 is its address."""
    if _NAME.fullmatch(sha256) is None:
        return _missing(_NO_DOCUMENT)
    try:
        body = await commands.token_document(context, sha256)
    except NotFoundError:
        return _missing(_NO_DOCUMENT)
    return _answer(request, body, sha256, _FOR_EVER)


def _answer(request: Request, body: bytes, digest: str, kept: str) -> Response:
    headers = {**_ANYBODY, "ETag": f'"{digest}"', "Cache-Control": kept}
    # RFC 9110, section 13.1.2: a weak comparison is enough.
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if known & {headers["ETag"], "*"}:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _missing(what: tuple[str, str] = _NO_TOKEN) -> Response:
    """Not to be kept: it may be minted in a moment."""
    answer = problem(NotFoundError(*what))
    answer.headers.update({**_ANYBODY, "Cache-Control": "no-store"})
    return answer
