"""GLB files for tests: a plain cube, and ways to spoil it."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Document = dict[str, Any]

_CORNERS = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype="<f4")
_FACES = np.array(
    [
        (0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
        (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3),
    ],
    dtype="<u2",
)  # fmt: skip


def pack(document: Document | bytes, binary: bytes) -> bytes:
    """Return a GLB of a JSON chunk and a binary chunk."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    return (
        struct.pack("<4sII", b"glTF", 2, length)
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(binary), b"BIN\0")
        + binary
    )


def cube_parts(width: float = 0.2, height: float = 0.3, depth: float = 0.1) -> tuple[Document, bytes]:
    """Return document and binary of a closed cuboid of 12 triangles, sides in metres."""
    positions = (_CORNERS * np.array([width, height, depth], dtype="<f4")).tobytes()
    indices = _FACES.tobytes()
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 8,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [width, height, depth],
            },
            {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions)},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(indices)},
        ],
        "buffers": [{"byteLength": len(positions) + len(indices)}],
    }, positions + indices


def cube(width: float = 0.2, height: float = 0.3, depth: float = 0.1) -> bytes:
    """Return a closed cuboid as GLB."""
    return pack(*cube_parts(width, height, depth))


def spoiled(change: Callable[[Document], None]) -> bytes:
    """Return the cube after a change to its document."""
    document, binary = cube_parts()
    document = copy.deepcopy(document)
    change(document)
    return pack(document, binary)


def with_vertex(index: int, value: float) -> bytes:
    """Return the cube with one coordinate replaced."""
    document, binary = cube_parts()
    return pack(document, binary[: index * 4] + struct.pack("<f", value) + binary[index * 4 + 4 :])


def with_image(image: bytes) -> bytes:
    """Return the cube with an image in its binary chunk."""
    document, binary = cube_parts()
    document["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(image)})
    document["buffers"][0]["byteLength"] = len(binary) + len(image)
    document["images"] = [{"bufferView": 2, "mimeType": "image/png"}]
    document["textures"] = [{"source": 0}]
    return pack(document, binary + image)


def png(width: int, height: int) -> bytes:
    """Return the header of a PNG that claims this size, and little more."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
