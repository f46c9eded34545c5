"""Pictures of models: read back, and looked at point by point."""

from __future__ import annotations

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from trimesh.visual.material import PBRMaterial

from gateway.catalog import pictures
from gateway.catalog.models3d import measure
from samples.catalog.modelling import home, wear
from tests.catalog.glbs import cube

Points = NDArray[np.float64]


def read_png(data: bytes) -> Points:
    """Return RGBA points between 0 and 1. Reads what `pictures` writes, checks every chunk."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, width, height = 8, b"", 0, 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (check,) = struct.unpack_from(">I", data, at + 8 + length)
        assert check == zlib.crc32(kind + body)
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack_from(">IIBB", body)
            assert (depth, color) == (8, 6)
        if kind == b"IDAT":
            packed += body
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * 4)
    assert (rows[:, 0] == 2).all()
    points = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint64) % 256
    return points.reshape(height, width, 4) / 255


def drawn(glb: bytes) -> Points:
    found = measure(glb).picture
    assert found
    return read_png(found)


def box(color: list[float], **material: Any) -> trimesh.Trimesh:
    mesh = trimesh.creation.box((1, 1, 1))
    mesh.visual = trimesh.visual.TextureVisuals(material=PBRMaterial(baseColorFactor=color, **material))
    return mesh


def test_a_picture_shows_the_whole_model_in_its_middle() -> None:
    cover = drawn(home.lamp().glb())[..., 3]
    assert cover.shape == (pictures.SIDE_PX, pictures.SIDE_PX)
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    free = round(pictures.SIDE_PX * pictures.MARGIN)
    assert min(rows[0], columns[0]) >= free - 1
    assert max(rows[-1], columns[-1]) <= pictures.SIDE_PX - free + 1
    assert abs(rows[0] + rows[-1] - pictures.SIDE_PX) <= 3
    # The long side fills what the margin leaves.
    assert rows[-1] - rows[0] > pictures.SIDE_PX * 0.85
    # The ground is seen through, and the edges are soft.
    assert cover[0].max() == 0
    assert ((cover > 0) & (cover < 1)).any()


def test_colours_are_the_models() -> None:
    points = drawn(home.mug("mug", "#3f6f86").glb())
    red, green, blue = points[points[..., 3] == 1][:, :3].mean(axis=0)
    assert blue > green > red


def test_what_is_nearer_hides_what_is_behind() -> None:
    front, back = box([255, 0, 0, 255]), box([0, 0, 255, 255])
    front.apply_translation((0.2, 0.2, 1.5))
    scene = trimesh.Scene([back, front])
    points = read_png(pictures.draw(scene, 24))
    seen = points[points[..., 3] == 1]
    assert (seen[:, 0] > 0.2).any() and (seen[:, 2] > 0.2).any()
    # No point mixes both: one is in front.
    assert not ((seen[:, 0] > 0.3) & (seen[:, 2] > 0.3)).all(axis=0)


def test_what_is_seen_through_is_laid_over_the_rest() -> None:
    solid = read_png(pictures.draw(trimesh.Scene([box([255, 0, 0, 255])]), 12))
    clear = read_png(pictures.draw(trimesh.Scene([box([255, 0, 0, 128], alphaMode="BLEND")]), 12))
    middle = pictures.SIDE_PX // 2
    assert solid[middle, middle, 3] == 1
    assert clear[middle, middle, 3] == pytest.approx(128 / 255, abs=0.02)


def test_the_same_model_gives_the_same_picture() -> None:
    glb = wear.hat("hat", "#c9b48a", "#b5432f").glb()
    assert measure(glb).picture == measure(glb).picture


def test_a_model_that_is_too_large_has_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_TRIANGLES", 11)
    assert measure(cube(0.2, 0.3, 0.1)).picture == b""


def test_a_model_of_many_large_faces_has_no_picture_and_is_taken() -> None:
    faces = 60_000
    one = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    corners = np.repeat(one[None], faces, axis=0)
    corners[..., 2] = np.linspace(0, 1, faces)[:, None]
    stack = trimesh.Trimesh(corners.reshape(-1, 3), np.arange(3 * faces).reshape(-1, 3), process=False)
    started = time.monotonic()
    assert measure(trimesh.Scene([stack]).export(file_type="glb")).picture == b""
    assert time.monotonic() - started < 15


def test_a_scene_of_points_alone_has_no_picture() -> None:
    points = trimesh.PointCloud(np.eye(3))
    assert pictures.draw(trimesh.Scene([points]), 0) == b""


def test_a_flat_model_is_drawn() -> None:
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    data = trimesh.Scene([sheet]).export(file_type="glb")
    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb")
    assert read_png(pictures.draw(scene, 2))[..., 3].max() == 1
