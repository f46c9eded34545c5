from __future__ import annotations

import base64
import json
import random
import struct
import time
import tracemalloc
from typing import Any

import pytest

from gateway.catalog.preflight import preflight
from gateway.kernel.errors import InvalidError
from tests.catalog.glbs import cube, cube_parts, pack, png, spoiled, with_image, with_vertex

HUGE = 2_000_000_000


def _set(path: str, value: Any) -> Any:
    """Return a change that sets ``accessors.0.count`` and the like."""

    def change(document: Any) -> None:
        *steps, last = path.split(".")
        for step in steps:
            document = document[int(step)] if isinstance(document, list) else document.setdefault(step, {})
        if isinstance(document, list):
            document[int(last)] = value
        else:
            document[last] = value

    return change


def _chain(count: int) -> Any:
    def change(document: Any) -> None:
        document["nodes"] = [{"children": [index + 1]} for index in range(count - 1)] + [{"mesh": 0}]

    return change


def _diamonds(document: Any) -> None:
    # Each node is reached twice from the one above: 2^20 ways to the mesh.
    document["nodes"] = [{"children": [index + 1, index + 1]} for index in range(20)] + [{"mesh": 0}]


def _instances(document: Any) -> None:
    document["accessors"][1]["count"] = 36
    document["meshes"] = [{"primitives": document["meshes"][0]["primitives"] * 1000}]
    document["nodes"] = [{"mesh": 0} for _ in range(100)]
    document["scenes"] = [{"nodes": list(range(100))}]


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not_glb"),
    "html": (b"<!doctype html><title>no</title>", "not_glb"),
    "gltf text": (json.dumps(cube_parts()[0]).encode(), "not_glb"),
    "version 1": (cube()[:4] + struct.pack("<I", 1) + cube()[8:], "version"),
    "cut off": (cube()[:-40], "truncated"),
    "longer than it says": (cube() + b"more", "truncated"),
    "chunk beyond the end": (cube()[:12] + struct.pack("<I", HUGE) + cube()[16:], "truncated"),
    "no json": (pack(b"{", b""), "json_invalid"),
    "json is a list": (pack(b"[]", b""), "json_invalid"),
    "nan in json": (pack(b'{"asset":{"version":"2.0"},"scene":NaN}', b""), "json_invalid"),
    "json nested 200000 deep": (pack(b"[" * 200_000, b""), "json_depth"),
    "json nested deep after a string with braces": (
        pack(b'{"a":"\\"}}}}","b":' + b"[" * 70, b""),
        "json_depth",
    ),
    "json too large": (pack(b'{"a":"' + b"x" * 5_000_000 + b'"}', b""), "json_too_large"),
    "glTF 1": (spoiled(_set("asset.version", "1.0")), "version"),
    "buffer elsewhere": (spoiled(_set("buffers.0.uri", "../../etc/hostname")), "external_uri"),
    "second buffer": (
        spoiled(lambda d: d["buffers"].append({"byteLength": 4, "uri": "x.bin"})),
        "external_uri",
    ),
    "image file": (spoiled(_set("images", [{"uri": "/etc/hostname"}])), "external_uri"),
    "image on the web": (spoiled(_set("images", [{"uri": "http://127.0.0.1/a.png"}])), "external_uri"),
    "image that is text": (with_image(b"hello, this is not an image at all"), "image_format"),
    "image with an enormous picture": (with_image(png(30_000, 30_000)), "texture_too_large"),
    "image of no height": (with_image(png(16, 0)), "texture_too_large"),
    "draco": (spoiled(_set("extensionsRequired", ["KHR_draco_mesh_compression"])), "extension_required"),
    "extension names that are none": (spoiled(_set("extensionsRequired", [["x"]])), "extension_required"),
    "view beyond the buffer": (spoiled(_set("bufferViews.0.byteLength", HUGE)), "bounds"),
    "buffer beyond the chunk": (spoiled(_set("buffers.0.byteLength", HUGE)), "bounds"),
    "accessor beyond the view": (spoiled(_set("accessors.0.count", 9)), "bounds"),
    "accessor of gigabytes": (spoiled(_set("accessors.0.count", HUGE)), "too_complex"),
    "accessor without data": (
        spoiled(lambda d: d["accessors"].append({"componentType": 5126, "count": 2_000_000, "type": "VEC3"})),
        "accessor_without_data",
    ),
    "not a number": (with_vertex(4, float("nan")), "nonfinite"),
    "infinite": (with_vertex(4, float("inf")), "nonfinite"),
    "far away": (with_vertex(4, 3e38), "nonfinite"),
    "index out of range": (pack(cube_parts()[0], cube_parts()[1][:-2] + b"\x08\x00"), "index_out_of_range"),
    "accessor that is not there": (
        spoiled(_set("meshes.0.primitives.0.attributes.POSITION", 7)),
        "index_out_of_range",
    ),
    "node in itself": (spoiled(_set("nodes.0.children", [0])), "node_graph"),
    "node cycle beside the scene": (
        spoiled(lambda d: d["nodes"].extend([{"children": [2]}, {"children": [1]}])),
        "node_graph",
    ),
    "node with two parents": (spoiled(_diamonds), "node_graph"),
    "node chain": (spoiled(_chain(500)), "node_graph"),
    "many nodes": (spoiled(lambda d: d["nodes"].extend({} for _ in range(5_000))), "too_complex"),
    "many instances": (spoiled(_instances), "too_complex"),
    "nothing to see": (spoiled(_set("nodes", [{}])), "empty"),
    "no scene": (spoiled(_set("scenes", [])), "empty"),
    "matrix out of range": (spoiled(_set("nodes.0.matrix", [1e300] * 16)), "nonfinite"),
    "matrix of enormous integers": (spoiled(_set("nodes.0.matrix", [10**400] * 16)), "nonfinite"),
    "matrix of text": (spoiled(_set("nodes.0.matrix", "identity")), "schema"),
    "list that is an object": (spoiled(_set("meshes", {"0": {}})), "schema"),
    "type of a wrong kind": (spoiled(_set("accessors.0.componentType", [5126])), "schema"),
    "sparse beyond": (
        spoiled(
            _set(
                "accessors.0.sparse",
                {
                    "count": 1,
                    "indices": {"bufferView": 1, "componentType": 5123, "byteOffset": 6},
                    "values": {"bufferView": 0, "byteOffset": 90},
                },
            )
        ),
        "bounds",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_model_is_refused_with_its_code(name: str) -> None:
    data, reason = HOSTILE[name]
    started = time.monotonic()
    with pytest.raises(InvalidError) as refused:
        preflight(data)
    assert refused.value.code == f"model.{reason}"
    assert time.monotonic() - started < 2


def test_declared_counts_allocate_nothing() -> None:
    preflight(cube())  # numpy is loaded now
    tracemalloc.start()
    try:
        for name in ("accessor of gigabytes", "accessor without data", "view beyond the buffer"):
            with pytest.raises(InvalidError):
                preflight(HOSTILE[name][0])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_cube_passes_with_its_triangles() -> None:
    assert preflight(cube()).triangles == 12


def test_every_instance_of_a_mesh_is_counted() -> None:
    def twice(document: Any) -> None:
        document["nodes"] = [{"children": [1, 2]}, {"mesh": 0}, {"mesh": 0, "translation": [1, 0, 0]}]

    assert preflight(spoiled(twice)).triangles == 24


def test_embedded_images_of_a_fair_size_pass() -> None:
    assert preflight(with_image(png(2048, 2048))).triangles == 12
    address = "data:image/png;base64," + base64.b64encode(png(64, 64)).decode()
    assert preflight(spoiled(_set("images", [{"uri": address}]))).triangles == 12


def test_broken_documents_are_refused_and_never_crash_the_check() -> None:
    """A thousand documents with one value replaced: each passes or is refused with a code."""
    random_values = random.Random(7)
    replacements = [None, True, -1, 0, 1, 2**40, 1.5, "", "x", [], {}, [[]], [None], {"a": None}, [0, 0]]
    document, binary = cube_parts()
    document["images"] = [{"uri": "data:image/png;base64," + base64.b64encode(png(8, 8)).decode()}]
    document["textures"] = [{"source": 0, "sampler": 0}]
    document["samplers"] = [{}]
    document["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    document["skins"] = [{"joints": [0], "inverseBindMatrices": 0}]
    document["animations"] = [
        {"samplers": [{"input": 0, "output": 0}], "channels": [{"sampler": 0, "target": {"node": 0}}]}
    ]
    document["accessors"][0]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": 1, "componentType": 5123},
        "values": {"bufferView": 0},
    }
    text = json.dumps(document)
    preflight(pack(document, binary))
    refused = 0
    for _ in range(1_500):
        changed = json.loads(text)
        place: Any = changed
        while True:
            keys = list(range(len(place))) if isinstance(place, list) else list(place)
            key = random_values.choice(keys)
            if not isinstance(place[key], dict | list) or not place[key] or random_values.random() < 0.2:
                place[key] = random_values.choice(replacements)
                break
            place = place[key]
        try:
            preflight(pack(changed, binary))
        except InvalidError as error:
            assert error.code.startswith("model.")
            refused += 1
    assert refused > 500
