"""Walking plain documents whose shape may be wrong: what is not there is passed over."""

from __future__ import annotations

from typing import Any

from gateway.catalog.files import SourceDocument
from gateway.catalog.problems import FieldPath, Problem


def at(document: Any, path: FieldPath) -> Any:
    """Return what stands at a path, None where there is nothing or another shape."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(document, list) or step >= len(document):
                return None
            document = document[step]
        else:
            if not isinstance(document, dict):
                return None
            document = document.get(step)
    return document


def entries(document: Any, path: FieldPath) -> list[tuple[FieldPath, Any]]:
    found = at(document, path)
    return [((*path, index), entry) for index, entry in enumerate(found)] if isinstance(found, list) else []


def keys(document: Any, path: FieldPath) -> list[str]:
    found = at(document, path)
    return [key for key in found if isinstance(key, str)] if isinstance(found, dict) else []


def repeated(source: SourceDocument, values: list[tuple[FieldPath, Any]]) -> list[Problem]:
    """Return a problem for every text that was there before."""
    seen: set[str] = set()
    found = []
    for path, value in values:
        if not isinstance(value, str):
            continue
        if value in seen:
            found.append(source.problem(path, f"{value} is given twice"))
        seen.add(value)
    return found
