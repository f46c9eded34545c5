"""The commands ``vitrine vault ...``: keys and their rotation, the audit trail.

They work on the vault's database directly, while the vault runs or not, and act as the person who is logged
in to this machine: the audit trail says so.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli_opening import ERR, OUT, say

if TYPE_CHECKING:
    from gateway.kernel.store.unit import Store, UnitOfWork
    from wallets.vault.audit import Actor
    from wallets.vault.keys import KeyRing
    from wallets.vault.opening import OpenKeys

vault = typer.Typer(no_args_is_help=True, help="The token vault: serving it, its keys, its audit trail.")
rotation = typer.Typer(no_args_is_help=True, help="Put a new key in the place of the current one.")
trail = typer.Typer(no_args_is_help=True, help="The audit trail.")
people = typer.Typer(
    no_args_is_help=True, help="Who may ask this vault: gateways, operators, auditors, agents."
)
vault.add_typer(rotation, name="rotate")
vault.add_typer(people, name="credentials")
vault.add_typer(trail, name="audit")

VaultDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where vault.db is. Default: VITRINE_VAULT_DATA_DIR, else var/vault."),
]
NewKey = Annotated[
    str | None,
    typer.Option("--to", help="The new key. Key files: made by the next number if not given."),
]
Destroy = Annotated[
    bool, typer.Option("--destroy", help="Destroy the old key's file. Old backups can not be read any more.")
]


@dataclass(frozen=True)
class _Upkeep:
    store: Store
    keys: OpenKeys
    ring: KeyRing
    actor: Actor


@vault.command("serve")
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; beyond loopback TLS is needed.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    data_dir: VaultDir = None,
) -> None:
    """Run the vault as a process of its own until it is stopped. Settings: VITRINE_VAULT_*."""
    from sqlalchemy.exc import DBAPIError

    from gateway.logs import configure
    from wallets.vault.http.serving import VaultProcess, run
    from wallets.vault.http.settings import VaultSettings, VaultSettingsError
    from wallets.vault.kms import KeyUseError

    def ready(process: VaultProcess) -> None:
        settings = process.settings
        say(OUT, f"The vault is open at {settings.base_url}; data in {settings.data_dir}")

    configure()
    given: dict[str, Any] = {"host": host, "port": port, "data_dir": data_dir}
    try:
        settings = VaultSettings.load(**{name: value for name, value in given.items() if value is not None})
        run(settings, ready=ready)
    except (OSError, OverflowError, RuntimeError, KeyUseError, VaultSettingsError, DBAPIError) as error:
        say(ERR, f"The vault cannot open: {str(error).splitlines()[0]}", "red")
        raise typer.Exit(1) from None


@people.command("issue")
def issue_credential(
    role: Annotated[str, typer.Option(help="gateway, operator, auditor or agent.")],
    name: Annotated[str, typer.Option(help="Of the gateway, person or agent; the audit trail shows it.")],
    data_dir: VaultDir = None,
) -> None:
    """Make a credential. It is printed once; only its digest is kept."""
    from wallets.vault import credentials
    from wallets.vault.audit import Action, note

    try:
        wanted = credentials.Role(role)
    except ValueError:
        raise typer.BadParameter(f"one of {', '.join(credentials.Role)}", param_hint="--role") from None
    secret = credentials.new_secret()

    async def work(upkeep: _Upkeep) -> None:
        def issue(uow: UnitOfWork) -> None:
            made = credentials.issue(uow, credentials.digest(secret), wanted, name)
            detail = f"issued {wanted} {name}"
            note(uow, upkeep.actor, Action.CREDENTIAL, made.credential_id, detail=detail)

        await upkeep.store.write(issue)
        say(OUT, secret)

    _with_vault(data_dir, work, make=True)


@people.command("list")
def list_credentials(data_dir: VaultDir = None) -> None:
    """List who has a credential, those that were revoked too."""
    from gateway.kernel.clock import rfc3339
    from wallets.vault import credentials

    async def work(upkeep: _Upkeep) -> None:
        for one in await upkeep.store.read(credentials.listed):
            since = rfc3339(one.created_at_ms)
            gone = "" if one.revoked_at_ms is None else f"  revoked {rfc3339(one.revoked_at_ms)}"
            say(OUT, f"{one.credential_id}  {one.role:8}  {one.name}  since {since}{gone}")

    _with_vault(data_dir, work)


@people.command("revoke")
def revoke_credential(
    credential_id: Annotated[str, typer.Argument(help="As `list` shows it.")], data_dir: VaultDir = None
) -> None:
    """Refuse a credential from now on; a running vault follows within seconds."""
    from wallets.vault import credentials
    from wallets.vault.audit import Action, note

    async def work(upkeep: _Upkeep) -> None:
        def revoke(uow: UnitOfWork) -> bool:
            done = credentials.revoke(uow, credential_id)
            if done:
                note(uow, upkeep.actor, Action.CREDENTIAL, credential_id, detail="revoked")
            return done

        if not await upkeep.store.write(revoke):
            say(ERR, f"{credential_id} is not a credential in use", "red")
            raise typer.Exit(1)

    _with_vault(data_dir, work)


@rotation.command("card-key")
def rotate_card_key(data_dir: VaultDir = None) -> None:
    """Have cards encrypted to a new key from now on. The one before it still opens for a month."""
    from gateway.kernel.clock import SystemClock
    from gateway.kernel.ids import TimeSortedIds
    from wallets.vault.audit import Action, note
    from wallets.vault.card_keys import CardKeys

    async def work(upkeep: _Upkeep) -> None:
        clock = SystemClock()
        keys = CardKeys(upkeep.store, upkeep.keys.kms, clock, TimeSortedIds(clock), upkeep.ring)
        key_id = await keys.rotate()
        await upkeep.store.write(
            lambda uow: note(uow, upkeep.actor, Action.KEY_REGISTER, key_id, detail="card key")
        )
        say(OUT, key_id)

    _with_vault(data_dir, work)


@vault.command("keys")
def list_keys(data_dir: VaultDir = None) -> None:
    """List the keys there ever were: what for, their state, and how many rows need them."""
    from gateway.kernel.clock import rfc3339
    from wallets.vault.keys import key_entries
    from wallets.vault.rotation import rows_under

    async def work(upkeep: _Upkeep) -> None:
        counted = await upkeep.store.read(
            lambda reader: [
                (entry, rows_under(reader, entry.purpose, entry.key_id)) for entry in key_entries(reader)
            ]
        )
        for entry, rows in counted:
            since = rfc3339(entry.changed_at_ms)
            say(OUT, f"{entry.purpose:12}  {entry.state:8}  since {since}  {rows:8} rows  {entry.key_id}")

    _with_vault(data_dir, work)


@rotation.command("kek")
def rotate_kek(to: NewKey = None, destroy: Destroy = False, data_dir: VaultDir = None) -> None:
    """Wrap every record's data key under a new key. Stopped half way, the same command goes on."""
    _rotate("records", to, destroy, data_dir)


