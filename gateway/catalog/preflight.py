"""Is this GLB safe and sound enough to be measured, stored and sent to clients?

Mesh libraries load files with counts that allocate gigabytes, indices that point nowhere and nodes that
contain themselves. Everything such a file can claim is checked here against the bytes that are there;
nothing is allocated by a declared count. Source of the rules: glTF 2.0 specification, sections 3.5 to 3.8.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.catalog.glb import Glb, read_glb, refuse
from gateway.catalog.gltf_document import GltfDocument
from gateway.catalog.images import image_size
from gateway.catalog.scene_graph import MAX_COORDINATE, MAX_DRAWN_TRIANGLES, drawn_triangles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_IMAGES = 256
MAX_VALUES = 64_000_000
"""Most numbers that are looked at, however often accessors point at the same bytes."""
MAX_VERTICES = 2_000_000
MAX_TEXTURE_SIDE_PX = 4_096
MAX_TEXTURE_AREA_PX = 64_000_000
"""All images together."""

# The plain model is what every engine must be able to load; compressed ones are made for the web later.
ALLOWED_EXTENSIONS = frozenset(
    {
        "KHR_lights_punctual",
        "KHR_materials_anisotropy",
        "KHR_materials_clearcoat",
        "KHR_materials_dispersion",
        "KHR_materials_emissive_strength",
        "KHR_materials_ior",
        "KHR_materials_iridescence",
        "KHR_materials_sheen",
        "KHR_materials_specular",
        "KHR_materials_transmission",
        "KHR_materials_unlit",
        "KHR_materials_variants",
        "KHR_materials_volume",
        "KHR_texture_transform",
        "EXT_texture_webp",
    }
)
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_INDEX_TYPES = {5121, 5123, 5125}


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is known of a model without loading it."""

    triangles: int
    """Drawn triangles: every instance of a mesh counts."""
    textured: bool
    """Whether it has images: what it looks like cannot be told without decoding them."""


def preflight(data: bytes) -> Preflight:
    """Check a GLB. Raises InvalidError with a code ``model.<reason>`` for the first rule it breaks."""
    return _Check(read_glb(data)).run()


