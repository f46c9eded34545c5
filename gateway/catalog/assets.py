"""Stored 3D models: files named after the hash of their content, so that they never change.

The database row of a model is written by the import; this is the folder beside it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from gateway.kernel.errors import NotFoundError

GLB_MEDIA_TYPE = "model/gltf-binary"
MAX_MODEL_BYTES = 50 * 1024 * 1024
_NAME = re.compile(r"([0-9a-f]{64})\.glb")


@dataclass(frozen=True, slots=True)
class ServedAsset:
    """What an HTTP response about a model needs. The content of an address never changes."""

    path: Path
    media_type: str
    bytes: int
    etag: str
    cache_control: str = "public, max-age=31536000, immutable"


def content_id(data: bytes) -> str:
    """Return the id of a model: the SHA-256 of its bytes in hex."""
    return hashlib.sha256(data).hexdigest()


class AssetStore:
    """A directory of ``<sha256>.glb``. Its methods block on the disk; call them off the event loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, data: bytes) -> str:
        """Store the bytes durably unless they are there already, and return their id.

        The file appears under its name only when it is complete, also after a power loss.
        """
        asset_id = content_id(data)
        target = self._directory / f"{asset_id}.glb"
        if target.exists():
            return asset_id
        self._directory.mkdir(parents=True, exist_ok=True)
        partial = self._directory / f".{asset_id}.{secrets.token_hex(4)}"
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        _sync_directory(self._directory)
        return asset_id

    def contains(self, asset_id: str) -> bool:
        """Return whether the model's bytes are here."""
        return (self._directory / f"{asset_id}.glb").exists()

    def served(self, name: str) -> ServedAsset:
        """Return what to send for ``<sha256>.glb``; NotFoundError ``asset.not_found`` for anything else."""
        match = _NAME.fullmatch(name)
        if match is not None:
            path = self._directory / name
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                pass
            else:
                return ServedAsset(path, GLB_MEDIA_TYPE, size, f'"{match.group(1)}"')
        raise NotFoundError("asset.not_found", "There is no such asset.")


def _sync_directory(directory: Path) -> None:
    """Make a rename durable. Windows has no directory handles to sync and orders renames itself."""
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
