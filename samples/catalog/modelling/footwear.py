"""A running shoe.

Its upper is drawn between two lines: the outline of the sole, and a top line that runs around the opening
and then along the instep to the toe. A point of it has two numbers: ``around``, an angle from the heel (0)
over the outer side to the toe (pi) and back on the inner side, and ``rise``, from the sole (0) to the top
line (1).
"""

from __future__ import annotations

import numpy as np

from samples.catalog.modelling.glb import Floats, Material, Model, Surface
from samples.catalog.modelling.shapes import curve, grid, tube

_LENGTH = 0.29
_SOLE_M = 0.03
_COLLAR_BACK, _COLLAR_FRONT = -0.134, -0.03
"""Where the opening begins and ends along the foot, in metres from its middle."""


def shoe(name: str, knit: str, accent: str) -> Model:
    """A running shoe for the right foot, 29 cm long: sole, knitted upper, collar, laces, stripes."""
    model = Model(name)
    upper = Material("knit", knit, roughness=0.9)
    trim = Material("trim", accent, roughness=0.55)
    foam = Material("foam", "#f2f0ea", roughness=0.75)
    rubber = Material("rubber", "#2b2d31", roughness=0.85)
    lining = Material("lining", "#33363d", roughness=1.0, double_sided=True)
    lace = Material("lace", "#fbfaf6", roughness=0.8)
    model.add(rubber, _slab([(0.0, 0.0), (0.0, 0.95), (0.003, 0.985), (0.009, 0.99)]))
    model.add(foam, _slab([(0.009, 0.99), (0.014, 1.02), (0.024, 1.025), (0.031, 0.985), (0.031, 0.9)]))
    full = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    model.add(upper, _panel(full, np.linspace(0, 1, 16), 0.0, closed=True))
    heel = np.linspace(-0.62, 0.62, 17)
    model.add(trim, _panel(heel, np.linspace(0, 0.62, 8), 0.0012))
    toe = np.linspace(np.pi - 0.95, np.pi + 0.95, 25)
    model.add(trim, _panel(toe, np.linspace(0, 0.6, 8), 0.0011))
    for start in (1.32, 1.6):
        model.add(trim, _stripe(start, 1.0), _stripe(start, -1.0))
    collar = np.array([_top(angle) for angle in _collar_angles(40)])
    model.add(upper, tube(collar, 0.0058, 10, closed=True))
    middle = collar.mean(axis=0)
    floor = np.array([middle + (collar - middle) * scale for scale in (1.0, 0.95, 0.5, 0.0)])
    floor[1:, :, 1] = 0.052
    model.add(lining, grid(floor, closed=True))
    tongue = curve(
        [(0.004, 0.083, 0.0), (0.003, 0.101, -0.024), (0.001, 0.117, -0.037), (0.0, 0.126, -0.041)], 12
    )
    model.add(upper, tube(tongue, lambda t: 0.019 - 0.004 * t**4, 18, flat=0.16))
    for index, z in enumerate((-0.017, -0.001, 0.015, 0.031)):
        half = 0.021 + 0.001 * index
        across = [(side * half, _instep(z) - 0.0065, z - 0.004) for side in (-1, 1)]
        path = curve([across[0], (_bend(z), _instep(z) + 0.0022, z + 0.002), across[1]], 13)
        model.add(lace, tube(path, 0.0024, 8, flat=0.7))
    knot = np.array([0.002, _instep(-0.017) + 0.006, -0.02])
    for side in (-1.0, 1.0):
        loop = [
            (0, 0, 0),
            (side * 0.018, 0.012, 0.004),
            (side * 0.034, 0.004, 0.014),
            (side * 0.02, -0.002, 0.012),
            (0, 0, 0),
        ]
        model.add(lace, tube(curve(loop, 20) + knot, 0.002, 7))
        end = [(0, 0, 0), (side * 0.012, -0.001, 0.014), (side * 0.02, -0.012, 0.03)]
        model.add(lace, tube(curve(end, 9) + knot, 0.0018, 7))
    return model


def _outline(around: float) -> Floats:
    """The edge of the sole, level: x and z."""
    t = (1 - np.cos(around)) / 2
    width = np.interp(
        t, [0, 0.15, 0.4, 0.55, 0.72, 0.88, 1], [0.036, 0.036, 0.034, 0.039, 0.0475, 0.045, 0.042]
    )
    width = (width + np.interp(t, [0, 0.3, 0.7, 1], [0.036, 0.034, 0.0465, 0.042])) / 2
    half = width * np.sqrt(max(0.0, 1 - abs(2 * t - 1) ** 4))
    z = _LENGTH * (t - 0.5)
    return np.array([np.sign(np.sin(around)) * half + _bend(z), z])


