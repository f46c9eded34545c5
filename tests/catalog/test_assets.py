from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from gateway.catalog.assets import AssetStore
from gateway.kernel.errors import NotFoundError


def test_model_is_stored_under_its_hash_and_served_as_it_is(tmp_path: Path) -> None:
    assets = AssetStore(tmp_path / "assets")
    asset_id = assets.put(b"a model")
    assert asset_id == hashlib.sha256(b"a model").hexdigest()
    served = assets.served(f"{asset_id}.glb")
    assert served.path.read_bytes() == b"a model"
    assert served.media_type == "model/gltf-binary"
    assert served.bytes == 7
    assert served.etag == f'"{asset_id}"'
    assert "immutable" in served.cache_control


def test_storing_again_changes_nothing(tmp_path: Path) -> None:
    assets = AssetStore(tmp_path)
    path = assets.served(f"{assets.put(b'a model')}.glb").path
    before = path.stat().st_mtime_ns
    assets.put(b"a model")
    assert path.stat().st_mtime_ns == before
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_half_written_file_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = AssetStore(tmp_path)

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            assets.put(b"a model")
    assert list(tmp_path.iterdir()) == []
    assert assets.contains(assets.put(b"a model"))


@pytest.mark.parametrize(
    "name",
    ["", "x.glb", "../gateway.db", "0" * 64, "0" * 64 + ".glb", "0" * 64 + ".glb/..", "A" * 64 + ".glb"],
)
def test_anything_but_a_stored_hash_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError) as missing:
        AssetStore(tmp_path).served(name)
    assert missing.value.code == "asset.not_found"
