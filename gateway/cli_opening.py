"""What the commands of the program share: what they print, what they open, how they say what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.kernel.store.unit import Store
    from gateway.settings import Settings

OUT = Console()
ERR = Console(stderr=True)
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where everything is kept.")]


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print a line as it is: what it says may come from files, and a program may read it."""
    console.print(Text(text, style=style or ""), soft_wrap=True)


def settings_of(**given: Any) -> Settings:
    """Read the environment and what was given; ends with 2 and the setting's name."""
    from gateway.settings import Settings, SettingsError

    try:
        return Settings.load(**{name: value for name, value in given.items() if value is not None})
    except SettingsError as error:
        say(ERR, str(error), "red")
        raise typer.Exit(2) from None


def require_gateway(settings: Settings) -> None:
    """End with 2 where no gateway was ever opened: a mistyped folder gets no database and no keys."""
    if not settings.database_url and not (settings.data_dir / "gateway.db").exists():
        say(ERR, f"there is no gateway in {settings.data_dir}", "red")
        raise typer.Exit(2)


def with_store(data_dir: Path | None, work: Callable[[Store, Settings], Awaitable[None]]) -> None:
    """Open the database alone, which works beside a running gateway too, do the work, close."""
    from gateway.app import open_store
    from gateway.kernel.clock import SystemClock
    from gateway.kernel.events.log import EventLog
    from gateway.kernel.ids import TimeSortedIds
    from gateway.logs import ensure_configured

    ensure_configured()
    settings = settings_of(data_dir=data_dir)
    require_gateway(settings)

    async def run() -> None:
        clock = SystemClock()
        store = await asyncio.to_thread(open_store, settings, clock, TimeSortedIds(clock), EventLog())
        try:
            await work(store, settings)
        finally:
            await store.close()

    _run(run())


def with_gateway(data_dir: Path | None, work: Callable[[Gateway], Awaitable[None]]) -> None:
    """Open the gateway's parts without workers or sockets, do the work, close. The gateway must not run."""
    from gateway.app import Gateway
    from gateway.settings import SettingsError

    settings = settings_of(data_dir=data_dir, workers=False)

    async def run() -> None:
        gateway = await Gateway.open(settings)
        try:
            await work(gateway)
        finally:
            await gateway.close()

    try:
        _run(run())
    except SettingsError as error:
        say(ERR, str(error), "red")
        raise typer.Exit(2) from None
    except RuntimeError as error:
        if isinstance(error, typer.Exit):  # click's exits are such errors, too
            raise
        say(ERR, f"{error}; stop it first, or use the HTTP API", "red")
        raise typer.Exit(1) from None


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run it; a refusal is one line and ends with 1. Problems of a catalog are their command's to print."""
    from gateway.kernel.errors import VitrineError

    try:
        asyncio.run(work)
    except VitrineError as error:
        if hasattr(error, "problems"):
            raise
        say(ERR, f"{error.code}: {error.message}", "red")
        raise typer.Exit(1) from None
