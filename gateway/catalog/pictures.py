"""Drawing a picture of a model, for shops, wallets and marketplaces that show no 3D.

A small rasterizer on numpy: parallel projection from the front, a little from the right and above; smooth
shading in the base colours; four samples per point; the ground is transparent. It runs in the worker of
`gateway.catalog.models3d`. The same model gives the same picture on the same machine.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

SIDE_PX = 512
MARGIN = 0.06
"""Free on each side, as a share of the side."""
MOST_TRIANGLES = 500_000
"""A larger model has no picture: an import should not wait for it."""
MOST_SAMPLES = 1_000_000_000
"""In the boxes around all triangles, a few seconds of work. A model with more, of large faces one behind the
other, has no picture: it must not be refused for the time that drawing it takes."""
_SAMPLES = 2
"""Per point and direction."""
_CHUNK = 2_000_000
"""Most samples in the boxes around triangles that are looked at together."""
_YAW, _PITCH = 0.55, 0.35
"""How far the eye is to the right and above, in radians."""
_LIGHTS = (((-0.45, 0.75, 0.6), 0.75), ((0.8, 0.15, 0.5), 0.28))
"""Direction to the light as the eye sees it, and its strength."""
_AMBIENT = 0.38


def draw(scene: Any, triangles: int) -> bytes:
    """Return a picture (PNG with transparency) of a trimesh scene; empty for one that is too large."""
    if triangles > MOST_TRIANGLES:
        return b""
    import numpy as np

    soup = _soup(scene)
    if soup is None:
        return b""
    canvas = _Canvas(SIDE_PX * _SAMPLES)
    soup = canvas.fitted(soup)
    if _boxes(soup.corners).sum(dtype=np.float64) > MOST_SAMPLES:
        return b""
    # What is seen through is laid over the rest, its nearest layer only.
    solid = soup.alpha >= 1
    canvas.lay(soup.only(solid))
    canvas.lay(soup.only(~solid))
    return _png(canvas.points())


class _Soup(NamedTuple):
    """Triangles as the eye sees them: x right, y up, z towards it. One row of each array per triangle."""

    corners: Floats
    """(n, 3 corners, 3)"""
    normals: Floats
    """(n, 3 corners, 3), of length one."""
    color: Floats
    """(n, 3), linear."""
    glow: Floats
    alpha: Floats
    both_sides: NDArray[np.bool_]

    def only(self, which: Any) -> _Soup:
        """Return the chosen triangles."""
        return _Soup(*(values[which] for values in self))


def _soup(scene: Any) -> _Soup | None:
    """Return the scene's triangles, every instance of a mesh, or None if it has none."""
    import numpy as np

    cy, sy, cp, sp = np.cos(_YAW), np.sin(_YAW), np.cos(_PITCH), np.sin(_PITCH)
    eye = np.array([[cy, 0, -sy], [-sy * sp, cp, -cy * sp], [sy * cp, sp, cy * cp]])
    found = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not hasattr(mesh, "faces") or not len(mesh.faces):
            continue
        turn = eye @ transform[:3, :3]
        corners = mesh.vertices @ turn.T + eye @ transform[:3, 3]
        faces = np.asarray(mesh.faces)
        if np.linalg.det(transform[:3, :3]) < 0:
            faces = faces[:, ::-1]
        normals = _normals(mesh, turn, corners, faces)
        color, glow, alpha, both_sides = _material(getattr(mesh.visual, "material", None))
        found.append(
            _Soup(
                corners[faces].astype(np.float32),
                normals.astype(np.float32),
                np.tile(np.array(color, np.float32), (len(faces), 1)),
                np.tile(np.array(glow, np.float32), (len(faces), 1)),
                np.full(len(faces), alpha, np.float32),
                np.full(len(faces), both_sides),
            )
        )
    return _Soup(*map(np.concatenate, zip(*found, strict=True))) if found else None


def _normals(mesh: Any, turn: Any, corners: Any, faces: Any) -> Any:
    """Return a normal per corner, (n, 3, 3): the file's own, or flat ones (glTF 2.0, section 3.7.2.1).

    The library would also work out smooth ones, which takes minutes for a large mesh.
    """
    import numpy as np

    if "vertex_normals" in mesh._cache:
        # They turn with the inverse transpose; a flattened mesh has none, so the nearest thing to it.
        found = (mesh.vertex_normals @ np.linalg.pinv(turn))[faces]
    else:
        one, two, three = (corners[faces[:, at]] for at in range(3))
        found = np.repeat(np.cross(two - one, three - one)[:, None, :], 3, axis=1)
    lengths = np.linalg.norm(found, axis=2, keepdims=True)
    return found / np.where(lengths > 0, lengths, 1)


