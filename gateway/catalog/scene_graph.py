"""Walking the nodes of a model: a forest of bounded depth, in which every instance of a mesh counts.

A node with two parents, or inside itself, is refused: programs that walk such a graph never come back.
Source: glTF 2.0 specification, section 3.5.2 (node hierarchy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.catalog.glb import refuse
from gateway.catalog.gltf_document import GltfDocument

MAX_NODES = 2_000
MAX_NODE_DEPTH = 64
MAX_DRAWN_TRIANGLES = 1_000_000
"""Triangles of all mesh instances in the scene."""
MAX_COORDINATE = 1e6


def drawn_triangles(document: GltfDocument, triangles: Sequence[int]) -> int:
    """Return the triangles of the scene; ``triangles`` holds those of each mesh.

    Raises InvalidError ``model.node_graph``, ``model.too_complex``, ``model.empty`` and others.
    """
    nodes = document.lists["nodes"]
    if len(nodes) > MAX_NODES:
        refuse("too_complex", f"The model has {len(nodes)} nodes; {MAX_NODES} are the most.")
    children: list[list[int]] = []
    parents: set[int] = set()
    for node in nodes:
        _check_transform(node)
        if "mesh" in node:
            document.referred(node, "mesh", "meshes")
        if "skin" in node:
            document.referred(node, "skin", "skins")
        its_children = document.listed(node, "children")
        for child in its_children:
            document.entry(child, "nodes")
            if child in parents:
                refuse("node_graph", "A node has two parents.")
            parents.add(child)
        children.append(its_children)
    scenes = document.lists["scenes"]
    if not scenes:
        refuse("empty", "The model has no scene.")
    for scene in scenes:
        for root in document.listed(scene, "nodes"):
            document.entry(root, "nodes")
            if root in parents:
                refuse("node_graph", "A node of the scene is also inside another node.")
    # A cycle has no node without a parent, so it cannot be reached from the roots: count what can.
    reached: set[int] = set()
    level = [index for index in range(len(nodes)) if index not in parents]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_NODE_DEPTH:
            refuse("node_graph", f"Nodes are nested deeper than {MAX_NODE_DEPTH}.")
        reached.update(level)
        level = [child for index in level for child in children[index]]
    if len(reached) < len(nodes):
        refuse("node_graph", "A node contains itself.")
    scene = document.top.get("scene", 0)
    document.entry(scene, "scenes")
    drawn = 0
    waiting = list(document.listed(scenes[scene], "nodes"))
    if len(waiting) != len(set(waiting)):
        refuse("node_graph", "A scene lists a node twice.")
    while waiting:
        index = waiting.pop()
        if "mesh" in nodes[index]:
            drawn += triangles[nodes[index]["mesh"]]
        waiting += children[index]
    if drawn < 1:
        refuse("empty", "The model shows no triangles.")
    if drawn > MAX_DRAWN_TRIANGLES:
        refuse("too_complex", f"The model shows {drawn} triangles; {MAX_DRAWN_TRIANGLES} are the most.")
    return drawn


def _check_transform(node: dict[str, Any]) -> None:
    for key, length in (("matrix", 16), ("translation", 3), ("rotation", 4), ("scale", 3)):
        values = node.get(key)
        if values is None:
            continue
        if not isinstance(values, list) or len(values) != length:
            refuse("schema", f"A node's {key} is not {length} numbers.")
        for value in values:
            if type(value) not in (int, float) or not abs(value) <= MAX_COORDINATE:
                refuse("nonfinite", f"A node's {key} is out of range.")
