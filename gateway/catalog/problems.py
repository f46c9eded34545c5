"""What is wrong in a merchant's documents, all of it at once, each with its file, line and field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gateway.kernel.errors import VitrineError

FieldPath = tuple[str | int, ...]
"""Keys and list positions from the top of a document."""

MAX_REPORTED = 100
"""Most problems that go into an error's data; all of them are in ``problems``."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake. ``file`` is empty and ``line`` None for a document that came without a file."""

    file: str
    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else self.file
        return ": ".join(part for part in (where, self.field, self.message) if part)


class CatalogInvalidError(VitrineError):
    """A merchant's documents break the rules; nothing of them was taken."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda found: (found.file, found.line or 0, found.field))
        count = len(self.problems)
        super().__init__(
            "catalog.invalid",
            f"{count} problem{'s' if count != 1 else ''}; nothing was imported.\n"
            + "\n".join(str(found) for found in self.problems[:MAX_REPORTED]),
            data={
                "problems": [
                    {"file": found.file, "line": found.line, "field": found.field, "message": found.message}
                    for found in self.problems[:MAX_REPORTED]
                ]
            },
        )


def field_name(path: FieldPath) -> str:
    """Return a path as people write it: ``product.variants[0].sku``."""
    name = ""
    for step in path:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name


def explain(error: ErrorDetails, model: type[BaseModel]) -> tuple[FieldPath, str]:
    """Return where a value has the wrong shape and a sentence about it.

    ``[key]`` marks of pydantic (the key of a mapping is wrong, not its value) are dropped: the path then
    ends in that key.
    """
    path = tuple(step for step in error["loc"] if step != "[key]")
    match error["type"]:
        case "missing":
            return path, "is missing"
        case "extra_forbidden":
            near = get_close_matches(str(path[-1]), _field_names(model), n=1)
            return path, "is not known here" + (f"; did you mean {near[0]}?" if near else "")
        case "string_pattern_mismatch":
            return path, f"{_short(error['input'])} does not match {error['ctx']['pattern']}"
        case _:
            message = error["msg"]
            return path, message[:1].lower() + message[1:]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _field_names(model: type[BaseModel]) -> list[str]:
    """Return the names of all fields below a model, for suggestions."""
    names: dict[str, None] = {}
    seen: set[type[BaseModel]] = set()

    def visit(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if annotation in seen:
                return
            seen.add(annotation)
            for name, field in annotation.model_fields.items():
                names[name] = None
                visit(field.annotation)
            return
        for argument in getattr(annotation, "__args__", ()):
            visit(argument)

    visit(model)
    return list(names)