def _material(material: Any) -> tuple[list[float], list[float], float, bool]:
    """Return linear base colour, emission, alpha, and whether both sides are seen."""
    factor = getattr(material, "baseColorFactor", None)
    color = [1.0] * 4 if factor is None else [float(value) / 255 for value in factor]
    emission = getattr(material, "emissiveFactor", None)
    glow = [0.0] * 3 if emission is None else [float(value) for value in emission]
    alpha = color[3] if getattr(material, "alphaMode", None) == "BLEND" else 1.0
    return color[:3], glow, alpha, bool(getattr(material, "doubleSided", False))


class _Canvas:
    """Square, ``side`` samples wide. A place is a sample's number, row by row."""

    def __init__(self, side: int) -> None:
        import numpy as np

        self._np = np
        self._side = side
        # Colours are held multiplied with their cover, so that edges mix as they should.
        self._color = np.zeros((side * side, 3), np.float32)
        self._cover = np.zeros(side * side, np.float32)
        self._depth = np.full(side * side, -np.inf, np.float32)

    def fitted(self, soup: _Soup) -> _Soup:
        """Return the soup in samples, all of it on the canvas. y then points down."""
        np = self._np
        low, high = soup.corners.min(axis=(0, 1)), soup.corners.max(axis=(0, 1))
        size = max(float(high[0] - low[0]), float(high[1] - low[1]), 1e-9)
        scale = np.float32(self._side * (1 - 2 * MARGIN) / size)
        corners = (soup.corners - (low + high) / 2) * scale * np.array([1, -1, 1], np.float32)
        corners[..., :2] += self._side / 2
        return soup._replace(corners=corners)

    def lay(self, soup: _Soup) -> None:
        """Draw over what is there, each sample by the triangle that is nearest to the eye."""
        np = self._np
        a, b, c = (soup.corners[:, at] for at in range(3))
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        # With y pointing down a triangle that faces the eye has a negative area.
        seen = np.where(soup.both_sides, np.abs(area), -area) > 1e-6
        soup, area = soup.only(seen), area[seen]
        if not len(area):
            return
        depths = self._slopes(soup.corners, area, soup.corners[..., 2])
        lights = self._slopes(soup.corners, area, self._light(soup, area))
        owner = np.full(self._side * self._side, -1, np.int64)
        for first, last in self._chunks(soup.corners):
            which, place = self._covered(soup.corners[first:last], area[first:last])
            which += first
            depth = self._values(depths, which, place)
            np.maximum.at(self._depth, place, depth)
            nearest = depth == self._depth[place]
            owner[place[nearest]] = which[nearest]
        place = np.flatnonzero(owner >= 0)
        which = owner[place]
        light = np.maximum(self._values(lights, which, place), 0)
        color = light[:, None] * soup.color[which] + soup.glow[which]
        alpha = soup.alpha[which]
        self._color[place] = self._color[place] * (1 - alpha[:, None]) + color * alpha[:, None]
        self._cover[place] = self._cover[place] * (1 - alpha) + alpha

    def points(self) -> Any:
        """Return the picture as (side, side, 4) bytes, sRGB with straight alpha."""
        np = self._np
        color, cover = self._averaged(self._color), self._averaged(self._cover[:, None])
        color = np.clip(color / np.maximum(cover, 1e-6), 0, 1)
        srgb = np.where(color <= 0.0031308, color * 12.92, 1.055 * color ** (1 / 2.4) - 0.055)
        return np.round(np.concatenate([srgb, cover], axis=2) * 255).astype(np.uint8)

    def _averaged(self, samples: Floats) -> Floats:
        square = samples.reshape(self._side, self._side, -1)
        total = self._np.zeros_like(square[::_SAMPLES, ::_SAMPLES])
        for y in range(_SAMPLES):
            for x in range(_SAMPLES):
                total += square[y::_SAMPLES, x::_SAMPLES]
        return total / self._np.float32(_SAMPLES * _SAMPLES)

    def _chunks(self, corners: Floats) -> Iterator[tuple[int, int]]:
        np = self._np
        until = np.cumsum(_boxes(corners), dtype=np.float64)
        first = 0
        while first < len(until):
            before = until[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(until, before + _CHUNK)))
            yield first, last
            first = last

    def _covered(self, corners: Floats, area: Floats) -> tuple[Ints, Ints]:
        """Return triangle and place of every sample whose middle lies in a triangle, row by row of each."""
        np = self._np
        top = np.maximum(np.ceil(corners[..., 1].min(axis=1) - 0.5), 0).astype(np.int64)
        bottom = np.minimum(np.floor(corners[..., 1].max(axis=1) - 0.5), self._side - 1).astype(np.int64)
        which, y = _spread(top, np.maximum(bottom - top + 1, 0))
        left = np.full(len(which), 0.5, np.float64)
        right = np.full(len(which), self._side - 0.5, np.float64)
        flip = np.where(area < 0, -1.0, 1.0)[which]
        for at in range(3):
            one, two = (
                corners[which, at, :2].astype(np.float64),
                corners[which, at - 2, :2].astype(np.float64),
            )
            # Inside is where slope * x + rest >= 0.
            slope = (one[:, 1] - two[:, 1]) * flip
            rest = (
                (two[:, 0] - one[:, 0]) * (y + 0.5 - one[:, 1]) + (two[:, 1] - one[:, 1]) * one[:, 0]
            ) * flip
            edge = -rest / np.where(slope == 0, 1, slope)
            left = np.where(slope > 0, np.maximum(left, edge), left)
            right = np.where(slope < 0, np.minimum(right, edge), right)
            right = np.where((slope == 0) & (rest < 0), -1, right)
        begin = np.ceil(left - 0.5).astype(np.int64)
        end = np.floor(right - 0.5).astype(np.int64)
        row, x = _spread(begin, np.maximum(end - begin + 1, 0))
        return which[row], y[row] * self._side + x

    def _slopes(self, corners: Floats, area: Floats, values: Floats) -> Floats:
        """Return per triangle how a value at its corners, (n, 3), runs over it: at the origin, by x, by y."""
        np = self._np
        (ax, ay), (bx, by), (cx, cy) = (corners[:, at, :2].T.astype(np.float64) for at in range(3))
        up, along = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
        by_x = (up * (cy - ay) - along * (by - ay)) / area
        by_y = (along * (bx - ax) - up * (cx - ax)) / area
        slopes: Floats = np.stack([values[:, 0] - by_x * ax - by_y * ay, by_x, by_y]).astype(np.float32)
        return slopes

    def _values(self, slopes: Floats, which: Ints, place: Ints) -> Floats:
        """Return a value at the middle of samples."""
        y, x = self._np.divmod(place.astype(self._np.int32), self._side)
        half = self._np.float32(0.5)
        found: Floats = slopes[0][which] + slopes[1][which] * (x + half) + slopes[2][which] * (y + half)
        return found.astype(self._np.float32)

    def _light(self, soup: _Soup, area: Floats) -> Floats:
        """Return the light at each corner, (n, 3)."""
        np = self._np
        # Both sides are seen: the side towards the eye is the one that is lit.
        normals = soup.normals * np.where(area > 0, -1, 1)[:, None, None]
        light = _AMBIENT + 0.12 * normals[..., 1]
        for direction, strength in _LIGHTS:
            towards = np.array(direction, np.float32) / np.linalg.norm(direction)
            light = light + strength * np.clip(normals @ towards, 0, None)
        found: Floats = light
        return found


def _boxes(corners: Floats) -> Floats:
    """Return about how many samples the box around each triangle holds."""
    size = corners[..., :2].max(axis=1) - corners[..., :2].min(axis=1) + 1
    boxes: Floats = size[:, 0] * size[:, 1]
    return boxes


def _spread(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """Return for each of ``count`` steps from ``first`` on: which entry it belongs to, and its number."""
    import numpy as np

    which = np.repeat(np.arange(len(first)), count)
    begins = np.cumsum(count) - count
    return which, np.arange(len(which)) - begins[which] + first[which]


def _png(points: Any) -> bytes:
    """Return RGBA points as PNG (ISO/IEC 15948), each row with the filter "up"."""
    import numpy as np

    height, width, _ = points.shape
    rows = points.reshape(height, -1)
    above = np.vstack([np.zeros((1, rows.shape[1]), np.uint8), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 4)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