def _bend(z: float) -> float:
    """A foot is not straight: its front turns inward."""
    t = max(0.0, z / _LENGTH + 0.3)
    return float(0.008 * np.sin(np.pi * t))


def _lift(z: float) -> float:
    """How far the sole rises from the ground: the toe springs, the heel is rounded off."""
    t = z / _LENGTH + 0.5
    return float(0.014 * max(0.0, (t - 0.7) / 0.3) ** 2 + 0.004 * max(0.0, (0.12 - t) / 0.12) ** 2)


def _instep(z: float) -> float:
    """Height of the line from the opening to the toe."""
    heights = [0.094, 0.088, 0.076, 0.064, 0.056, 0.05]
    return float(np.interp(z, [-0.03, -0.005, 0.03, 0.065, 0.095, 0.125], heights))


def _share(around: float) -> float:
    """How much of a point's rise ends at the opening: 1 at the heel, 0 from the instep on."""
    z = _outline(around)[1]
    return float(np.clip((_COLLAR_FRONT + 0.01 - z) / 0.05, 0, 1))


def _top(around: float) -> Floats:
    """The top line above a point of the outline."""
    z = float(_outline(around)[1])
    if z < _COLLAR_FRONT:
        # Along the opening, an ellipse; its back rises for the heel.
        along = (z + _LENGTH / 2) / (_COLLAR_FRONT + _LENGTH / 2)
        angle = np.pi * along
        x = 0.0265 * np.sin(angle) ** 0.9 * np.sign(np.sin(around))
        place = _COLLAR_BACK + (_COLLAR_FRONT - _COLLAR_BACK) * (1 - np.cos(angle)) / 2
        height = 0.076 + 0.018 * along**2 + 0.022 * (1 - along) ** 2.5
        return np.array([x, height, place])
    front = _LENGTH / 2
    along = (z - _COLLAR_FRONT) / (front - _COLLAR_FRONT)
    place = _COLLAR_FRONT + (0.118 - _COLLAR_FRONT) * along
    return np.array([_bend(place) * min(1.0, 3 * along), _instep(place), place])


def _collar_angles(count: int) -> Floats:
    """Angles around the opening, from the instep over the heel back to the instep."""
    limit = np.arccos(1 - 2 * ((_COLLAR_FRONT - 1e-6) / _LENGTH + 0.5))
    return np.linspace(-limit, limit, count)


def _upper(around: float, rise: float) -> Floats:
    x, z = _outline(around)
    top = _top(around)
    low = np.array([x * 0.97, _SOLE_M - 0.002 + _lift(float(z)), z * 0.985])
    quarter = np.pi / 2 * rise
    share = _share(around)
    # In front the upper arches over the foot; at the heel it stands like a wall, a little waisted.
    inward = (1 - share) * (1 - np.cos(quarter)) + share * (rise**1.3)
    upward = (1 - share) * np.sin(quarter) ** 0.9 + share * rise
    reached: Floats = low + (top - low) * np.array([inward, upward, inward])
    return reached


def _panel(around: Floats, rise: Floats, out: float, *, closed: bool = False) -> Surface:
    """A part of the upper, lifted off it by ``out`` metres."""
    points = np.array([[_upper(float(a), float(r)) for a in around] for r in rise])
    surface = grid(points, closed=closed)
    if out == 0.0:
        return surface
    return Surface(surface.positions + out * surface.normals, surface.normals, surface.triangles)


def _stripe(start: float, side: float) -> Surface:
    """A slanted band on one side of the shoe."""
    rows = np.linspace(0.06, 0.72, 9)
    points = np.array(
        [[_upper(side * (start + 0.28 * r + w), float(r)) for w in np.linspace(0, 0.12, 4)] for r in rows]
    )
    surface = grid(points, flip=side < 0)
    return Surface(surface.positions + 0.0012 * surface.normals, surface.normals, surface.triangles)


def _slab(levels: list[tuple[float, float]]) -> Surface:
    """A layer of the sole: rings of (height, scale of the outline) from below to above."""
    angles = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    rings = []
    for height, scale in levels:
        ring = []
        for angle in angles:
            x, z = _outline(float(angle))
            ring.append((x * scale, height + _lift(float(z)), z * scale))
        rings.append(ring)
    return grid(np.array(rings), closed=True)