@rotation.command("fingerprint")
def rotate_fingerprint(to: NewKey = None, destroy: Destroy = False, data_dir: VaultDir = None) -> None:
    """Compute every card's fingerprint under a new key. Opens each record; the audit trail shows it."""
    _rotate("fingerprints", to, destroy, data_dir)


@rotation.command("audit")
def rotate_audit(to: NewKey = None, data_dir: VaultDir = None) -> None:
    """Seal the audit trail under a new key from now on. The old one goes on verifying what it sealed."""
    _rotate("audit", to, False, data_dir)


@trail.command("verify")
def verify(
    anchor: Annotated[
        list[Path] | None, typer.Option(help="Copies of the anchor; the one beside the keys is always read.")
    ] = None,
    data_dir: VaultDir = None,
) -> None:
    """Check every row of the audit trail and name the first that does not fit (exit code 1)."""
    from gateway.kernel.clock import rfc3339
    from wallets.vault.audit import Action, note
    from wallets.vault.audit_anchor import FileAnchor
    from wallets.vault.audit_verifying import verify_audit

    async def work(upkeep: _Upkeep) -> None:
        anchors = [upkeep.keys.anchor, *(FileAnchor(path) for path in anchor or ())]
        heads = [head for one in anchors if (head := await one.last()) is not None]
        verdict = await verify_audit(upkeep.store, upkeep.keys.kms, heads)
        outcome = "ok" if verdict.is_intact else "broken"
        await upkeep.store.write(
            lambda uow: note(uow, upkeep.actor, Action.AUDIT_READ, "vault_audit", outcome=outcome)
        )
        if verdict.broken is not None:
            say(ERR, f"BROKEN after {verdict.rows} good rows: {verdict.broken}", "red")
            raise typer.Exit(1)
        waiting = ""
        if verdict.oldest_unsealed_ms is not None:
            waiting = f", {verdict.unsealed} not sealed yet (oldest {rfc3339(verdict.oldest_unsealed_ms)})"
        say(OUT, f"{verdict.rows} rows in {verdict.seals} seals are as they were written{waiting}")

    _with_vault(data_dir, work)


@trail.command("export")
def export(
    since: Annotated[str, typer.Option("--from", help="RFC 3339 time, inclusive.")] = "",
    until: Annotated[str, typer.Option("--to", help="RFC 3339 time, exclusive.")] = "",
    data_dir: VaultDir = None,
) -> None:
    """Print the audit trail as JSON lines, oldest first."""
    from gateway.kernel.clock import parse_rfc3339
    from wallets.vault.audit_keeping import export_audit

    try:
        from_ms = parse_rfc3339(since) if since else 0
        until_ms = parse_rfc3339(until) if until else 2**62
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

    async def work(upkeep: _Upkeep) -> None:
        async for row in export_audit(upkeep.store, upkeep.actor, from_ms, until_ms):
            typer.echo(json.dumps(row, ensure_ascii=False))

    _with_vault(data_dir, work)


