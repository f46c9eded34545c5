"""``vitrine books``: balances, closing and checking, settlement and bank files, exports.

These commands use the database alone, so they also work beside a gateway that is running.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from gateway.cli_opening import ERR, OUT, DataDir, say, settings_of, with_store

if TYPE_CHECKING:
    from gateway.catalog.model import Merchant
    from gateway.catalog.service import Catalog
    from gateway.kernel.store.unit import Store
    from gateway.payments.settlement.files import SettlementFile
    from gateway.settings import Settings
    from wallets.vault.port import Vault

books = typer.Typer(no_args_is_help=True, help="Accounts, reconciliation and exports.")

Slug = Annotated[
    str | None, typer.Option("--merchant", help="The merchant's short name; not needed if there is only one.")
]


@books.command("balances")
def balances(
    merchant: Slug = None,
    day: Annotated[str | None, typer.Option("--at", help="At the end of this day, YYYY-MM-DD.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Print what every account stands at, with what is pending on it."""
    from gateway.ledger.balances import FOREVER_MS, account_balances
    from gateway.ledger.days import end_of

    until_ms = FOREVER_MS if day is None else end_of(_day(day))

    async def work(store: Store, catalog: Catalog) -> None:
        who = _merchant(catalog, merchant)
        table = Table(
            Column("account", overflow="fold"),
            "unit",
            Column("balance", justify="right"),
            Column("pending", justify="right"),
            caption="debit +, credit -",
        )
        for one in await store.read(lambda reader: account_balances(reader, who.merchant_id, until_ms)):
            if one.amount or one.pending:
                # As text: ``:bank:`` would become a picture.
                pending = _amount(one.pending, one.unit) if one.pending else ""
                table.add_row(Text(one.account), Text(one.unit), _amount(one.amount, one.unit), pending)
        OUT.print(table)

    _with_books(data_dir, work)


@books.command("accounts")
def accounts() -> None:
    """Print the chart of accounts: what each means, its normal side, and whether it has a limit."""
    from gateway.ledger.chart import CHART

    table = Table(Column("account", no_wrap=True), "side", "limit", "meaning")
    for kind in CHART:
        limit = "yes" if kind.limited else ""
        name = Text(kind.name + ("..." if kind.name.endswith(":") else ""))
        table.add_row(name, kind.side, limit, kind.meaning)
    OUT.print(table)
    OUT.print("limit: the balance may not leave its side")


@books.command("close")
def close(data_dir: DataDir = None) -> None:
    """Close every day that is over. The gateway does this by itself every night."""
    from gateway.ledger.closing import close_days

    async def work(store: Store, _: Catalog) -> None:
        closed = await close_days(store)
        for day in closed:
            say(OUT, f"{day.merchant_id}  {day.day}  {day.transactions} transactions  {day.hash}")
        OUT.print(f"{len(closed)} days closed")

    _with_books(data_dir, work)


@books.command("verify")
def verify(data_dir: DataDir = None) -> None:
    """Compute everything that is stored about entries again; exits with 1 if anything differs."""
    from gateway.ledger.verifying import verify as check

    async def work(store: Store, _: Catalog) -> None:
        problems = await check(store)
        for problem in problems:
            say(OUT, f"{problem.merchant_id}  {problem.where}  {problem.what}", "red")
        OUT.print(f"{len(problems)} problems")
        if problems:
            raise typer.Exit(1)

    _with_books(data_dir, work)


