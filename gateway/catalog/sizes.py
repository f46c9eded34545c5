"""Does the model have the size of the thing it stands for?"""

from __future__ import annotations

from typing import Any

TOLERANCE = 0.10
"""Largest deviation of a side; a proposal, as makers round what they declare."""
SLACK_MM = 10.0
"""Smaller differences are never wrong: 10 % of a thin side is less than a measuring tape shows."""


def size_problem(extents_m: tuple[float, float, float], physical: Any) -> str | None:
    """Compare a model with a declared ``physical`` part; return what is wrong, or None.

    The sides are compared by length, not by axis: which side a maker calls length says nothing about how
    the model stands.
    """
    declared = physical.get("size_mm") if isinstance(physical, dict) else None
    if (
        not isinstance(declared, list)
        or len(declared) != 3
        or not all(type(side) is int for side in declared)
    ):
        return None
    for measured_mm, declared_mm in zip(
        sorted(side * 1000 for side in extents_m), sorted(declared), strict=True
    ):
        if abs(measured_mm - declared_mm) > max(SLACK_MM, TOLERANCE * declared_mm):
            sides = " x ".join(f"{side * 1000:.0f}" for side in extents_m)
            return (
                f"model.size_mismatch: the model measures {sides} mm (x, y, z), "
                f"but size_mm says {' x '.join(str(side) for side in declared)}"
            )
    return None
