"""What the sender of webhooks asks about worlds, and how their notices are written."""

from __future__ import annotations

from typing import Any

from gateway.catalog.service import Catalog
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.identity.worlds import Scope, known_world, player_of, stop_webhook
from gateway.kernel.documents import encode
from gateway.kernel.errors import NotFoundError
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders.item_ids import to_the_second
from gateway.webhooks.model import Notice, Sight

_OF_WALLETS = frozenset({"wallet", "from", "to"})
"""Fields of notices that only worlds see that may see wallets."""


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

    def sight(self, reader: Reader, endpoint_id: str, subject: str) -> Sight | None:
        """What was written since the player's consent began, if it stands; wallets while they may be seen."""
        player = player_of(reader, endpoint_id, subject)
        if player is None:
            return None
        return Sight(player.after_seq, frozenset() if Scope.WALLETS in player.scopes else _OF_WALLETS)

    def stop(self, uow: UnitOfWork, endpoint_id: str, url: str, because: str) -> bool:
        """See Endpoints."""
        return stop_webhook(uow, endpoint_id, url, because)


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
        return {"type": notice_type, "timestamp": to_the_second(at_ms), "data": {"seq": seq, **data}}


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
