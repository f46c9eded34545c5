"""What is measured: a figure, its unit, its target and the workload behind it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``target`` is None where the machine decides and only the trend matters."""

    name: str
    value: float
    unit: str
    target: float | None
    better: Better
    workload: str

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "higher" else self.value <= self.target

    def document(self) -> dict[str, Any]:
        """Return the figure as it is written to the results file."""
        return {**asdict(self), "value": rounded(self.value)}


def rounded(value: float) -> float:
    """Return three significant digits, or whole numbers above a thousand: the rest is noise."""
    return float(f"{value:.0f}") if abs(value) >= 1000 else float(f"{value:.3g}")
