"""The command ``vitrine``: serve, import products, sign in devices, look at books and tasks.

Commands are loaded when they are called, so ``vitrine --help`` starts nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli_acquirer import acquirer
from gateway.cli_books import books
from gateway.cli_minting import minting
from gateway.cli_opening import ERR, OUT, DataDir, say, settings_of, with_gateway
from gateway.cli_vault import vault
from gateway.cli_worlds import worlds

if TYPE_CHECKING:
    from gateway.app import Gateway

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Commerce gateway for AR glasses and games."
)
products = typer.Typer(no_args_is_help=True, help="Merchants' products.")
merchants = typer.Typer(no_args_is_help=True, help="Merchants and their API keys.")
devices = typer.Typer(no_args_is_help=True, help="Customers' devices.")
app.add_typer(products, name="products")
app.add_typer(merchants, name="merchants")
app.add_typer(devices, name="devices")
app.add_typer(vault, name="vault")
app.add_typer(books, name="books")
app.add_typer(acquirer, name="acquirer")
app.add_typer(minting, name="minting")
app.add_typer(worlds, name="worlds")


def main() -> None:
    """Entry point of the ``vitrine`` command."""
    app()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    data_dir: DataDir = None,
    mint: Annotated[bool | None, typer.Option("--mint/--no-mint", help="Sell minted tokens.")] = None,
) -> None:
    """Run the gateway until it is stopped, and print its addresses."""
    from sqlalchemy.exc import OperationalError

    from gateway.kernel.errors import VitrineError
    from gateway.serving import run
    from gateway.settings import SettingsError

    settings = settings_of(host=host, port=port, data_dir=data_dir, mint=mint)

    def ready(gateway: Gateway) -> None:
        base = gateway.settings.base_url
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_row("socket", base.replace("http", "ws", 1) + "/v1/connect", "subprotocol vitrine.v1.json")
        table.add_row("HTTP", base + "/docs", "merchant and customer API")
        table.add_row("protocol", base + "/v1/asyncapi.json", "AsyncAPI 3")
        table.add_row("health", base + "/readyz", "")
        if gateway.minting is not None:
            table.add_row("chain", str(gateway.minting.chain_id), f"contract {gateway.minting.contract}")
        table.add_row("data", str(gateway.settings.data_dir), "")
        # Addresses are for copying: a narrow terminal may wrap them, but nothing is cut off.
        Console(width=max(OUT.width, 120)).print("[bold]Vitrine is open.[/]", table)

    try:
        run(settings, ready=ready)
    except (OSError, OverflowError, RuntimeError, SettingsError, VitrineError, OperationalError) as error:
        # A busy port, a database or chain that does not answer: the reason, not where in our code.
        reason = error.message if isinstance(error, VitrineError) else str(error).splitlines()[0]
        say(ERR, f"Vitrine cannot open: {reason}", "red")
        raise typer.Exit(1) from None


@products.command("import")
def import_products(
    folder: Annotated[Path, typer.Argument(help="A merchant's folder, or a folder of them.")],
    data_dir: DataDir = None,
) -> None:
    """Import product files; every error of every file is listed, and then nothing is changed."""
    from gateway.catalog.problems import CatalogInvalidError
    from gateway.commands.merchant import import_catalog

    async def work(gateway: Gateway) -> None:
        report = await import_catalog(gateway.context, folder)
        for merchant in report.merchants:
            OUT.print(
                f"{merchant.slug}: {merchant.products} products, {merchant.variants} variants, "
                f"{merchant.places} places"
            )
        for warning in report.warnings:
            say(ERR, str(warning), "yellow")

    try:
        with_gateway(data_dir, work)
    except CatalogInvalidError as error:
        for problem in error.problems:
            say(ERR, str(problem), "red")
        raise typer.Exit(1) from None


@merchants.command("list")
def list_merchants(data_dir: DataDir = None) -> None:
    """List the merchants of this installation."""

    async def work(gateway: Gateway) -> None:
        for merchant in gateway.context.catalog.current.merchants.values():
            say(OUT, f"{merchant.slug}  {merchant.merchant_id}  {merchant.name}")

    with_gateway(data_dir, work)


@merchants.command("key")
def merchant_key(
    slug: Annotated[str, typer.Argument(help="The merchant's short name.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "cli",
    data_dir: DataDir = None,
) -> None:
    """Make an API key. It is printed once; only its digest is kept."""
    from gateway.commands.merchant import create_api_key

    async def work(gateway: Gateway) -> None:
        merchant = gateway.context.catalog.current.merchant_by_slug(slug)
        OUT.print(await create_api_key(gateway.context, merchant.merchant_id, name))

    with_gateway(data_dir, work)


@devices.command("token")
def device_token(
    slug: Annotated[str, typer.Argument(help="The merchant that knows the customer.")],
    customer: Annotated[str, typer.Argument(help="What the merchant calls the customer.")],
    card: Annotated[
        str | None, typer.Option(help="Store this test card too; see docs/test-cards.md.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Sign a device in: register the customer and print a token, once."""
    from gateway.commands import merchant as commands
    from gateway.identity.model import MerchantPrincipal
    from wallets.vault.port import CardEntry

    async def work(gateway: Gateway) -> None:
        found = gateway.context.catalog.current.merchant_by_slug(slug)
        who = MerchantPrincipal(found.merchant_id)
        customer_id = await commands.register(gateway.context, who, customer)
        if card is not None:
            code = "1234" if card.startswith("3") else "123"
            method = await commands.add_card(
                gateway.context, customer_id, CardEntry.typed(card, 12, 2030, code)
            )
            ERR.print(f"{method['payment_method_id']}  {method['brand']} {method['last4']}")
        issued = await commands.issue_token(gateway.context, who, customer_id, kind="headset", name="cli")
        OUT.print(issued.token)

    with_gateway(data_dir, work)


@app.command()
def reconcile(data_dir: DataDir = None) -> None:
    """Compare every payment operation with the vault; exits with 1 if the two sides differ."""
    from gateway.payments.reconciler import compare_all

    async def work(gateway: Gateway) -> None:
        differences = await compare_all(gateway.context.store, gateway.vault)
        for found in differences:
            OUT.print(f"{found.kind}  {found.operation_id}  here: {found.here}  vault: {found.at_vault}")
        OUT.print(f"{len(differences)} differences")
        if differences:
            raise typer.Exit(1)

    with_gateway(data_dir, work)


@app.command()
def tasks(
    retry: Annotated[str | None, typer.Option(help="Let this parked task run again.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List tasks that ran out of attempts and wait for a person, or let one run again."""
    from gateway.kernel.tasks.queue import open_tasks, parked_tasks, retry_parked

    async def work(gateway: Gateway) -> None:
        if retry is not None and not await gateway.context.store.write(lambda uow: retry_parked(uow, retry)):
            say(ERR, f"{retry} is not parked", "red")
            raise typer.Exit(1)
        waiting, parked = await gateway.context.store.read(
            lambda reader: (open_tasks(reader), parked_tasks(reader))
        )
        OUT.print(f"{waiting} open, {len(parked)} parked")
        for one in parked:
            say(OUT, f"{one.task_id}  {one.kind}  {one.subject}  {one.last_error}")

    with_gateway(data_dir, work)
