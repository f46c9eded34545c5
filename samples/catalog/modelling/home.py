"""Things for the home: a lamp, a chair, a plant, a mug and a framed print."""

from __future__ import annotations

import numpy as np

from samples.catalog.modelling.glb import Material, Model, Surface
from samples.catalog.modelling.shapes import box, curve, disc, flat, grid, lathe, tube

BRASS = Material("brass", "#c9a24b", metallic=1.0, roughness=0.28)
OAK = Material("oak", "#b98a55", roughness=0.55)
BLACK_STEEL = Material("black steel", "#232427", metallic=0.8, roughness=0.42)


def lamp() -> Model:
    """A table lamp with a domed shade, 42 cm high."""
    model = Model("lamp")
    shade = Material("enamel", "#c8553d", roughness=0.32)
    lining = Material("lining", "#fff1da", roughness=0.8, emissive="#8a6a3c")
    bulb = Material("bulb", "#fff6e6", roughness=0.3, emissive="#ffe3b0")
    model.add(BRASS, lathe([(0.0, 0.0), (0.092, 0.0), (0.1, 0.004), (0.1, 0.012), (0.094, 0.018)]))
    model.add(BRASS, lathe([(0.094, 0.018), (0.05, 0.021), (0.018, 0.027), (0.0105, 0.04), (0.009, 0.07)]))
    model.add(BRASS, lathe([(0.009, 0.07), (0.009, 0.3), (0.014, 0.31), (0.014, 0.335), (0.0, 0.335)], 20))
    model.add(bulb, lathe([(0.0, 0.262), (0.02, 0.266), (0.034, 0.284), (0.036, 0.3), (0.02, 0.33)], 24))
    angles = np.linspace(0.03, np.pi / 2, 15)
    dome = [(0.17 * np.sin(angle) ** 0.92, 0.255 + 0.15 * np.cos(angle) ** 1.15) for angle in angles][::-1]
    model.add(shade, lathe(dome, 48))
    model.add(lining, lathe([(r - 0.003, y - 0.003) for r, y in dome], 48, flip=True))
    model.add(BRASS, tube(_circle(0.1695, 0.2535, 48), 0.0026, 8, closed=True))
    model.add(BRASS, lathe([(0.02, 0.398), (0.018, 0.409), (0.008, 0.418), (0.0, 0.42)], 20))
    return model


def chair() -> Model:
    """A lounge chair: a bent shell with cushions on four tapered legs, 78 cm high."""
    model = Model("chair")
    wool = Material("wool", "#5b7a70", roughness=0.95)
    line = curve(
        [
            (0.43, 0.315),
            (0.41, 0.345),
            (0.22, 0.345),
            (-0.1, 0.31),
            (-0.19, 0.36),
            (-0.27, 0.6),
            (-0.31, 0.78),
        ],
        30,
    )
    steps = np.gradient(line, axis=0)
    normals = np.stack([steps[:, 1], -steps[:, 0]], axis=1)
    normals /= np.sqrt((normals * normals).sum(axis=1, keepdims=True))
    along = np.linspace(0, 1, 30)
    half_width = 0.29 - 0.05 * np.clip(along - 0.55, 0, 1) ** 1.5 * 3
    section = [
        (-1.0, -0.2),
        (-1.0, 0.2),
        (-0.97, 0.5),
        (0.97, 0.5),
        (1.0, 0.2),
        (1.0, -0.2),
        (0.97, -0.5),
        (-0.97, -0.5),
    ]
    rings = []
    for (z, y), (nz, ny), half in zip(line, normals, half_width, strict=True):
        # A little bowl: the shell rises towards its sides.
        rings.append([(x * half, y - ny * t * 0.016 + 0.012 * x * x, z - nz * t * 0.016) for x, t in section])
    shell = np.array(rings)
    ends = [np.repeat(shell[at].mean(axis=0)[None], len(section), axis=0)[None] for at in (0, -1)]
    model.add(OAK, grid(np.concatenate([ends[0], shell, ends[1]]), closed=True))
    seat = box(0.52, 0.085, 0.5, 0.036, 3).turned("x", 5).moved(y=0.385, z=0.13)
    back = box(0.47, 0.4, 0.08, 0.036, 3).turned("x", -17).moved(y=0.585, z=-0.175)
    model.add(wool, seat, back)
    for x in (0.235, -0.235):
        for z, height, splay in ((0.3, 0.338, 0.05), (-0.12, 0.305, -0.13)):
            top, foot = np.array([x * 0.88, height, z]), np.array([x * 1.12, 0.0, z + splay])
            path = np.linspace(foot, top, 6)
            model.add(OAK, tube(path, lambda t: 0.0115 + 0.0085 * t, 12))
    model.add(BLACK_STEEL, box(0.44, 0.014, 0.03, 0.006).moved(y=0.322, z=0.28))
    model.add(BLACK_STEEL, box(0.44, 0.014, 0.03, 0.006).moved(y=0.296, z=-0.1))
    return model


