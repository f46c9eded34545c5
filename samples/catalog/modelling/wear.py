"""Things to wear and to carry: a scarf, sunglasses, a bucket hat and a book."""

from __future__ import annotations

import numpy as np

from samples.catalog.modelling.glb import Floats, Material, Model, Surface
from samples.catalog.modelling.shapes import box, curve, flat, grid, lathe, tube


def scarf() -> Model:
    """A striped wool scarf, folded as on a shelf: 30 x 8 x 21 cm."""
    model = Model("scarf")
    colors = [
        "#1f3a5f",
        "#e8dcc3",
        "#1f3a5f",
        "#1f3a5f",
        "#b5432f",
        "#1f3a5f",
        "#1f3a5f",
        "#e8dcc3",
        "#1f3a5f",
    ]
    names = {
        color: Material(f"wool {index}", color, roughness=1.0, double_sided=True)
        for index, color in enumerate(dict.fromkeys(colors))
    }
    folds, half, gap = 5, 0.088, 0.0165
    line: list[tuple[float, float]] = []
    for fold in range(folds):
        direction = 1 if fold % 2 == 0 else -1
        y = 0.004 + gap * fold
        line += [(direction * z, y) for z in np.linspace(-half, half, 12)]
        if fold < folds - 1:
            turns = np.linspace(-np.pi / 2, np.pi / 2, 9)[1:-1]
            line += [
                (direction * (half + 1.15 * gap / 2 * np.cos(a)), y + gap / 2 + gap / 2 * np.sin(a))
                for a in turns
            ]
    path = np.array(line)
    edges = np.linspace(-0.15, 0.15, len(colors) + 1)
    for index, color in enumerate(colors):
        across = np.linspace(edges[index], edges[index + 1], 4)
        points = np.array(
            [
                [
                    (
                        x,
                        y + 0.0018 * np.sin(38 * x + 21 * z) * (0.3 + y * 8),
                        z + 0.002 * np.sin(24 * x + 60 * y),
                    )
                    for x in across
                ]
                for z, y in path
            ]
        )
        model.add(names[color], grid(points))
    fringe = names["#e8dcc3"]
    for x in np.linspace(-0.146, 0.146, 30):
        sway = 0.004 * np.sin(91 * x)
        end = path[-1]
        strand = curve(
            [
                (x, end[1], end[0]),
                (x + sway, end[1] - 0.012, end[0] + 0.014),
                (x + 2 * sway, end[1] - 0.036, end[0] + 0.02),
            ],
            6,
        )
        model.add(fringe, tube(strand, 0.0019, 5))
    return model


def sunglasses() -> Model:
    """Round acetate sunglasses with open temples, 14.5 cm wide."""
    model = Model("sunglasses")
    acetate = Material("acetate", "#5a2e1b", roughness=0.18)
    glass = Material("glass", "#1d2b2ac8", metallic=0.1, roughness=0.05, double_sided=True)
    metal = Material("hinge", "#c9a24b", metallic=1.0, roughness=0.25)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rim = np.array([_rim(angle) for angle in angles])
    lens = np.array(
        [
            [center + (point - center) * scale + np.array([0, 0, 0.0022 * (1 - scale**2)]) for point in rim]
            for center in [rim.mean(axis=0)]
            for scale in (1.0, 0.7, 0.35, 0.0)
        ]
    )
    temple = curve(
        [
            (0.0705, 0.034, -0.002),
            (0.072, 0.035, -0.03),
            (0.0715, 0.035, -0.085),
            (0.069, 0.028, -0.12),
            (0.066, 0.008, -0.142),
        ],
        26,
    )
    for mirror in (False, True):
        for material, surface in (
            (acetate, tube(rim, 0.0027, 10, closed=True)),
            (glass, grid(lens, closed=True, flip=True)),
            (acetate, tube(temple, lambda t: 0.0031 - 0.0006 * np.sin(np.pi * t), 10, flat=1.25)),
            (acetate, box(0.011, 0.01, 0.006, 0.002).moved(x=0.066, y=0.034, z=-0.001)),
            (metal, box(0.002, 0.006, 0.006, 0.0006, 1).moved(x=0.0712, y=0.034, z=-0.006)),
            (
                acetate,
                tube(
                    curve([(0.0135, 0.02, 0.0), (0.0105, 0.0145, -0.006), (0.012, 0.009, -0.008)], 7),
                    lambda t: 0.0026,
                    8,
                ),
            ),
        ):
            model.add(material, surface.mirrored_x() if mirror else surface)
    bridge = curve(
        [(-0.0125, 0.031, 0.001), (-0.006, 0.0355, 0.003), (0.006, 0.0355, 0.003), (0.0125, 0.031, 0.001)], 13
    )
    model.add(acetate, tube(bridge, 0.0028, 10))
    return model


