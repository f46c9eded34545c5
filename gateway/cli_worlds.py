"""``vitrine worlds``: register worlds, change their keys and addresses, look at what they were sent.

These commands use the database and the key files alone, so they also work beside a gateway that is running.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gateway.cli_opening import ERR, OUT, DataDir, require_gateway, say, settings_of, with_store

if TYPE_CHECKING:
    from gateway.kernel.store.unit import Store
    from gateway.settings import Settings

worlds = typer.Typer(no_args_is_help=True, help="Servers of worlds: keys, webhooks, notices.")

_HOUR_MS = 3_600_000
Name = Annotated[str, typer.Argument(help="The world's name, as device tokens say it.")]


@worlds.command("add")
def add(
    name: Name,
    title: Annotated[str, typer.Option(help="What players read; the name if it is left out.")] = "",
    webhook: Annotated[str | None, typer.Option(help="Where notices go: an https address.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Register a world and print its key, once."""
    from gateway.commands import worlds as commands

    async def work(store: Store, settings: Settings) -> None:
        key = await commands.add_world(
            store, name, title=title or name, webhook_url=webhook, private=settings.private_webhooks
        )
        say(OUT, key)

    with_store(data_dir, work)


@worlds.command("list")
def list_worlds(data_dir: DataDir = None) -> None:
    """List the worlds of this installation."""
    from gateway.commands import worlds as commands

    async def work(store: Store, settings: Settings) -> None:
        table = Table(Column("world", no_wrap=True), "title", Column("webhook", overflow="fold"), "state")
        for one in await commands.all_worlds(store):
            state = "closed" if one.is_closed else f"stopped: {one.stopped_because}"
            if not one.is_closed and one.stopped_because is None:
                state = "open"
            table.add_row(one.world_id, Text(one.title), Text(one.webhook_url or "no webhook"), state)
        Console(width=max(OUT.width, 140)).print(table)

    with_store(data_dir, work)


@worlds.command("rotate-key")
def rotate_key(
    name: Name,
    overlap_hours: Annotated[int, typer.Option(min=0, help="How long the key before stays valid.")] = 24,
    data_dir: DataDir = None,
) -> None:
    """Make a new key of a world and print it, once."""
    from gateway.commands import worlds as commands

    async def work(store: Store, settings: Settings) -> None:
        say(OUT, await commands.rotate_key(store, name, overlap_ms=overlap_hours * _HOUR_MS))

    with_store(data_dir, work)


@worlds.command("webhook")
def webhook(
    name: Name,
    url: Annotated[str | None, typer.Argument(help="Where notices go; left out: nowhere.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Say where a world's notices go. A webhook that was stopped begins again."""
    from gateway.commands import worlds as commands

    async def work(store: Store, settings: Settings) -> None:
        await commands.set_webhook(store, name, url, private=settings.private_webhooks)
        say(OUT, f"notices of {name} go to {url}" if url else f"notices of {name} go nowhere")

    with_store(data_dir, work)


@worlds.command("close")
def close(name: Name, data_dir: DataDir = None) -> None:
    """End a world for good: its keys open nothing, nothing is sent to it, its name is not used again."""
    from gateway.commands import worlds as commands

    async def work(store: Store, settings: Settings) -> None:
        await commands.close_world(store, name)

    with_store(data_dir, work)


@worlds.command("notices")
def notices(
    name: Name,
    state: Annotated[
        str | None, typer.Option(help="waiting, delivered, failed, kept or withdrawn; left out: the latest.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    replay: Annotated[str | None, typer.Option(help="Send this notice once more, under its id.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List what a world was sent, or send a notice once more."""
    from gateway.commands import worlds as commands
    from gateway.kernel.clock import rfc3339
    from gateway.webhooks.model import NoticeState

    if state is not None and state not in set(NoticeState):
        raise typer.BadParameter(f"one of {', '.join(NoticeState)}", param_hint="--state")
    wanted = None if state is None else NoticeState(state)

    async def work(store: Store, settings: Settings) -> None:
        if replay is not None:
            await commands.send_again(store, name, replay)
        table = Table(
            Column("number", justify="right"),
            Column("id", no_wrap=True),
            "type",
            "at",
            "state",
            Column("tries", justify="right"),
            "last answer",
        )
        for row in await commands.notices_in(store, name, wanted, limit):
            answer = row.last_error or ("" if row.last_status is None else str(row.last_status))
            table.add_row(
                str(row.seq),
                row.notice_id,
                row.type,
                rfc3339(row.created_at_ms),
                row.state,
                str(row.attempts),
                Text(answer),
            )
        Console(width=max(OUT.width, 140)).print(table)

    with_store(data_dir, work)


@worlds.command("signing-keys")
def signing_keys(
    rotate: Annotated[bool, typer.Option("--rotate", help="Add a key; all keys sign from now on.")] = False,
    retire: Annotated[bool, typer.Option("--retire", help="Remove the oldest key.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Print the public keys that notices are signed with, or change them.

    To change keys: --rotate, give receivers the new public key, then --retire.
    """
    from gateway.webhooks.signing import SigningKeys

    settings = settings_of(data_dir=data_dir)
    require_gateway(settings)
    keys = SigningKeys.open(settings.data_dir / "keys")
    if rotate:
        keys.rotate()
    if retire and keys.retire() is None:
        say(ERR, "the only key stays", "red")
        raise typer.Exit(1)
    for key in keys.current():
        say(OUT, f"{key.number}  {key.public}")
