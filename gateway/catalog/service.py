"""The catalog of a running gateway: the current snapshot, and when to load another."""

from __future__ import annotations

from gateway.catalog.loading import load_snapshot, read_version
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.kernel.store.unit import Store


class Catalog:
    """Holds the snapshot that this process answers from. Used from one event loop."""

    def __init__(self, snapshot: CatalogSnapshot | None = None) -> None:
        self._current = snapshot or CatalogSnapshot(0)

    @property
    def current(self) -> CatalogSnapshot:
        """The snapshot; a caller that looks up twice keeps the one it has."""
        return self._current

    async def refresh(self, store: Store) -> CatalogSnapshot:
        """Load the catalog as it is committed now, and return it."""
        loaded = await store.read(load_snapshot)
        # Two refreshes may overlap; the older one must not win.
        if loaded.version >= self._current.version:
            self._current = loaded
        return self._current

    async def refresh_if_stale(self, store: Store) -> bool:
        """Load again if another process (or this one) imported since; costs one row when not."""
        if await store.read(read_version) == self._current.version:
            return False
        await self.refresh(store)
        return True
