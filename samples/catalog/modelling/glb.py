"""Writing a model as GLB 2.0 with nothing but numpy: one node, one mesh, one primitive per material.

The same model always gives the same bytes: coordinates are rounded to a hundredth of a millimetre before
they become 32-bit floats, so the last bits of a machine's sine do not show.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_FLOAT, _UNSIGNED_SHORT = 5126, 5123


@dataclass(frozen=True, slots=True)
class Material:
    """glTF 2.0 metallic-roughness material. ``color`` is sRGB as in ``#d8a15c``, with an optional alpha."""

    name: str
    color: str
    metallic: float = 0.0
    roughness: float = 0.7
    emissive: str | None = None
    double_sided: bool = False

    def document(self) -> dict[str, object]:
        red, green, blue, *alpha = _linear(self.color)
        document: dict[str, object] = {
            "name": self.name,
            "pbrMetallicRoughness": {
                "baseColorFactor": [red, green, blue, alpha[0] if alpha else 1.0],
                "metallicFactor": self.metallic,
                "roughnessFactor": self.roughness,
            },
        }
        if self.emissive is not None:
            document["emissiveFactor"] = _linear(self.emissive)
        if self.double_sided:
            document["doubleSided"] = True
        if alpha:
            document["alphaMode"] = "BLEND"
        return document


@dataclass(frozen=True, slots=True)
class Surface:
    """Triangles: positions (n, 3) in metres, unit normals (n, 3), corner indices (m, 3), outside first."""

    positions: Floats
    normals: Floats
    triangles: Ints

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Surface:
        """Return the surface somewhere else."""
        return Surface(self.positions + np.array([x, y, z]), self.normals, self.triangles)

    def turned(self, axis: str, degrees: float) -> Surface:
        """Return the surface turned around an axis, counter-clockwise seen from its tip."""
        angle = np.radians(degrees)
        cosine, sine = float(np.cos(angle)), float(np.sin(angle))
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        matrix = np.eye(3)
        matrix[first, first] = matrix[second, second] = cosine
        matrix[first, second], matrix[second, first] = -sine, sine
        return Surface(self.positions @ matrix.T, self.normals @ matrix.T, self.triangles)

    def mirrored_x(self) -> Surface:
        """Return the mirror image at x = 0."""
        mirror = np.array([-1.0, 1.0, 1.0])
        return Surface(self.positions * mirror, self.normals * mirror, self.triangles[:, ::-1])


@dataclass(slots=True)
class Model:
    """A thing made of surfaces, each in one material. It stands on y = 0 and faces +z."""

    name: str
    parts: list[tuple[Material, Surface]] = field(default_factory=list)

    def add(self, material: Material, *surfaces: Surface) -> None:
        """Add surfaces in one material."""
        self.parts.extend((material, surface) for surface in surfaces)

    def glb(self) -> bytes:
        """Return the model as GLB, its lowest point on y = 0 and its middle over the origin."""
        everything = np.concatenate([surface.positions for _, surface in self.parts])
        low, high = everything.min(axis=0), everything.max(axis=0)
        shift = -np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        writer = _Writer()
        primitives = []
        materials = list(dict.fromkeys(material for material, _ in self.parts))
        for index, material in enumerate(materials):
            surfaces = [surface for its_material, surface in self.parts if its_material == material]
            primitives.append({**writer.primitive(surfaces, shift), "material": index})
        return writer.glb(
            {
                "asset": {"version": "2.0", "generator": "vitrine samples"},
                "scene": 0,
                "scenes": [{"nodes": [0]}],
                "nodes": [{"name": self.name, "mesh": 0}],
                "meshes": [{"name": self.name, "primitives": primitives}],
                "materials": [material.document() for material in materials],
            }
        )


class _Writer:
    def __init__(self) -> None:
        self._binary = b""
        self._views: list[dict[str, int]] = []
        self._accessors: list[dict[str, object]] = []

    def primitive(self, surfaces: list[Surface], shift: Floats) -> dict[str, object]:
        positions = np.concatenate([surface.positions for surface in surfaces]) + shift
        normals = np.concatenate([surface.normals for surface in surfaces])
        triangles, first = [], 0
        for surface in surfaces:
            triangles.append(surface.triangles + first)
            first += len(surface.positions)
        assert first < 65_536, "a primitive has too many vertices for 16-bit indices"
        corners = np.concatenate(triangles).ravel().astype("<u2")
        exact = _rounded(positions, 5)
        return {
            "attributes": {
                "POSITION": self._accessor(
                    exact,
                    "VEC3",
                    _FLOAT,
                    _ARRAY_BUFFER,
                    {
                        "min": [float(v) for v in exact.min(axis=0)],
                        "max": [float(v) for v in exact.max(axis=0)],
                    },
                ),
                "NORMAL": self._accessor(_rounded(normals, 4), "VEC3", _FLOAT, _ARRAY_BUFFER, {}),
            },
            "indices": self._accessor(corners, "SCALAR", _UNSIGNED_SHORT, _ELEMENT_ARRAY_BUFFER, {}),
        }

    def _accessor(
        self,
        values: NDArray[np.float32] | NDArray[np.uint16],
        kind: str,
        component: int,
        target: int,
        more: dict[str, object],
    ) -> int:
        data = values.tobytes()
        self._views.append(
            {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data), "target": target}
        )
        self._binary += data + b"\0" * (-len(data) % 4)
        self._accessors.append(
            {
                "bufferView": len(self._views) - 1,
                "componentType": component,
                "count": len(values),
                "type": kind,
                **more,
            }
        )
        return len(self._accessors) - 1

    def glb(self, document: dict[str, object]) -> bytes:
        whole = {
            **document,
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._binary)}],
        }
        text = json.dumps(whole, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + len(self._binary)
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, length),
                struct.pack("<I4s", len(text), b"JSON"),
                text,
                struct.pack("<I4s", len(self._binary), b"BIN\0"),
                self._binary,
            ]
        )


def _rounded(values: Floats, digits: int) -> NDArray[np.float32]:
    # Adding zero turns -0.0, whose sign depends on how it came about, into 0.0.
    return (np.round(values, digits) + 0.0).astype("<f4")


def _linear(color: str) -> list[float]:
    """Return ``#rrggbb`` or ``#rrggbbaa`` as linear factors; alpha is linear already."""
    channels = [int(color[at : at + 2], 16) / 255 for at in range(1, len(color), 2)]
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels[:3]
    ]
    return [round(value, 4) for value in linear + channels[3:]]