def plant() -> Model:
    """A young monstera in a stoneware pot, 70 cm high."""
    model = Model("plant")
    pot = Material("stoneware", "#e7ddd0", roughness=0.6)
    soil = Material("soil", "#3a2a20", roughness=1.0)
    stalk = Material("stalk", "#4d7a3a", roughness=0.7)
    young = Material("young leaf", "#5f9a4c", roughness=0.45, double_sided=True)
    old = Material("leaf", "#2f6b3c", roughness=0.42, double_sided=True)
    model.add(
        pot,
        lathe([(0.0, 0.0), (0.078, 0.0), (0.084, 0.006), (0.105, 0.13), (0.112, 0.19), (0.112, 0.198)], 40),
    )
    model.add(pot, lathe([(0.112, 0.198), (0.11, 0.202), (0.104, 0.202), (0.102, 0.198), (0.1, 0.17)], 40))
    model.add(soil, disc(0.101, 0.178, 24))
    for index in range(9):
        turn = index * 137.5  # the golden angle: no leaf hides another
        height = 0.31 + 0.038 * index
        reach = 0.2 - 0.012 * index
        size = 0.2 - 0.011 * index
        path = curve([(0, 0.17, 0.012), (0, height * 0.62, reach * 0.25), (0, height, reach * 0.8)], 9)
        model.add(stalk, tube(path, lambda t: 0.0052 - 0.0026 * t, 7).turned("y", turn))
        leaf = _leaf(size).turned("x", 28 + 3 * index).moved(y=height - 0.004, z=reach * 0.8)
        model.add(young if index > 5 else old, leaf.turned("y", turn))
    return model


def _leaf(length: float) -> Surface:
    """A heart-shaped leaf along +z, folded at its middle and hanging at its tip, notched at its edge."""
    along, across = np.linspace(0, 1, 25), np.linspace(-1, 1, 11)
    points = np.zeros((len(along), len(across), 3))
    for row, t in enumerate(along):
        width = 0.46 * length * np.sin(np.pi * min(1.0, t * 0.93 + 0.07)) ** 0.62 * (1 - 0.25 * t)
        notch = 1 - 0.34 * max(0.0, np.cos(t * np.pi * 9)) ** 6 * np.sin(np.pi * t) if 0.12 < t < 0.9 else 1.0
        for column, u in enumerate(across):
            x = width * u * (notch if abs(u) > 0.75 else 1.0)
            lobe = -0.16 * length * abs(u) ** 1.5 * (1 - t) ** 3
            points[row, column] = (
                x,
                0.1 * length * abs(u) * np.sin(np.pi * t)
                - 0.3 * length * t**2.2
                + 0.012 * np.sin(9 * t) * abs(u),
                length * t + lobe,
            )
    return grid(points)


