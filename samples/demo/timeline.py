"""One purchase as a timeline: what has happened, what is awaited now, what is still to come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.highlighter import RegexHighlighter
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from rich.theme import Theme


class _Figures(RegexHighlighter):
    """What the eye should find in a fact: amounts, counts before and after, hashes, cards."""

    base_style = "figure."
    highlights: ClassVar[list[str]] = [
        r"(?P<amount>\d+\.\d\d EUR)",
        r"(?P<amount>\d+ → \d+)",
        r"(?P<chain>0x\w+…\w+)",
        r"(?P<chain>\btoken [\d…]+)",
        r"(?P<card>\w+ ·· \d{4})",
    ]


FIGURE_STYLES = Theme({"figure.amount": "bold", "figure.chain": "magenta", "figure.card": "cyan"})
_highlight = _Figures()


class Mark(Enum):
    """How a step stands: its sign, and the colours of the sign and of the step's name."""

    TO_COME = ("○", "bright_black", "bright_black")
    DONE = ("●", "green", "bold")
    SETBACK = ("●", "yellow", "bold yellow")


@dataclass(slots=True)
class Step:
    name: str
    fact: str = ""
    mark: Mark = Mark.TO_COME
    at_s: float = 0.0


class Timeline:
    """Steps in the order they are expected; each is told once, with the time since the purchase began."""

    def __init__(self, title: str, note: str, steps: tuple[str, ...]) -> None:
        self._title = title
        self._note = note
        self._steps = [Step(name) for name in steps]
        self._began_s = time.monotonic()
        self._spinner = Spinner("dots", style="cyan")

    def tell(self, name: str, fact: str, *, setback: bool = False) -> None:
        """Mark the next open step of this name as done."""
        step = next((one for one in self._steps if one.name == name and one.mark is Mark.TO_COME), None)
        assert step is not None, f"{name} is not awaited here"
        step.fact = fact
        step.mark = Mark.SETBACK if setback else Mark.DONE
        step.at_s = time.monotonic() - self._began_s

    @property
    def untold(self) -> list[str]:
        """The steps that did not happen."""
        return [step.name for step in self._steps if step.mark is Mark.TO_COME]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        title = Text.assemble((self._title, "bold cyan"), ("  " + self._note, "not bold default"))
        yield Rule(title, align="left", style="bright_black", characters="─")
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(width=2, justify="right")
        grid.add_column(width=10)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_column(width=8, justify="right", style="bright_black")
        awaited = next((step for step in self._steps if step.mark is Mark.TO_COME), None)
        for step in self._steps:
            sign, sign_style, name_style = step.mark.value
            told = step.mark is not Mark.TO_COME
            moving = step is awaited and console.is_terminal
            grid.add_row(
                self._spinner if moving else Text(sign, sign_style),
                Text(step.name, "cyan" if moving else name_style),
                _highlight(step.fact),
                f"{step.at_s:.2f} s" if told else "",
            )
        yield grid
