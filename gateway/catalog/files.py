"""Reading a merchant's YAML files into plain values that remember their lines.

The files come from people outside, so size and depth are bounded, and aliases and tags are refused: a few
lines of aliases can unfold into gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.catalog.problems import FieldPath, Problem, field_name

MAX_FILE_BYTES = 512 * 1024
MAX_DEPTH = 24
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document with the line of every key and list entry. Without a file, ``lines`` is empty."""

    file: str
    document: Any
    lines: Mapping[FieldPath, int]

    def problem(self, path: FieldPath, message: str) -> Problem:
        """Return a problem at this path, or at the nearest thing above it that is in the file."""
        line = None
        if self.lines:
            nearest = path
            while nearest and nearest not in self.lines:
                nearest = nearest[:-1]
            line = self.lines.get(nearest, 1)
        return Problem(self.file, line, field_name(path), message)


class _RefusedError(Exception):
    """A node that we do not take."""

    def __init__(self, line: int, path: FieldPath, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.path = path
        self.message = message


def read_yaml(path: Path, name: str) -> tuple[SourceDocument | None, list[Problem]]:
    """Return the document, or None and why it cannot be read. ``name`` is what problems call the file."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            return None, [Problem(name, 1, "", f"the file has {size} bytes; {MAX_FILE_BYTES} are the most")]
        text = path.read_text("utf-8")
    except OSError as error:
        return None, [Problem(name, None, "", f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError:
        return None, [Problem(name, 1, "", "is not UTF-8 text")]
    try:
        yaml = YAML(typ="safe", pure=True)
        # Bounded while it is read, not by the interpreter's stack: other parts of a gateway raise that limit.
        yaml.max_depth = 2 * MAX_DEPTH
        root = yaml.compose(text)
        if root is None:
            return None, [Problem(name, 1, "", "the file is empty")]
        reading = _Reading(yaml.constructor)
        return SourceDocument(name, reading.value(root, ()), reading.lines), reading.problems(name)
    except _RefusedError as refused:
        return None, [Problem(name, refused.line, field_name(refused.path), refused.message)]
    except MaxDepthExceededError as error:
        return None, [Problem(name, error.problem_mark.line + 1, "", "is nested too deeply")]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return None, [Problem(name, mark.line + 1 if mark else 1, "", f"is not YAML: {error.problem}")]
    except YAMLError as error:
        return None, [Problem(name, 1, "", f"is not YAML: {str(error).splitlines()[0]}")]


class _Reading:
    """One walk over a composed document."""

    def __init__(self, scalars: SafeConstructor) -> None:
        self.lines: dict[FieldPath, int] = {(): 1}
        self._seen: set[int] = set()
        self._found: list[tuple[int, FieldPath, str]] = []
        self._scalars = scalars

    def problems(self, file: str) -> list[Problem]:
        return [Problem(file, line, field_name(path), message) for line, path, message in self._found]

    def value(self, node: Node, path: FieldPath) -> Any:
        # An alias is the node of its anchor once more; only the key in front of it has a line here.
        line = self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._seen:
            raise _RefusedError(line, path, "anchors and aliases are not allowed")
        self._seen.add(id(node))
        if len(path) > MAX_DEPTH:
            raise _RefusedError(line, path[:MAX_DEPTH], "is nested too deeply")
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(entry, (*path, index)) for index, entry in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: FieldPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode) or key_node.tag != _TAG + "str":
                self._found.append((line, path, "a key must be text; write it in quotes"))
                continue
            key = key_node.value
            if key in result:
                self._found.append((line, (*path, key), "is given twice"))
                continue
            # A key's line says more than that of its value, which may begin on the next one.
            self.lines[(*path, key)] = line
            result[key] = self.value(value_node, (*path, key))
        return result

    def _scalar(self, node: Node, path: FieldPath) -> Any:
        line = self.lines[path]
        match node.tag.removeprefix(_TAG) if isinstance(node, ScalarNode) else "":
            case "str" | "timestamp":
                return node.value
            case "null":
                return None
            case "bool":
                return node.value.lower() == "true"
            case "int":
                return self._scalars.construct_yaml_int(node)
            case "float":
                number = self._scalars.construct_yaml_float(node)
                if not math.isfinite(number):
                    raise _RefusedError(line, path, "is not a finite number")
                return number
            case _:
                raise _RefusedError(line, path, "tags are not allowed")