def mug(name: str, glaze: str) -> Model:
    """A mug of 9 cm with a thick wall and a bare clay foot."""
    model = Model(name)
    outside = Material("glaze", glaze, roughness=0.22)
    inside = Material("inner glaze", "#f3ede2", roughness=0.2)
    clay = Material("clay", "#c9a27e", roughness=0.9)
    model.add(
        clay,
        lathe(
            [(0.0, 0.002), (0.026, 0.002), (0.029, 0.0), (0.033, 0.0), (0.0365, 0.004), (0.039, 0.012)], 40
        ),
    )
    model.add(
        outside, lathe([(0.039, 0.012), (0.042, 0.03), (0.0425, 0.06), (0.0422, 0.088), (0.0415, 0.092)], 40)
    )
    model.add(outside, lathe([(0.0415, 0.092), (0.0402, 0.0938), (0.0385, 0.0938), (0.0375, 0.092)], 40))
    model.add(
        inside,
        lathe(
            [(0.0375, 0.092), (0.037, 0.06), (0.0365, 0.03), (0.033, 0.012), (0.022, 0.008), (0.0, 0.0075)],
            40,
        ),
    )
    handle = curve(
        [(0.04, 0.078, 0), (0.06, 0.079, 0), (0.0705, 0.06, 0), (0.066, 0.036, 0), (0.0415, 0.026, 0)], 22
    )
    model.add(outside, tube(handle, lambda t: 0.0056 - 0.0018 * np.sin(np.pi * t), 12))
    return model


def print_in_frame(name: str, sky: list[str], sun: str, hills: list[str]) -> Model:
    """A framed print of 50 x 70 cm: hills under a sky, cut from flat colours."""
    model = Model(name)
    frame = Material("frame", "#2a211b", roughness=0.5)
    mat = Material("mat", "#f4f0e8", roughness=0.95)
    width, height = 0.5, 0.7
    for side in (-1, 1):
        model.add(frame, box(0.022, height, 0.026, 0.003).moved(x=side * (width - 0.022) / 2))
        model.add(frame, box(width - 0.03, 0.022, 0.026, 0.003).moved(y=side * (height - 0.022) / 2))
    model.add(mat, box(width - 0.03, height - 0.03, 0.006, 0.001, 1).moved(z=-0.006))
    left, right, bottom, top = -0.17, 0.17, -0.25, 0.26
    for index, color in enumerate(sky):
        low = bottom + (top - bottom) * index / len(sky)
        high = bottom + (top - bottom) * (index + 1) / len(sky)
        band = [(left, low), (right, low), (right, high), (left, high)]
        model.add(Material(f"sky {index}", color, roughness=0.95), flat(band, -0.0025))
    circle = [
        (0.045 + 0.062 * np.cos(a), 0.07 + 0.062 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 40)[:-1]
    ]
    model.add(Material("sun", sun, roughness=0.95), flat(circle, -0.0021))
    for index, color in enumerate(hills):
        x = np.linspace(left, right, 41)
        ridge = (
            0.02 - 0.062 * index + 0.026 * np.sin(9 * x + 1.9 * index) + 0.012 * np.sin(23 * x + 4.1 * index)
        )
        depth = -0.0018 + 0.0003 * index
        rows = np.array(
            [[(a, b, depth) for a, b in zip(x, ridge, strict=True)], [(a, bottom, depth) for a in x]]
        )
        model.add(Material(f"hill {index}", color, roughness=0.95), grid(rows))
    glass = Material("glass", "#eef6f81c", roughness=0.04)
    inner_x, inner_y = width / 2 - 0.02, height / 2 - 0.02
    pane = [(-inner_x, -inner_y), (inner_x, -inner_y), (inner_x, inner_y), (-inner_x, inner_y)]
    model.add(glass, flat(pane, 0.005))
    return model


def _circle(radius: float, height: float, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([radius * np.sin(angles), np.full(count, height), radius * np.cos(angles)], axis=1)
