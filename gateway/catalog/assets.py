"""Stored 3D models and pictures: files named after the hash of their content, so that they never change.

The database row of a model is written by the import; this is the folder beside it. Nothing is ever removed:
what was sold refers to it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from gateway.catalog.images import image_size
from gateway.kernel.errors import NotFoundError

GLB_MEDIA_TYPE = "model/gltf-binary"
PNG_MEDIA_TYPE = "image/png"
MAX_MODEL_BYTES = 50 * 1024 * 1024
MAX_PICTURE_BYTES = 1024 * 1024
MAX_PICTURE_SIDE_PX = 2_048
_NAME = re.compile(r"([0-9a-f]{64})\.(glb|png)")
_MEDIA_TYPES = {"glb": GLB_MEDIA_TYPE, "png": PNG_MEDIA_TYPE}


@dataclass(frozen=True, slots=True)
class ServedAsset:
    """What an HTTP response about a model or picture needs. The content of an address never changes."""

    path: Path
    media_type: str
    bytes: int
    etag: str
    cache_control: str = "public, max-age=31536000, immutable"


def picture_problem(data: bytes) -> str | None:
    """Return why a merchant's picture is not taken, or None. It is not decoded here."""
    if len(data) > MAX_PICTURE_BYTES:
        return f"has {len(data)} bytes; {MAX_PICTURE_BYTES} are the most"
    size = image_size(memoryview(data)) if data.startswith(b"\x89PNG") else None
    if size is None:
        return "is not a PNG"
    if not 1 <= min(size) <= max(size) <= MAX_PICTURE_SIDE_PX:
        return f"is {size[0]} by {size[1]} points; a side has at most {MAX_PICTURE_SIDE_PX}"
    return None


def content_id(data: bytes) -> str:
    """Return the id of a model or picture: the SHA-256 of its bytes in hex."""
    return hashlib.sha256(data).hexdigest()


class AssetStore:
    """A directory of ``<sha256>.glb`` and ``<sha256>.png``.

    Its methods block on the disk; call them off the event loop.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, data: bytes, kind: str = "glb") -> str:
        """Store the bytes durably unless they are there already, and return their id.

        The file appears under its name only when it is complete, also after a power loss.
        """
        asset_id = content_id(data)
        target = self._directory / f"{asset_id}.{kind}"
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

    def contains(self, asset_id: str, kind: str = "glb") -> bool:
        """Return whether the file's bytes are here."""
        return (self._directory / f"{asset_id}.{kind}").exists()

    def served(self, name: str) -> ServedAsset:
        """Return what to send for a stored file; NotFoundError ``asset.not_found`` for anything else."""
        match = _NAME.fullmatch(name)
        if match is not None:
            path = self._directory / name
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                pass
            else:
                return ServedAsset(path, _MEDIA_TYPES[match.group(2)], size, f'"{match.group(1)}"')
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
