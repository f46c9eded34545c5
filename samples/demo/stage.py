"""Where the demo speaks: live on a terminal, plain lines elsewhere, and a picture if one is wanted."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live

from samples.demo.timeline import FIGURE_STYLES

COLUMNS = 92
"""Most columns used: on a wide terminal the times would be too far from what they time."""


def console() -> Console:
    """Return the console of the demo."""
    found = Console(highlight=False, theme=FIGURE_STYLES)
    found.width = min(found.width, COLUMNS)
    return found


class Stage:
    """Shows things one below the other and remembers them for the picture."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._shown: list[RenderableType] = []

    def show(self, *things: RenderableType) -> None:
        """Show something that is finished."""
        for thing in things:
            self.console.print(thing)
        self._shown += things

    @contextmanager
    def live(self, thing: RenderableType) -> Iterator[None]:
        """Show something that grows until the block is left."""
        if self.console.is_terminal:
            with Live(thing, console=self.console, refresh_per_second=20):
                yield
        else:
            # A log wants each line once.
            yield
            self.console.print(thing)
        self._shown.append(thing)
        self.show("")

    def save_picture(self, path: Path) -> None:
        """Write everything that was shown as an SVG."""
        recorder = Console(
            record=True,
            width=COLUMNS,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            highlight=False,
            legacy_windows=False,
            theme=FIGURE_STYLES,
        )
        for thing in self._shown:
            recorder.print(thing)
        picture = recorder.export_svg(title="make demo")
        # Self-contained: the fonts rich names would be fetched from elsewhere.
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL), encoding="utf-8")