def _rim(angle: float) -> Floats:
    """Around the right lens: nearly round, a little wider on top, wrapped around the face."""
    x = 0.037 + 0.0255 * np.cos(angle) * (1 + 0.04 * np.sin(angle))
    y = 0.025 + 0.0235 * np.sin(angle)
    return np.array([x, y, 0.001 - 1.6 * (x - 0.01) ** 2])


def hat(name: str, cloth: str, ribbon: str) -> Model:
    """A bucket hat with a stitched brim, 31 cm across."""
    model = Model(name)
    canvas = Material("canvas", cloth, roughness=0.95, double_sided=True)
    band = Material("band", ribbon, roughness=0.8)
    thread = Material("thread", "#f3ead6", roughness=0.9)
    crown = [(0.098, 0.052), (0.0955, 0.07), (0.091, 0.1), (0.0855, 0.124), (0.08, 0.1315)]
    brim = [(0.152, 0.0), (0.148, 0.006), (0.134, 0.021), (0.118, 0.036), (0.104, 0.0475), (0.098, 0.052)]
    top = [(0.08, 0.1315), (0.06, 0.1365), (0.03, 0.139), (0.0, 0.1395)]
    surfaces: list[tuple[Material, Surface]] = [(canvas, lathe(part, 56)) for part in (brim, crown, top)]
    surfaces.append((band, lathe([(0.0985, 0.053), (0.0968, 0.066), (0.0943, 0.083)], 56)))
    angles = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    for radius, height in (
        (0.1525, 0.0),
        (0.1425, 0.0135),
        (0.1305, 0.0255),
        (0.117, 0.0382),
        (0.0803, 0.1322),
    ):
        ring = np.stack([radius * np.sin(angles), np.full(56, height), radius * np.cos(angles)], axis=1)
        surfaces.append((thread, tube(ring, 0.0011, 6, closed=True)))
    for material, surface in surfaces:
        # A head is longer than wide, and a worn brim is not level.
        positions = surface.positions * np.array([0.93, 1.0, 1.06])
        positions[:, 1] += (
            0.006 * np.sin(2 * np.arctan2(positions[:, 0], positions[:, 2])) * (positions[:, 1] < 0.05)
        )
        model.add(material, Surface(positions, surface.normals, surface.triangles))
    return model


def book() -> Model:
    """A cloth-bound book with a rope knot on its cover, 15 x 22 x 3 cm, standing."""
    model = Model("book")
    cloth = Material("cloth", "#20435c", roughness=0.9)
    paper = Material("paper", "#efe6d2", roughness=1.0)
    gold = Material("gold", "#d9b65c", metallic=1.0, roughness=0.35)
    width, height, depth = 0.15, 0.22, 0.028
    for z in (depth / 2 - 0.0015, -depth / 2 + 0.0015):
        model.add(cloth, box(width, height, 0.003, 0.0012).moved(z=z))
    spine = [
        (-width / 2 - 0.004 * np.cos(a), depth / 2 * np.sin(a))
        for a in np.linspace(np.pi / 2, -np.pi / 2, 11)
    ]
    rows = np.array([[(x, y, z) for x, z in spine] for y in np.linspace(-height / 2, height / 2, 3)])
    model.add(Material("spine", "#20435c", roughness=0.9, double_sided=True), grid(rows))
    model.add(paper, box(width - 0.006, height - 0.008, depth - 0.006, 0.0008, 1).moved(x=-0.002))
    turns = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    # A trefoil knot laid flat, as a rope over itself.
    knot = np.stack(
        [
            0.0145 * (np.sin(turns) + 2 * np.sin(2 * turns)) * 0.98,
            0.0145 * (np.cos(turns) - 2 * np.cos(2 * turns)) + 0.02,
            depth / 2 + 0.0016 - 0.0012 * np.sin(3 * turns),
        ],
        axis=1,
    )
    model.add(gold, tube(knot, 0.0023, 8, closed=True))
    for y in (-0.062, -0.071):
        bar = [(-0.042, y - 0.0011), (0.042, y - 0.0011), (0.042, y + 0.0011), (-0.042, y + 0.0011)]
        model.add(gold, flat(bar, depth / 2 + 0.0002))
    return model
