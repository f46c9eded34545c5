"""What the sender of webhooks asks about worlds, and how their notices are written."""

from __future__ import annotations

from typing import Any

from gateway.catalog.service import Catalog
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.identity.worlds import known_world, player_of, stop_webhook
from gateway.kernel.clock import rfc3339
from gateway.kernel.documents import encode
from gateway.kernel.errors import NotFoundError
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.webhooks.model import Notice


class WorldEndpoints:
    """Worlds as endpoints of webhooks, and their players as the subjects. Implements
    `gateway.webhooks.delivery.Endpoints`."""

    def url_of(self, reader: Reader, endpoint_id: str) -> str | None:
        """See Endpoints."""
        try:
            found = known_world(reader, endpoint_id)
        except NotFoundError:
            return None  # closed meanwhile
        return found.webhook_url if found.stopped_because is None else None

    def may_know(self, reader: Reader, endpoint_id: str, subject: str, since_ms: int) -> bool:
        """Whether the player's consent stands, and stood when it happened without an end in between."""
        player = player_of(reader, endpoint_id, subject)
        return player is not None and player.allowed_at_ms <= since_ms

    def stop(self, uow: UnitOfWork, endpoint_id: str, url: str, because: str) -> None:
        """See Endpoints."""
        stop_webhook(uow, endpoint_id, url, because)


class NoticeWriter:
    """Writes the body of a notice: ``type``, ``timestamp`` of the fact, and ``data``."""

    def __init__(self, catalog: Catalog, base_url: str) -> None:
        self._catalog = catalog
        self._base_url = base_url

    def body(self, notice: Notice) -> bytes:
        """Return what is signed and sent."""
        document = self.document(notice.seq, notice.type, notice.data, notice.created_at_ms)
        return encode(document).encode()

    def document(self, seq: int, notice_type: str, data: dict[str, Any], at_ms: int) -> dict[str, Any]:
        """Return a notice as it is sent and as it is paged. ``seq`` says where paging goes on after it."""
        if "item" in data:
            item = data["item"]
            snapshot = self._catalog.current
            data = {**data, "item": with_model(snapshot, self._base_url, item)}
        return {"type": notice_type, "timestamp": rfc3339(at_ms), "data": {"seq": seq, **data}}


def with_model(snapshot: CatalogSnapshot, base_url: str, item: dict[str, Any]) -> dict[str, Any]:
    """Return an item's document with ``model_url``, where its 3D model is served; null without one."""
    return {**item, "model_url": _model_url(snapshot, base_url, item["merchant"], item["sku"])}


def _model_url(snapshot: CatalogSnapshot, base_url: str, merchant: str, sku: str) -> str | None:
    try:
        variant = snapshot.variant(snapshot.merchant_by_slug(merchant).merchant_id, sku)
    except NotFoundError:
        return None  # it is sold no more
    if variant.digital is None or variant.digital.asset_id is None:
        return None
    return f"{base_url}{snapshot.asset(variant.digital.asset_id).url}"