class _Check:
    """One pass over a document. Every value is looked at as if an enemy had written it."""

    def __init__(self, glb: Glb) -> None:
        import numpy

        self._np = numpy
        self._gltf = GltfDocument(glb.document)
        self._binary = glb.binary
        self._buffer_bytes = 0
        self._triangles: list[int] = []
        self._values_read = 0

    def run(self) -> Preflight:
        self._header()
        self._buffers()
        for view in self._gltf.lists["bufferViews"]:
            self._view(view)
        for accessor in self._gltf.lists["accessors"]:
            self._accessor(accessor)
        self._images()
        self._materials()
        vertices = 0
        for mesh in self._gltf.lists["meshes"]:
            mesh_vertices, triangles = self._mesh(mesh)
            vertices += mesh_vertices
            self._triangles.append(triangles)
        if vertices > MAX_VERTICES:
            refuse("too_complex", f"The model has {vertices} vertices; {MAX_VERTICES} are the most.")
        self._skins_and_animations()
        textured = bool(self._gltf.lists["images"])
        return Preflight(drawn_triangles(self._gltf, self._triangles), textured)

    def _header(self) -> None:
        asset = self._gltf.top.get("asset")
        version = asset.get("version") if isinstance(asset, dict) else None
        least = asset.get("minVersion", "2.0") if isinstance(asset, dict) else None
        if not isinstance(version, str) or not version.startswith("2.") or least != "2.0":
            refuse("version", "The model is not glTF 2.0.")
        for name in self._gltf.listed(self._gltf.top, "extensionsRequired"):
            if not isinstance(name, str) or name not in ALLOWED_EXTENSIONS:
                refuse("extension_required", f"The model requires {str(name)[:64]}, which is not supported.")

    def _buffers(self) -> None:
        buffers = self._gltf.lists["buffers"]
        if len(buffers) > 1:
            refuse("external_uri", "The model refers to a buffer outside the file.")
        for buffer in buffers:
            if "uri" in buffer:
                refuse("external_uri", "The model refers to a buffer outside the file.")
            self._buffer_bytes = self._gltf.count(buffer, "byteLength")
            if self._buffer_bytes > len(self._binary):
                refuse("bounds", "The buffer is longer than the binary chunk.")

    def _view(self, view: dict[str, Any]) -> None:
        self._gltf.referred(view, "buffer", "buffers")
        start, size = self._gltf.count(view, "byteOffset", 0), self._gltf.count(view, "byteLength")
        if start + size > self._buffer_bytes:
            refuse("bounds", "A buffer view reaches beyond the buffer.")
        stride = view.get("byteStride")
        if stride is not None and (type(stride) is not int or not 4 <= stride <= 252 or stride % 4):
            refuse("bounds", "A buffer view has an impossible stride.")

    def _accessor(self, accessor: dict[str, Any]) -> None:
        component, width = accessor.get("componentType"), accessor.get("type")
        if type(component) is not int or component not in _COMPONENTS:
            refuse("schema", "An accessor has an unknown component type.")
        if not isinstance(width, str) or width not in _WIDTHS:
            refuse("schema", "An accessor has an unknown type.")
        count = self._gltf.count(accessor, "count")
        sparse = accessor.get("sparse")
        if count < 1 or count > 3 * MAX_DRAWN_TRIANGLES:
            refuse("too_complex", "An accessor has an impossible count.")
        if "bufferView" not in accessor and sparse is None:
            refuse("accessor_without_data", "An accessor has no data.")
        if "bufferView" in accessor:
            self._values(accessor, component, _WIDTHS[width], count)
        if sparse is not None:
            self._sparse(accessor, sparse, count)

    def _sparse(self, accessor: dict[str, Any], sparse: Any, count: int) -> None:
        if not isinstance(sparse, dict):
            refuse("schema", "A sparse accessor is not an object.")
        changed = self._gltf.count(sparse, "count")
        indices, values = sparse.get("indices"), sparse.get("values")
        if not isinstance(indices, dict) or not isinstance(values, dict) or not 1 <= changed <= count:
            refuse("schema", "A sparse accessor is incomplete.")
        component = indices.get("componentType")
        if type(component) is not int or component not in _INDEX_TYPES:
            refuse("schema", "A sparse accessor has an unknown index type.")
        # Every changed value has bytes of its own; a base of zeros does not, so it may not be much larger.
        if "bufferView" not in accessor and count > MAX_VERTICES:
            refuse("too_complex", "A sparse accessor is too large.")
        where = self._values(indices, component, 1, changed)
        if int(where.max()) >= count:
            refuse("index_out_of_range", "A sparse accessor changes a value that does not exist.")
        self._values(values, accessor["componentType"], _WIDTHS[accessor["type"]], changed)

    def _values(self, owner: dict[str, Any], component: int, width: int, count: int) -> NDArray[Any]:
        """Return the values as an array (count, width) over the file's own bytes; floats must be finite."""
        self._values_read += count * width
        if self._values_read > MAX_VALUES:
            refuse("too_complex", f"The model's accessors have more than {MAX_VALUES} numbers.")
        view = self._gltf.referred(owner, "bufferView", "bufferViews")
        dtype: np.dtype[Any] = self._np.dtype(_COMPONENTS[component])
        element = dtype.itemsize * width
        stride = view.get("byteStride") or element
        offset = self._gltf.count(owner, "byteOffset", 0)
        if stride < element or offset + stride * (count - 1) + element > view["byteLength"]:
            refuse("bounds", "An accessor reaches beyond its buffer view.")
        values: NDArray[Any] = self._np.ndarray(
            (count, width), dtype, self._binary, view.get("byteOffset", 0) + offset, (stride, dtype.itemsize)
        )
        if dtype.kind == "f" and not bool((self._np.abs(values) <= 3.0e38).all()):
            refuse("nonfinite", "The model contains numbers that are not finite.")
        return values

    def _mesh(self, mesh: dict[str, Any]) -> tuple[int, int]:
        """Check a mesh; return its vertices and triangles."""
        vertices = triangles = 0
        for primitive in self._gltf.listed(mesh, "primitives"):
            attributes = primitive.get("attributes") if isinstance(primitive, dict) else None
            if not isinstance(attributes, dict) or "POSITION" not in attributes:
                refuse("schema", "A mesh has no positions.")
            extensions = primitive.get("extensions", {})
            if not isinstance(extensions, dict) or "KHR_draco_mesh_compression" in extensions:
                refuse("extension_required", "The model is compressed; upload the plain one.")
            positions = self._gltf.referred(attributes, "POSITION", "accessors")
            count = positions["count"]
            if positions["type"] != "VEC3" or positions["componentType"] != 5126:
                refuse("schema", "Positions must be three floats.")
            if "bufferView" in positions:
                values = self._values(positions, 5126, 3, count)
                if float(self._np.abs(values).max()) > MAX_COORDINATE:
                    refuse("nonfinite", "The model contains coordinates that are far too large.")
            targets = [
                target for target in self._gltf.listed(primitive, "targets") if isinstance(target, dict)
            ]
            for group in (attributes, *targets):
                for name in group:
                    if self._gltf.referred(group, name, "accessors")["count"] != count:
                        refuse("bounds", "The attributes of a mesh differ in length.")
            if "material" in primitive:
                self._gltf.referred(primitive, "material", "materials")
            vertices += count
            triangles += self._primitive_triangles(primitive, count)
        return vertices, triangles

    def _primitive_triangles(self, primitive: dict[str, Any], vertices: int) -> int:
        corners = vertices
        if "indices" in primitive:
            indices = self._gltf.referred(primitive, "indices", "accessors")
            if indices["type"] != "SCALAR" or indices["componentType"] not in _INDEX_TYPES:
                refuse("schema", "Indices have the wrong type.")
            if "sparse" in indices or "bufferView" not in indices:
                refuse("accessor_without_data", "Indices have no data of their own.")
            corners = indices["count"]
            values = self._values(indices, indices["componentType"], 1, corners)
            if int(values.max()) >= vertices:
                refuse("index_out_of_range", "A triangle refers to a vertex that does not exist.")
        mode = primitive.get("mode", 4)
        if type(mode) is not int or not 0 <= mode <= 6:
            refuse("schema", "A mesh has an unknown mode.")
        if mode == 4:
            return int(corners // 3)
        return max(0, int(corners) - 2) if mode in (5, 6) else 0

    def _images(self) -> None:
        area = 0
        if len(self._gltf.lists["images"]) > MAX_IMAGES:
            refuse("too_complex", f"The model has more than {MAX_IMAGES} images.")
        for image in self._gltf.lists["images"]:
            uri = image.get("uri")
            if uri is not None:
                content = _embedded(uri)
            else:
                view = self._gltf.referred(image, "bufferView", "bufferViews")
                start = view.get("byteOffset", 0)
                content = self._binary[start : start + view["byteLength"]]
            size = image_size(content)
            if size is None:
                refuse("image_format", "A texture is not a readable PNG, JPEG or WebP image.")
            width, height = size
            if not 0 < max(width, height) <= MAX_TEXTURE_SIDE_PX or min(width, height) < 1:
                refuse(
                    "texture_too_large",
                    f"A texture has {width} x {height} pixels; {MAX_TEXTURE_SIDE_PX} a side is the most.",
                )
            area += width * height
        if area > MAX_TEXTURE_AREA_PX:
            refuse(
                "texture_too_large", f"The textures have {area} pixels; {MAX_TEXTURE_AREA_PX} are the most."
            )

    def _materials(self) -> None:
        for texture in self._gltf.lists["textures"]:
            for key, kind in (("source", "images"), ("sampler", "samplers")):
                if key in texture:
                    self._gltf.referred(texture, key, kind)
        for material in self._gltf.lists["materials"]:
            self._texture_references(material)

    def _texture_references(self, value: Any) -> None:
        """Check every ``...Texture`` below a material, those of extensions too. The JSON bounds the depth."""
        if isinstance(value, dict):
            for key, entry in value.items():
                if key.endswith("Texture") and isinstance(entry, dict):
                    self._gltf.referred(entry, "index", "textures")
                self._texture_references(entry)
        elif isinstance(value, list):
            for entry in value:
                self._texture_references(entry)

    def _skins_and_animations(self) -> None:
        for skin in self._gltf.lists["skins"]:
            if "inverseBindMatrices" in skin:
                self._gltf.referred(skin, "inverseBindMatrices", "accessors")
            if "skeleton" in skin:
                self._gltf.referred(skin, "skeleton", "nodes")
            for joint in self._gltf.listed(skin, "joints"):
                self._gltf.entry(joint, "nodes")
        for animation in self._gltf.lists["animations"]:
            samplers = self._gltf.listed(animation, "samplers")
            for sampler in samplers:
                for key in ("input", "output"):
                    self._gltf.referred(sampler, key, "accessors")
            for channel in self._gltf.listed(animation, "channels"):
                sampler = channel.get("sampler") if isinstance(channel, dict) else None
                if type(sampler) is not int or not 0 <= sampler < len(samplers):
                    refuse("index_out_of_range", "An animation refers to something that does not exist.")
                target = channel.get("target")
                if isinstance(target, dict) and "node" in target:
                    self._gltf.referred(target, "node", "nodes")


def _embedded(uri: Any) -> memoryview:
    """Return the bytes of a ``data:`` address (RFC 2397); every other address is refused."""
    if not isinstance(uri, str) or not uri.startswith("data:"):
        refuse("external_uri", "The model refers to a file outside itself.")
    _, _, text = uri.partition(";base64,")
    try:
        return memoryview(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        refuse("image_format", "An embedded texture is not base64.")