@books.command("reconcile")
def reconcile(
    files: Annotated[list[Path], typer.Argument(help="Settlement and bank files, in any order.")],
    provider: Annotated[
        str | None, typer.Option(help="Whose settlement files these are, if not their usual sender's.")
    ] = None,
    bank: Annotated[str, typer.Option(help="Our name of the bank account.")] = "main",
    merchant: Annotated[
        str | None, typer.Option(help="Whose books take what belongs to no merchant's order.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Import files and list everything that does not agree; exits with 1 if anything does not.

    Importing a file again posts nothing. What a provider lists as done and is undecided here is settled in
    the vault; its order hears of that from there, and the next run finds the line in order.
    """
    from gateway.kernel.errors import InvalidError
    from gateway.payments.settlement.files import MOST_BYTES, BankFile, SettlementFile, read_file
    from gateway.payments.settlement.importing import import_file
    from gateway.payments.settlement.model import OPERATOR
    from gateway.payments.settlement.report import report_on

    try:
        with_content = [(path, _content(path, MOST_BYTES)) for path in files]
        read = [read_file(path.name, content, provider=provider, bank=bank) for path, content in with_content]
    except InvalidError as error:
        say(ERR, error.message, "red")
        raise typer.Exit(2) from None

    async def work(store: Store, catalog: Catalog) -> None:
        only = len(catalog.current.merchants) == 1
        whose = _merchant(catalog, merchant).merchant_id if merchant is not None or only else OPERATOR
        # What a provider paid out is known before the bank's lines are looked at.
        ordered = sorted(read, key=lambda file: isinstance(file, BankFile))
        changed = 0
        for file in ordered:
            done = await import_file(store, file, whose)
            changed += len(done.changed)
            say(OUT, f"{file.name}: {done.new_lines} new lines, {done.posted} transactions posted")
            for key in done.changed:
                say(OUT, f"changed  {file.source}  {key}  was imported before with other contents", "red")
            if isinstance(file, SettlementFile):
                await _settle_undecided(store, file, data_dir)
        report = await report_on(store, ordered)
        for (kind, currency), amount in sorted(report.gross.items()):
            say(OUT, f"{kind:>12} {_amount(amount, currency):>16} {currency}")
        for found in report.differences:
            say(OUT, f"{found.outcome}  {found.source}  {found.name}  {found.text}", "red")
        matched = report.outcomes["matched"]
        OUT.print(f"{matched} matched, {len(report.differences) + changed} differences")
        if report.differences or changed:
            raise typer.Exit(1)

    _with_books(data_dir, work)


@books.command("export")
def export(
    from_day: Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD (UTC).")],
    to_day: Annotated[str, typer.Option("--to", help="Last day, YYYY-MM-DD (UTC).")],
    format: Annotated[str, typer.Option("--format", help="beancount, datev or csv.")] = "beancount",
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path(),
    merchant: Slug = None,
    adviser: Annotated[int, typer.Option(help="DATEV: the adviser's number.")] = 1001,
    client: Annotated[int, typer.Option(help="DATEV: the client's number.")] = 1,
    chart: Annotated[str, typer.Option(help="DATEV: 03 or 04, for SKR03 or SKR04.")] = "03",
    year_starts: Annotated[str, typer.Option(help="DATEV: first day of the fiscal year, MM-DD.")] = "01-01",
    locked: Annotated[bool, typer.Option("--locked", help="DATEV: the import may not be changed.")] = False,
    accounts_file: Annotated[
        Path | None, typer.Option("--accounts", help="DATEV: another mapping of accounts (TOML).")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the books of some days, and the hashes of closed days beside them."""
    from gateway.kernel.errors import InvalidError
    from gateway.ledger.exports import beancount, csv, datev
    from gateway.ledger.exports.model import Book

    first, last = _day(from_day), _day(to_day)
    if first > last:
        raise typer.BadParameter("the first day comes after the last")
    if format not in ("beancount", "datev", "csv"):
        raise typer.BadParameter("beancount, datev or csv", param_hint="--format")
    try:
        month, day = map(int, year_starts.split("-"))
        settings = datev.DatevSettings(
            adviser=adviser,
            client=client,
            chart=chart,
            fiscal_year_starts=(month, day),
            locked=locked,
            accounts=accounts_file,
        )
    except (ValueError, InvalidError) as error:
        raise typer.BadParameter(getattr(error, "message", str(error))) from None

    async def work(store: Store, catalog: Catalog) -> None:
        who = _merchant(catalog, merchant)
        book = Book(store, who.merchant_id, who.slug, who.name, who.currencies[0], who.country, first, last)
        out.mkdir(parents=True, exist_ok=True)
        match format:
            case "datev":
                written = await datev.export(book, out, settings)
            case "csv":
                written = await csv.export(book, out)
            case _:
                written = await beancount.export(book, out)
        for path in written:
            say(OUT, str(path))

    _with_books(data_dir, work)


async def _settle_undecided(store: Store, file: SettlementFile, data_dir: Path | None) -> None:
    """Tell the vault what the file lists as done and is undecided here. The vault is opened only for that."""
    from gateway.payments.settlement.catching_up import tell_vault, undecided

    listed = await undecided(store, file.source, file.file_hash)
    if not listed:
        return
    async with _vault(settings_of(data_dir=data_dir)) as vault:
        for result in await tell_vault(vault, listed):
            say(OUT, f"{result.operation_id}: undecided here, {result.status} in the vault now")


@asynccontextmanager
async def _vault(settings: Settings) -> AsyncIterator[Vault]:
    """A gateway's vault: the process that has it, or its files, also while the gateway uses them."""
    if settings.vault_url:
        import ssl

        from wallets.vault.remote import RemoteVault

        authority = settings.vault_authority
        trust = ssl.create_default_context(cafile=authority) if authority else None
        async with RemoteVault(settings.vault_url, settings.vault_secret(), trust=trust) as remote:
            yield remote
        return
    from gateway.kernel.clock import SystemClock
    from gateway.kernel.ids import TimeSortedIds
    from wallets.vault.embedded import open_embedded_vault

    clock = SystemClock()
    embedded = await open_embedded_vault(settings.data_dir, clock, TimeSortedIds(clock))
    try:
        yield embedded
    finally:
        await embedded.close()


def _with_books(data_dir: Path | None, work: Callable[[Store, Catalog], Awaitable[None]]) -> None:
    """Open the database and the catalog, do the work, close."""
    from gateway.catalog.service import Catalog

    async def on(store: Store, _: Settings) -> None:
        catalog = Catalog()
        await catalog.refresh(store)
        await work(store, catalog)

    with_store(data_dir, on)


def _merchant(catalog: Catalog, slug: str | None) -> Merchant:
    merchants: Any = catalog.current.merchants
    if slug is not None:
        return catalog.current.merchant_by_slug(slug)
    if len(merchants) != 1:
        names = ", ".join(sorted(one.slug for one in merchants.values())) or "none"
        raise typer.BadParameter(f"name one of: {names}", param_hint="--merchant")
    only: Merchant = next(iter(merchants.values()))
    return only


def _day(text: str) -> str:
    from datetime import date

    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day like 2026-11-22") from None


def _amount(amount: int, unit: str) -> str:
    """Return money with its decimals, goods and digital items as they are counted."""
    from gateway.kernel.currencies import EXPONENTS
    from gateway.kernel.money import Money

    return Money(amount, unit).decimal if unit in EXPONENTS else str(amount)


def _content(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        say(ERR, f"{path}: {error.strerror}", "red")
        raise typer.Exit(2) from None
