"""The JSON document of a glTF model, every look-up checked.

Lists are lists of objects, counts are counts, and an index points at something that is there; whatever is
not so is refused. Source: glTF 2.0 specification, section 3.3 and the JSON schemas.
"""

from __future__ import annotations

from typing import Any

from gateway.catalog.glb import refuse

MAX_ENTRIES = 20_000
"""Most accessors, buffer views or other entries of one list."""
_LISTS = (
    "accessors",
    "animations",
    "buffers",
    "bufferViews",
    "images",
    "materials",
    "meshes",
    "nodes",
    "samplers",
    "scenes",
    "skins",
    "textures",
)


class GltfDocument:
    """A document with its top-level lists."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.top = document
        self.lists = {name: self.listed(document, name) for name in _LISTS}

    def listed(self, owner: dict[str, Any], name: str) -> list[Any]:
        """Return a list of the document; its entries are objects unless it lists numbers or names."""
        found = owner.get(name, []) if isinstance(owner, dict) else None
        if not isinstance(found, list):
            refuse("schema", f"{name} is not a list.")
        if len(found) > MAX_ENTRIES:
            refuse("too_complex", f"The model has {len(found)} {name}; {MAX_ENTRIES} are the most.")
        if owner is self.top and name != "extensionsRequired" and not all(type(it) is dict for it in found):
            refuse("schema", f"{name} contains something that is not an object.")
        return found

    def count(self, owner: dict[str, Any], name: str, default: int | None = None) -> int:
        value = owner.get(name, default)
        if type(value) is not int or not 0 <= value < 2**32:
            refuse("schema", f"{name} is not a count.")
        return value

    def referred(self, owner: Any, key: str, kind: str) -> dict[str, Any]:
        """Return the entry that ``owner[key]`` refers to."""
        if not isinstance(owner, dict):
            refuse("schema", f"Something that should refer to {kind} is not an object.")
        return self.entry(owner.get(key), kind)

    def entry(self, index: Any, kind: str) -> dict[str, Any]:
        entries = self.lists[kind]
        if type(index) is not int or not 0 <= index < len(entries):
            refuse("index_out_of_range", f"The model refers to {kind} that do not exist.")
        entry: dict[str, Any] = entries[index]
        return entry
