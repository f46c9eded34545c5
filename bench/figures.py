"""What is measured: a figure, its unit, its target and the workload behind it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Better = Literal["higher", "lower"]
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``target`` is None where the machine decides and only the trend matters.

    ``value`` is None where it could not be measured here; the workload then says why.
    """

    name: str
    value: float | None
    unit: str
    target: float | None
    better: Better
    workload: str

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one, or without a value."""
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.better == "higher" else self.value <= self.target

    def document(self) -> dict[str, Any]:
        """Return the figure as it is written to the results file."""
        return {**asdict(self), "value": None if self.value is None else rounded(self.value)}


def not_measured(name: str, unit: str, target: float | None, better: Better, reason: str) -> Figure:
    """Return the place of a figure that this machine cannot measure, so that it is seen to be missing."""
    return Figure(name, None, unit, target, better, f"{NOT_MEASURED}: {reason}")


def rounded(value: float) -> float:
    """Return three significant digits, or whole numbers above a thousand: the rest is noise."""
    return float(f"{value:.0f}") if abs(value) >= 1000 else float(f"{value:.3g}")
