"""What anybody may fetch: health, the protocol's documents, and 3D models."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response

from gateway.http.callers import InContext
from gateway.kernel.tasks.queue import open_tasks, parked_tasks
from gateway.protocol.schema import asyncapi_document, message_schema, message_schemas
from wallets.minting.backlog import mints_that_wait

router = APIRouter()


@router.get("/", include_in_schema=False)
async def front() -> Response:
    """Whoever opens the gateway in a browser finds the API's documents."""
    return RedirectResponse("/docs")


@router.get("/healthz", tags=["operation"])
async def health() -> Any:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", tags=["operation"])
async def ready(context: InContext) -> Any:
    """The process can do its work: the database answers; open and parked tasks are counted, and the mints
    that wait for their merchant's gas of the next day, or for a person."""
    open_count, parked, mints = await context.store.read(
        lambda reader: (open_tasks(reader), len(parked_tasks(reader)), mints_that_wait(reader))
    )
    return {
        "status": "ready",
        "open_tasks": open_count,
        "parked_tasks": parked,
        "held_mints": mints.held,
        "parked_mints": mints.parked,
    }


@router.get("/v1/asyncapi.json", tags=["documents"])
async def asyncapi() -> Any:
    """The socket protocol as an AsyncAPI 3 document."""
    return asyncapi_document()


@router.get("/v1/schemas", tags=["documents"])
async def schemas() -> Any:
    """The names of the message schemas."""
    return {"schemas": sorted(message_schemas())}


@router.get("/v1/schemas/{name}.json", tags=["documents"])
async def schema(name: str) -> Response:
    """The JSON Schema of one message."""
    found = message_schema(name)
    if found is None:
        return JSONResponse({"detail": "no such message"}, status_code=404)
    return JSONResponse(found, media_type="application/schema+json")


@router.head("/v1/assets/{name}", include_in_schema=False)
@router.get("/v1/assets/{name}", tags=["assets"])
async def asset(context: InContext, name: str) -> Response:
    """A 3D model, or a picture of one. Its address is its content, so it may be kept for ever."""
    served = await asyncio.to_thread(context.assets.served, name)
    return FileResponse(
        served.path,
        media_type=served.media_type,
        headers={
            "Cache-Control": served.cache_control,
            "ETag": served.etag,
            "Access-Control-Allow-Origin": "*",
            "X-Content-Type-Options": "nosniff",
        },
    )