@trail.command("purge")
def purge(
    before: Annotated[str, typer.Argument(help="RFC 3339 time, thirteen months ago or earlier.")],
    data_dir: VaultDir = None,
) -> None:
    """Remove audit rows from before a time. What is removed can not be brought back: export it first."""
    from gateway.kernel.clock import SystemClock, parse_rfc3339
    from wallets.vault.audit_keeping import purge_audit

    try:
        before_ms = parse_rfc3339(before)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

    async def work(upkeep: _Upkeep) -> None:
        gone = await purge_audit(
            upkeep.store, upkeep.keys.kms, upkeep.ring, upkeep.actor, before_ms, SystemClock().now_ms()
        )
        say(OUT, f"removed up to row {gone}" if gone else "nothing that old")

    _with_vault(data_dir, work)


def _rotate(purpose_name: str, to: str | None, destroy: bool, data_dir: Path | None) -> None:
    from wallets.vault.keys import KeyPurpose, key_entries
    from wallets.vault.rotation import current_key, destroy_key, next_key_id, open_rotation, rotate

    purpose = KeyPurpose(purpose_name)

    async def work(upkeep: _Upkeep) -> None:
        store, keys, actor = upkeep.store, upkeep.keys, upkeep.actor
        entries = await store.read(key_entries)
        new_key_id = to
        if new_key_id is None and open_rotation(entries, purpose) is not None:
            new_key_id = current_key(entries, purpose)
        if new_key_id is None:
            if keys.maker is None:
                raise typer.BadParameter(
                    "a key service's keys are made with its own tools; name one with --to"
                )
            new_key_id = next_key_id(entries, purpose)
        done = await rotate(
            store,
            keys.kms,
            actor,
            purpose,
            new_key_id,
            maker=keys.maker,
            progress=lambda left: say(ERR, f"{left} rows left under the old key"),
        )
        say(OUT, f"{done.changed} rows moved from {done.old_key_id} to {done.new_key_id}")
        if not done.is_finished:
            say(ERR, f"these do not open and keep the old key in use: {', '.join(done.left)}", "red")
            raise typer.Exit(1)
        say(OUT, f"{done.old_key_id} is retired")
        if destroy:
            if keys.maker is None:
                raise typer.BadParameter("a key service's keys are destroyed with its own tools")
            await destroy_key(store, keys.maker, actor, done.old_key_id)
            say(OUT, f"{done.old_key_id} is destroyed")

    _with_vault(data_dir, work)


def _with_vault(
    data_dir: Path | None, work: Callable[[_Upkeep], Awaitable[None]], *, make: bool = False
) -> None:
    """Open the vault's database and keys, do the work, seal what it put on the audit trail, close.

    ``make`` makes a vault where there is none yet.
    """
    from sqlalchemy.exc import DBAPIError

    from gateway.kernel.errors import VitrineError
    from gateway.logs import configure
    from wallets.vault.audit_anchor import AnchorUnreadableError
    from wallets.vault.http.settings import VaultSettings, VaultSettingsError
    from wallets.vault.kms import KeyUseError

    configure()
    try:
        given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
        asyncio.run(_work_on(VaultSettings.load(**given), work, make))
    except VitrineError as error:
        say(ERR, f"{error.code}: {error.message}", "red")
        raise typer.Exit(1) from None
    except (KeyUseError, VaultSettingsError, FileNotFoundError, AnchorUnreadableError) as error:
        say(ERR, str(error), "red")
        raise typer.Exit(1) from None
    except DBAPIError as error:
        say(ERR, f"the vault's database can not be used: {type(error.orig).__name__}", "red")
        raise typer.Exit(1) from None


async def _work_on(settings: Any, work: Callable[[_Upkeep], Awaitable[None]], make: bool) -> None:
    from gateway.kernel.clock import SystemClock
    from gateway.kernel.ids import TimeSortedIds
    from wallets.vault.audit import Actor
    from wallets.vault.audit_sealing import AuditSealer
    from wallets.vault.keys import KeyRing, establish_keys
    from wallets.vault.opening import open_keys, open_store

    directory: Path = settings.data_dir
    if not make and not settings.database_url and not (directory / "vault.db").exists():
        raise FileNotFoundError(f"there is no vault in {directory}; name its folder with --data-dir")
    clock = SystemClock()
    async with AsyncExitStack() as closing:
        keys = open_keys(settings.key_place)
        closing.push_async_callback(keys.close)
        store = await asyncio.to_thread(
            open_store, directory, settings.database_url, clock, TimeSortedIds(clock)
        )
        closing.push_async_callback(store.close)
        if make:
            await establish_keys(store, keys.kms, keys.first, keys.maker)
        ring = KeyRing(store)
        actor = Actor("custodian", getpass.getuser(), socket.gethostname())
        sealer = AuditSealer(store, keys.kms, ring, keys.anchor, actor)
        try:
            await work(_Upkeep(store, keys, ring, actor))
        finally:
            await sealer.finish()
