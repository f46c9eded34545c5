"""Shapes in metres: grids bent into surfaces, lathes, tubes and rounded boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from samples.catalog.modelling.glb import Floats, Surface


def grid(points: Floats, *, closed: bool = False, flip: bool = False) -> Surface:
    """Return a smooth surface through points (rows, columns, 3).

    Outside is where rows x columns points to, the other side with ``flip``. ``closed`` joins the last
    column to the first.
    """
    rows, columns, _ = points.shape
    positions = points.reshape(-1, 3)
    row, column = np.meshgrid(
        np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij"
    )
    right = (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = (row + 1) * columns + column, (row + 1) * columns + right
    triangles = np.concatenate(
        [np.stack([a, c, b], axis=-1).reshape(-1, 3), np.stack([b, c, d], axis=-1).reshape(-1, 3)]
    ).astype(np.int64)
    if flip:
        triangles = triangles[:, ::-1]
    return _smooth(positions, triangles)


def _smooth(positions: Floats, triangles: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Surface:
    """Give every vertex the mean normal of the triangles at its place, also across seams and at poles."""
    corners = positions[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    kept = np.einsum("ij,ij->i", faces, faces) > 1e-20
    triangles, faces = triangles[kept], faces[kept]
    _, places = np.unique(np.round(positions, 6), axis=0, return_inverse=True)
    places = places.reshape(-1)
    sums = np.zeros((places.max() + 1, 3))
    for corner in range(3):
        np.add.at(sums, places[triangles[:, corner]], faces)
    normals = sums[places]
    lengths = np.sqrt((normals * normals).sum(axis=1, keepdims=True))
    normals = np.where(lengths > 1e-15, normals / np.maximum(lengths, 1e-15), np.array([0.0, 1.0, 0.0]))
    return Surface(positions, normals, triangles)


def lathe(profile: Sequence[tuple[float, float]], segments: int = 32, *, flip: bool = False) -> Surface:
    """Turn a profile of (radius, height), written from bottom to top on the outside, around the y axis.

    The result is smooth; split the profile where there is an edge.
    """
    angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    points = np.array(
        [
            [(radius * np.sin(angle), height, radius * np.cos(angle)) for angle in angles]
            for radius, height in profile
        ]
    )
    return grid(points, closed=True, flip=not flip)


def curve(points: Sequence[tuple[float, ...]], count: int) -> Floats:
    """Return ``count`` points on a smooth line through the given ones (Catmull-Rom)."""
    given = np.array(points, dtype=float)
    padded = np.concatenate([[2 * given[0] - given[1]], given, [2 * given[-1] - given[-2]]])
    result = []
    for at in np.linspace(0, len(given) - 1, count):
        index = min(int(at), len(given) - 2)
        t = at - index
        p0, p1, p2, p3 = padded[index : index + 4]
        result.append(
            0.5
            * (
                2 * p1
                + (p2 - p0) * t
                + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
                + (3 * p1 - p0 - 3 * p2 + p3) * t**3
            )
        )
    return np.array(result)


def tube(
    path: Floats,
    radius: float | Callable[[float], float],
    sides: int = 10,
    *,
    closed: bool = False,
    flat: float = 1.0,
) -> Surface:
    """Return a tube along points (n, 3).

    ``radius`` may depend on how far along, from 0 to 1. ``closed`` makes a ring. ``flat`` scales the
    section along its second axis, upward for a level path. Ends are capped.
    """
    count = len(path)
    after = np.roll(path, -1, axis=0) if closed else np.concatenate([path[1:], path[-1:]])
    before = np.roll(path, 1, axis=0) if closed else np.concatenate([path[:1], path[:-1]])
    tangents = _unit(after - before)
    # The frame is carried along without twist; it starts level where the path is not upright.
    start = np.array([0.0, 1.0, 0.0]) if abs(tangents[0][1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    side = _unit(np.cross(start, tangents[0])[None])[0]
    angles = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rings = []
    for index in range(count):
        tangent = tangents[index]
        side = _unit((side - tangent * float(side @ tangent))[None])[0]
        up = np.cross(tangent, side)
        size = radius(index / max(1, count - 1)) if callable(radius) else radius
        rings.append(
            path[index] + size * (np.cos(angles)[:, None] * side + flat * np.sin(angles)[:, None] * up)
        )
    if closed:
        rings.append(rings[0])
    else:
        rings = [np.repeat(path[:1], sides, axis=0), *rings, np.repeat(path[-1:], sides, axis=0)]
    return grid(np.array(rings), closed=True, flip=True)


def box(width: float, height: float, depth: float, bevel: float, steps: int = 2) -> Surface:
    """Return a box with rounded edges around the origin (x, y, z); ``steps`` per quarter of an edge."""
    half = np.array([width, height, depth]) / 2 - bevel
    bend = np.linspace(0, np.pi / 4, steps + 1)
    angles = np.concatenate([-bend[::-1], bend])
    signs = np.concatenate([-np.ones(steps + 1), np.ones(steps + 1)])
    surfaces = []
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        for sign in (1.0, -1.0):
            points = np.zeros((len(angles), len(angles), 3))
            for row, (a, sign_a) in enumerate(zip(angles, signs, strict=True)):
                for column, (b, sign_b) in enumerate(zip(angles, signs, strict=True)):
                    direction = np.zeros(3)
                    direction[first], direction[second], direction[axis] = np.tan(a), np.tan(b), sign
                    direction /= np.sqrt((direction * direction).sum())
                    corner = np.zeros(3)
                    corner[first], corner[second], corner[axis] = sign_a, sign_b, sign
                    points[row, column] = corner * half + bevel * direction
            surfaces.append(grid(points, flip=sign < 0))
    return _joined(surfaces)


def flat(outline: Sequence[tuple[float, float]], depth: float = 0.0) -> Surface:
    """Return a filled convex outline of (x, y), counter-clockwise, facing +z at z = ``depth``."""
    points = np.array([(x, y, depth) for x, y in outline])
    positions = np.concatenate([points.mean(axis=0, keepdims=True), points])
    count = len(outline)
    triangles = np.array([(0, index + 1, (index + 1) % count + 1) for index in range(count)], dtype=np.int64)
    return Surface(positions, np.tile(np.array([0.0, 0.0, 1.0]), (count + 1, 1)), triangles)


def disc(radius: float, height: float, segments: int = 32) -> Surface:
    """Return a level disc facing up."""
    return lathe([(radius, height), (0.0, height)], segments)


def _joined(surfaces: Sequence[Surface]) -> Surface:
    positions = np.concatenate([surface.positions for surface in surfaces])
    triangles, first = [], 0
    for surface in surfaces:
        triangles.append(surface.triangles + first)
        first += len(surface.positions)
    return _smooth(positions, np.concatenate(triangles))


def _unit(vectors: Floats) -> Floats:
    lengths = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    unit: Floats = vectors / np.maximum(lengths, 1e-12)
    return unit
