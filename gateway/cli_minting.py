"""``vitrine minting``: gas by merchant, the addresses that mint, and mints that wait for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from gateway.cli_opening import OUT, DataDir, say, with_gateway, with_store

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.kernel.store.unit import Store
    from gateway.settings import Settings

minting = typer.Typer(no_args_is_help=True, help="Gas, minter keys, and mints that wait for a person.")

Leg = Annotated[str, typer.Argument(help="The mint's leg, as `vitrine minting parked` lists it.")]


@minting.command("gas")
def gas(data_dir: DataDir = None) -> None:
    """Print what every merchant's mints have used today (UTC), and how many wait for tomorrow."""
    from gateway.catalog.loading import load_snapshot
    from wallets.minting.budget import gas_accounts

    async def work(store: Store, settings: Settings) -> None:
        accounts = await store.read(lambda reader: gas_accounts(reader, settings.mint_gas_per_day))
        merchants = (await store.read(load_snapshot)).merchants
        slugs = {str(merchant_id): its.slug for merchant_id, its in merchants.items()}
        table = Table(
            "merchant",
            *(Column(name, justify="right") for name in _GAS_COLUMNS),
            caption="limits: of merchants' files, else VITRINE_MINT_GAS_PER_DAY of this shell's environment",
        )
        for one in accounts:
            limit = f"{one.limit}" if one.limit else "any"
            figures = (f"{one.used}", f"{one.reserved}", limit, f"{one.held}")
            table.add_row(Text(slugs.get(one.merchant_id, one.merchant_id)), *figures)
        OUT.print(table)

    with_store(data_dir, work)


@minting.command("keys")
def keys(data_dir: DataDir = None) -> None:
    """Print the addresses that mint. A merchant's own contract has to allow the one of minter/0."""
    from wallets.minting.deployment import lane_addresses

    async def work(store: Store, settings: Settings) -> None:
        for lane, address in await store.read(lane_addresses):
            chain, _, key = lane.partition(":")
            say(OUT, f"{address}  {key}  chain {chain}")

    with_store(data_dir, work)


@minting.command("parked")
def parked(data_dir: DataDir = None) -> None:
    """List mints on merchants' own contracts of which the chain does not tell whether they happened."""
    from wallets.minting.own_settling import NO_EVENT
    from wallets.minting.parked import parked_mints

    async def work(store: Store, settings: Settings) -> None:
        found = await store.read(parked_mints)
        if not found:
            say(OUT, "nothing is parked")
        for one in found:
            why = one.failure or NO_EVENT
            where = one.tx_hash or f"{one.lane} nonce {one.nonce}"
            say(OUT, f"{one.leg_id}  {one.order_id}  {one.contract}  {one.recipient}  {where}  {why}")

    with_store(data_dir, work)


@minting.command("again")
def again(leg_id: Leg, data_dir: DataDir = None) -> None:
    """It was not minted: try once more. Look at the contract first: nothing else prevents a second token."""
    from wallets.minting.parked import mint_again

    async def work(gateway: Gateway) -> None:
        await gateway.context.store.write(lambda uow: mint_again(uow, leg_id))

    with_gateway(data_dir, work)


@minting.command("give-up")
def give_up(leg_id: Leg, data_dir: DataDir = None) -> None:
    """It was not minted and will not be: the order gives the money back."""
    from gateway.orders.mint_facts import MintFacts
    from wallets.minting.parked import give_up as give_up_mint

    async def work(gateway: Gateway) -> None:
        facts = MintFacts(gateway.context.process)
        await gateway.context.store.write(lambda uow: give_up_mint(uow, leg_id, facts.record))

    with_gateway(data_dir, work)


@minting.command("found")
def found(
    leg_id: Leg,
    token_id: Annotated[str, typer.Argument(help="The token's id on the merchant's contract.")],
    data_dir: DataDir = None,
) -> None:
    """The recipient has the token: the order goes on as if the chain had told."""
    from gateway.orders.mint_facts import MintFacts
    from wallets.minting.parked import minted_after_all

    if not token_id.isdecimal():
        raise typer.BadParameter("an id is a number")

    async def work(gateway: Gateway) -> None:
        facts = MintFacts(gateway.context.process)
        await gateway.context.store.write(
            lambda uow: minted_after_all(uow, leg_id, int(token_id), facts.record)
        )

    with_gateway(data_dir, work)


_GAS_COLUMNS = ("used", "set aside", "limit", "waiting")
